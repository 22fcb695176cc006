"""The fault laboratory: which faults are tried, where, and with which seeds.

Seeds are drawn from the commit, so that one commit is tried the same way each time and the next one otherwise. The
variables of the environment:

FAULT_SEED    repeat this one seed: it stands in each test's id
FAULT_SEEDS   how many seeds of each fault, instead of those few that CI can bear
FAULT_FROM    what they are drawn from, in the commit's place: scripts/soak draws others each time

docs/operations.md has a row for each fault: what a person sees, and does (tests/unit/test_laboratory.py).
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NO_GIT = "no commit"
MOST = 10**6  # seeds are below: short enough to be typed


class Fault(NamedTuple):
    """The name that docs/operations.md has too, the file in tests/faults that tries it, and how many seeds in CI."""

    name: str
    file: str
    few: int = 2


FAULTS = (
    Fault("the node is killed", "test_kill.py"),
    Fault("the aggregator is killed", "test_kill.py"),
    Fault("the link goes dead", "test_kill.py"),
    Fault("bodies are damaged on the way", "test_noise.py"),
    Fault("connections that say nothing", "test_idle.py"),
    Fault("a stuck driver", "test_stuck_driver.py"),
    Fault("a clock jumps", "test_clock.py"),
    Fault("orders among kills", "test_orders.py"),
    Fault("the power goes", "test_power_cut.py"),
    Fault("writes hang", "test_hung.py"),
    Fault("the node's card is full or read-only at the start", "test_card_at_start.py"),
    Fault("the node's card is replaced", "test_card_lost.py"),
    Fault("the node's card is damaged", "test_damaged_card.py", few=1),  # of each way
    Fault("the aggregator's store is damaged", "test_damage.py", few=1),  # of each way
    Fault("a store or a card goes back", "test_one_rule.py", few=4),
)
NAMED = {fault.name: fault for fault in FAULTS}


def drawn_from() -> str:
    """What the seeds are drawn from."""
    return os.environ.get("FAULT_FROM") or _commit()


@functools.cache
def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return NO_GIT


def count(fault: str) -> int:
    """How many seeds of a fault are tried."""
    few = NAMED[fault].few  # a fault that is not in the table is none
    return 1 if os.environ.get("FAULT_SEED") else int(os.environ.get("FAULT_SEEDS") or few)


def seed_of(fault: str, number: int) -> int:
    """One of its seeds, 0 … MOST - 1."""
    if given := os.environ.get("FAULT_SEED"):
        return int(given)
    text = f"{drawn_from()} {fault} {number}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") % MOST


def draw(fault: str, ways: Sequence[Any] = (), *, each: bool = False) -> list[Any]:
    """For `parametrize`: its seeds, or (way, seed) where it comes in several ways: each way at least once, or with
    all seeds."""
    marks = pytest.mark.fault(fault, 1)
    if not ways:
        seeds = [seed_of(fault, i) for i in range(count(fault))]
        return [pytest.param(seed, id=f"seed={seed}", marks=marks) for seed in seeds]
    many = count(fault) * len(ways) if each else max(count(fault), len(ways))
    pairs = [(ways[i % len(ways)], seed_of(fault, i)) for i in range(many)]
    return [pytest.param(way, seed, id=f"{way}-seed={seed}", marks=marks) for way, seed in pairs]
