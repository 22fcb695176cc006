"""What has become of each run, from what those after it have said."""

from __future__ import annotations

import pytest

from cloud.log.streams import Said, Stream
from cloud.views.runs import broken_off, states_of
from wire.batch import Lane

BULK, URGENT = Lane.BULK, Lane.URGENT


def run(
    epoch: int,
    said: Said = "none",
    before: tuple[int, int, bytes] = (0, 0, b""),
    *,
    order: int = 0,
    through: int = 10,
    head: int = 10,
    digest: bytes = b"",
    lane: Lane = BULK,
    heard: int = 0,
) -> Stream:
    """A run whose digest is that of its epoch and seq, unless another is given."""
    named = said in {"named", "lost"}
    return Stream(
        node="cab-1",
        epoch=epoch,
        lane=lane,
        order=order or epoch,
        first_heard_us=order or epoch,
        last_heard_us=heard or epoch,
        heard_at=heard or order or epoch,
        through_seq=through,
        digest=digest or at(epoch, through),
        head_seq=max(head, through),
        said=said,
        before_epoch=before[0] if named else None,
        before_seq=before[1] if named else None,
        before_digest=before[2] if named else None,
    )


def at(epoch: int, seq: int) -> bytes:
    return f"{epoch}/{seq}".encode()


def end(epoch: int, seq: int = 10) -> tuple[int, int, bytes]:
    return epoch, seq, at(epoch, seq)


def states(*runs: Stream) -> list[str]:
    found = states_of(runs)
    return [found[r.order] for r in runs]


def test_the_newest_is_current() -> None:
    assert states(run(1)) == ["current"]
    assert states(run(1, lane=BULK), run(1, order=2, lane=URGENT)) == ["current", "current"]


def test_named_at_the_place_where_the_log_stands_it_has_ended() -> None:
    assert states(run(1), run(2, "named", end(1))) == ["ended", "current"]


@pytest.mark.parametrize("said", ["none", "lost"])
def test_followed_by_one_that_does_not_name_its_end_it_is_unfinished(said: Said) -> None:
    assert states(run(1), run(2, said, end(1))) == ["unfinished", "current"]


def test_named_at_another_place_or_another_past_it_is_unfinished() -> None:
    assert states(run(1), run(2, "named", end(1, 7))) == ["unfinished", "current"]
    assert states(run(1, digest=b"other"), run(2, "named", end(1))) == ["unfinished", "current"]


def test_named_by_a_later_one_it_has_ended() -> None:
    assert states(run(1), run(2, "named", end(1, 7)), run(3, "named", end(1))) == ["ended", "unfinished", "current"]


def test_named_beyond_where_the_log_stands_the_rest_is_on_its_way() -> None:
    assert states(run(1, through=4), run(2, "named", end(1))) == ["open", "current"]
    assert states(run(1), run(3, "named", end(2))) == ["open", "current"], "the one between has yet to come"
    assert states(run(1), run(3, "named", end(2)), run(2, "named", end(1), order=4)) == ["ended", "current", "ended"]
    late = run(2, "named", end(1), order=4, through=4)
    assert states(run(1), run(3, "named", end(2)), late) == ["ended", "current", "open"]


def test_what_was_on_its_way_dies_with_the_card_too() -> None:
    left = run(1, through=4), run(2, "named", end(1))
    assert states(*left, run(3)) == ["unfinished", "unfinished", "current"]
    assert states(run(1), run(3, "named", end(2)), run(4)) == ["unfinished", "unfinished", "current"]


def test_a_new_card_ends_the_other_lane_too_before_it_speaks_there() -> None:
    new = run(2, order=5, lane=URGENT)
    assert states(run(1, order=1), run(1, order=2, lane=URGENT), new) == ["unfinished", "unfinished", "current"]
    assert states(run(2, order=4), new) == ["current", "current"], "its own epoch in the other lane"


def test_the_first_words_of_a_card_that_was_replaced_meanwhile_come_late() -> None:
    """They were on their way. Of two new cards the one that is heard is in use."""
    late = run(1, order=3, heard=3)
    assert states(run(2, order=2, heard=2), late) == ["unfinished", "current"], "until the other is heard again"
    assert states(run(2, order=2, heard=4), late) == ["current", "unfinished"]
    assert states(run(2, order=2, heard=2), run(2, order=4, heard=4, lane=URGENT), late) == [
        "current", "current", "unfinished"
    ]  # fmt: skip


def test_what_comes_late_of_a_run_that_its_card_has_lost_is_unfinished_too() -> None:
    assert states(run(2, "lost", end(1, 0), order=2), run(1, order=3, through=1)) == ["current", "unfinished"]


def test_of_a_node_that_cannot_say_nothing_is_known() -> None:
    assert states(run(1, "unsaid"), run(2, "unsaid")) == ["unknown", "current"]
    assert states(run(1), run(2, "unsaid")) == ["unknown", "current"]
    assert states(run(1, "unsaid"), run(2, "none")) == ["unfinished", "current"], "its successor can"


def test_of_a_node_that_cannot_say_what_it_had_told_of_is_missing_still() -> None:
    assert states(run(1, "unsaid", head=20), run(2, "unsaid")) == ["unfinished", "current"]
    assert states(run(1, "unsaid", head=20, heard=9), run(2, "unsaid")) == ["open", "current"]


def test_what_breaks_off_is_said_once() -> None:
    old, named, new = run(1, through=4), run(2, "named", end(1)), run(3)
    assert broken_off([old, named], named) == []
    assert broken_off([old, named, new], new) == [old, named]
    assert broken_off([old, named, new, run(4)], run(4)) == [new]
    assert broken_off([], new) == []
