"""Whether a node is there, in words: a stream that is open proves little when nothing has come for long."""

from __future__ import annotations

import pytest

from cloud.orders.presence import LATE_S, Presence
from cloud.times import SECOND_US
from cloud.views.silence import Hearing

NOW_US = 1_790_000_000_000_000


@pytest.mark.parametrize(
    ("open_", "heard_s_ago", "note"),
    [
        (True, 0, ""),
        (True, 60 + LATE_S, ""),
        (
            True,
            66,
            "node cab-1 has a downlink open, and was not heard since 2026-09-21T14:12:14.000000Z, though it should",
        ),
        (True, None, "node cab-1 has a downlink open, and was never heard"),
        (False, 0, "node cab-1 has no downlink open now; the order waits for it until it expires"),
        (False, 600, "node cab-1 has no downlink open now"),
    ],
)
def test_what_is_said_of_a_node(open_: bool, heard_s_ago: float | None, note: str) -> None:
    hearing = None if heard_s_ago is None else Hearing(NOW_US - int(heard_s_ago * SECOND_US), interval_s=60)
    found = Presence(lambda _: open_, lambda _: hearing, lambda: NOW_US).of("cab-1")
    assert found.reachable is open_
    assert found.note.startswith(note)
    assert bool(found.note) is bool(note)
