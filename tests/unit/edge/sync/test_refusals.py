from __future__ import annotations

from edge.sync.refusals import BURST, BURST_S, HALVE_MAX_S, HELD_FIRST_S, HELD_MAX_S, PROOF_S, TRIES, Refusals


def give_up(refusals: Refusals, row: int, now_s: float) -> bool:
    for _ in range(TRIES):
        assert not refusals.ripe
        refusals.refused((1, row, row))
    if not refusals.may_give_up(now_s):
        return False
    refusals.gave_up(now_s)
    return True


def test_a_row_is_given_up_when_it_was_refused_three_times_and_not_by_others_refusals() -> None:
    refusals = Refusals()
    for _ in range(TRIES - 1):
        refusals.refused((1, 5, 5))
        assert not refusals.may_give_up(0)
    refusals.refused(None)
    refusals.refused((1, 5, 5))
    assert not refusals.may_give_up(0)
    for _ in range(TRIES - 1):
        refusals.refused((1, 5, 5))
    assert refusals.may_give_up(0)


def test_no_more_than_a_few_within_an_hour() -> None:
    refusals = Refusals()
    for row in range(BURST):
        assert give_up(refusals, row, row)
        refusals.taken(more_than_gaps=True)
    assert not give_up(refusals, 9, BURST_S - 1)
    assert refusals.may_give_up(BURST_S)


def test_without_a_proof_that_the_cloud_can_read_one_a_day() -> None:
    refusals = Refusals()
    for row in range(BURST):
        assert give_up(refusals, row, row * BURST_S)
        refusals.taken(more_than_gaps=False)
    last = (BURST - 1) * BURST_S
    assert not give_up(refusals, 9, last + PROOF_S - 1)
    assert refusals.may_give_up(last + PROOF_S)
    refusals.taken(more_than_gaps=True)
    assert give_up(refusals, 10, last + BURST_S)


def test_what_was_given_up_before_a_restart_counts() -> None:
    refusals = Refusals([1.0, 2.0, 3.0])
    assert not give_up(refusals, 1, 100)


def test_waits_double_up_to_a_bound_and_begin_anew() -> None:
    refusals = Refusals()
    assert [refusals.refused(None) for _ in range(5)] == [1, 2, 4, HALVE_MAX_S, HALVE_MAX_S]
    held = [refusals.hold() for _ in range(8)]
    assert held[:3] == [HELD_FIRST_S, 2 * HELD_FIRST_S, 4 * HELD_FIRST_S]
    assert held[-1] == HELD_MAX_S
    refusals.taken(more_than_gaps=True)
    assert not refusals.held
    assert refusals.refused(None) == 1
