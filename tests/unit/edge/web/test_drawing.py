"""Pictures as paths."""

from __future__ import annotations

import re

from edge.sampling.quality_history import BAD, GOOD, NOTHING, PARTLY, SLOTS
from edge.web.drawing import APART_US, HEIGHT, WIDTH, blocks, line, strip

HOUR = 3_600_000_000


def test_a_strip_has_a_path_for_each_state_and_each_another_height() -> None:
    slots = bytes([GOOD] * 90 + [BAD] * 2 + [PARTLY] + [NOTHING] * 3)
    found = dict(strip(slots))
    assert found == {
        "good": "M0 0h90v12h-90z", "bad": "M90 6h2v6h-2z", "partly": "M92 3h1v9h-1z", "nothing": "M93 11h3v1h-3z",
    }  # fmt: skip
    assert strip(bytes(SLOTS)) == [("nothing", "M0 11h96v1h-96z")]


def test_a_day_of_flapping_stays_small() -> None:
    assert sum(len(d) for _, d in strip(bytes([GOOD, BAD] * (SLOTS // 2)))) < 2_000


def test_a_line_fills_the_frame_and_breaks_where_nobody_knows() -> None:
    series = [(0, 1.0), (APART_US, 3.0), (3 * APART_US, 2.0)]
    stroke, area = line(series, 0, 4 * APART_US, 1.0, 3.0)
    assert stroke.count("M") == area.count("M") == 2
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", stroke)]
    assert min(numbers) >= 0
    assert max(numbers[::2]) <= WIDTH
    assert max(numbers[1::2]) <= HEIGHT
    whole, _ = line(series, 0, 4 * APART_US, 1.0, 3.0, 2 * APART_US)
    assert whole.count("M") == 1, "one that speaks seldom is joined"
    assert line([(0, 5.0), (1, 5.0)], 0, 1, 5.0, 5.0)[0].endswith(f" {HEIGHT / 2:g}")


def test_nothing_but_digits_and_letters_of_paths() -> None:
    stroke, area = line([(0, 1e300), (1, -1e300)], 0, 1, -1e300, 1e300)
    for d in (stroke, area, blocks([(0, True)], 0, HOUR)):
        assert re.fullmatch(r"[MLhvVHz\d. e+-]*", d)


def test_blocks_are_where_it_was_on() -> None:
    found = blocks([(0, True), (HOUR // 4, True), (HOUR // 2, False)], 0, HOUR)
    assert found == f"M0 0h144v{HEIGHT}h-144z"
    assert blocks([(0, False), (1, False)], 0, HOUR) == ""
    gap = blocks([(0, True), (2 * APART_US, True)], 0, 4 * APART_US)
    assert gap.count("M") == 2
