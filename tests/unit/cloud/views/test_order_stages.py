"""Stages only move forward, whatever is said in whatever order, and the first final one stays."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.views.order_stages import WORD_US, OrderStage, forward, overdue, own_end
from wire.entries import Stage
from wire.orders import FINAL

STAGES: list[OrderStage] = ["issued", "sent", *get_args(Stage)]
ORDER = ["issued", "sent", "accepted", "applied"]


def rank(stage: str) -> int:
    return len(ORDER) if stage in FINAL else ORDER.index(stage)


@given(st.lists(st.sampled_from(STAGES), max_size=20))
def test_stages_only_move_forward_and_the_first_final_one_stays(said: list[OrderStage]) -> None:
    stages: list[OrderStage] = ["issued"]
    for each in said:
        stages.append(forward(stages[-1], each))
    for before, after in pairwise(stages):
        assert rank(after) >= rank(before)
        assert before == after or before not in FINAL
    finals = [s for s in said if s in FINAL]
    assert stages[-1] == (finals[0] if finals else max(["issued", *said], key=rank))


@given(st.lists(st.sampled_from([s for s in STAGES if s not in FINAL]), min_size=1).flatmap(
    lambda said: st.tuples(st.just(said), st.permutations(said + said[:3]))
))  # fmt: skip
def test_the_order_and_the_doubling_of_what_is_said_change_nothing(
    both: tuple[list[OrderStage], list[OrderStage]],
) -> None:
    def end(said: list[OrderStage]) -> OrderStage:
        stage: OrderStage = "issued"
        for each in said:
            stage = forward(stage, each)
        return stage

    assert end(both[0]) == end(both[1])


@given(st.sampled_from(STAGES), st.integers(0, 3 * WORD_US), st.integers(0, 3 * WORD_US), st.booleans())
def test_the_aggregator_ends_an_order_in_two_cases_and_no_other(
    stage: OrderStage, expires_us: int, now_us: int, sent: bool
) -> None:
    end = own_end(stage, expires_us, now_us, sent=sent)
    never_sent = not sent and now_us >= expires_us
    never_said = sent and now_us >= expires_us + WORD_US
    assert (end is not None) == (stage not in FINAL and (never_sent or never_said))
    if end is not None:
        assert end.stage == ("failed" if sent else "expired")
        assert not overdue(stage, expires_us, expires_us - 1, sent=sent)


@pytest.mark.parametrize(
    ("stage", "words"), [("sent", "the node never said"), ("accepted", "accepted, and the node never said how")]
)
def test_what_a_node_never_said_is_told_in_words(stage: OrderStage, words: str) -> None:
    end = own_end(stage, 0, WORD_US, sent=True)
    assert end is not None
    assert end.detail.startswith(words)
    assert overdue(stage, 0, WORD_US, sent=True)
