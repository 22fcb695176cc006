"""The mark beside the outbox: whole or nothing."""

from __future__ import annotations

from pathlib import Path

from edge.outbox import mark
from edge.outbox.mark import CardMark, MarkedRun, MarkFile
from wire.batch import ORIGIN, Lane

RUNS = tuple(MarkedRun(n, Lane.BULK, 2**62 + n, 2**40 + n, ORIGIN) for n in range(20, 0, -1))


def written(directory: Path, *, closed: bool = False) -> CardMark:
    file = MarkFile(directory)
    given = CardMark(7, closed, RUNS)
    file.write(given, sync=True)
    file.close()
    return given


def test_it_is_read_as_it_was_written_with_the_latest_runs(tmp_path: Path) -> None:
    given = written(tmp_path)
    assert mark.read(tmp_path) == CardMark(7, False, given.runs[: mark.MAX_RUNS])
    assert (tmp_path / mark.NAME).stat().st_size == mark.MARK_BYTES


def test_one_that_is_damaged_anywhere_is_none(tmp_path: Path) -> None:
    written(tmp_path)
    raw = (tmp_path / mark.NAME).read_bytes()
    length = 2 + int.from_bytes(raw[:2])
    for at in range(length):
        (tmp_path / mark.NAME).write_bytes(raw[:at] + bytes([raw[at] ^ 0x41]) + raw[at + 1 :])
        assert mark.read(tmp_path) is None, at
    (tmp_path / mark.NAME).write_bytes(raw[: length // 2])
    assert mark.read(tmp_path) is None
    (tmp_path / mark.NAME).unlink()
    assert mark.read(tmp_path) is None


def test_it_is_exact_within_a_boot_and_after_a_clean_end() -> None:
    assert CardMark(7, False, ()).exact(7)
    assert not CardMark(7, False, ()).exact(8)
    assert CardMark(7, True, ()).exact(8)
