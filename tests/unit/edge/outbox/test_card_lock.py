"""The lock on the card: one node, and a dead one that hangs in the card is no node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.outbox import card_lock
from edge.outbox.card_lock import HolderDying, InUse

ALIVE = "Name:\tnode\nState:\tS (sleeping)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n"


def test_a_second_one_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    held = card_lock.take(tmp_path / "outbox.lock")
    with pytest.raises(InUse, match="in use by another node process"):
        card_lock.take(tmp_path / "outbox.lock")
    os.close(held)
    os.close(card_lock.take(tmp_path / "outbox.lock"))


def test_the_holder_is_found_and_one_that_is_dying_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = card_lock.take(tmp_path / "outbox.lock")
    asked: list[int] = []

    def dying(pid: int) -> bool:
        asked.append(pid)
        return True

    monkeypatch.setattr(card_lock, "dying", dying)
    with pytest.raises(HolderDying, match=f"process {os.getpid()} was killed and hangs"):
        card_lock.take(tmp_path / "outbox.lock")
    assert asked == [os.getpid()], "by the kernel's own list"
    os.close(held)


@pytest.mark.parametrize(
    ("status", "doomed"),
    [
        (ALIVE, False),
        (ALIVE.replace("S (sleeping)", "D (disk sleep)"), False),
        (ALIVE.replace("S (sleeping)", "Z (zombie)"), True),
        (ALIVE.replace("ShdPnd:\t0000000000000000", "ShdPnd:\t0000000000000100"), True),
        (ALIVE.replace("SigPnd:\t0000000000000000", "SigPnd:\t0000000000000100"), True),
        (ALIVE.replace("SigPnd:\t0000000000000000", "SigPnd:\t0000000000004000"), False),  # SIGTERM
    ],
)
def test_who_is_dying(status: str, doomed: bool) -> None:
    assert card_lock._doomed(status) is doomed


def test_a_process_that_lives_and_one_that_is_not_there() -> None:
    assert not card_lock.dying(os.getpid())
    assert not card_lock.dying(2**30)
