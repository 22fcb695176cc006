from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from drivers.profile import Profile
from drivers.profile_files import SHIPPED, load_profiles
from drivers.tables import Problem
from edge.rules.engine import Engine
from edge.rules.load import load
from edge.rules.rule import Rules
from wire.device import Device, Roster
from wire.sample import Clock, Sample, Value

CLOCK = Clock(1, synced=True)


def no_ambient(_: int) -> Mapping[str, Value]:
    return {}


@cache
def shipped() -> Mapping[str, Profile]:
    """Read once: profiles never change."""
    problems: list[Problem] = []
    profiles = load_profiles([SHIPPED], problems)
    assert not problems
    return profiles


class Street:
    """Devices of the shipped profiles, and rules for them from a text."""

    def __init__(self, folder: Path, ids: Mapping[str, str]) -> None:
        profiles = shipped()
        tags = {"bin-1": ("school",)}
        self.roster = Roster(
            devices=tuple(Device(id=i, kind=profiles[p].kind, profile=p, tags=tags.get(i, ())) for i, p in ids.items()),
            profiles={p: tuple(profiles[p].points.values()) for p in sorted(set(ids.values()))},
        )
        self.file = folder / "rules.toml"

    def problems(self, text: str) -> list[str]:
        """What is wrong with this text, without the file's folder."""
        found: list[Problem] = []
        self.file.write_text(text)
        load([self.file], self.roster, found)
        return [str(p).replace(str(self.file.parent) + "/", "") for p in found]

    def rules(self, text: str) -> Rules:
        found: list[Problem] = []
        self.file.write_text(text)
        rules = load([self.file], self.roster, found)
        assert not found, "\n".join(map(str, found))
        return rules

    def engine(
        self,
        rules: str | Rules,
        ambient: Callable[[int], Mapping[str, Value]] = no_ambient,
        heartbeats_s: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Engine:
        made = self.rules(rules) if isinstance(rules, str) else rules
        return Engine(made, self.roster.devices, self.roster.profiles, ambient, heartbeats_s=heartbeats_s)

    @staticmethod
    def sample(
        device: str, at_s: float, *, bad: Sequence[str] = (), uncertain: Sequence[str] = (), **values: Value
    ) -> Sample:
        quality = dict.fromkeys(bad, "bad:no answer") | dict.fromkeys(uncertain, "uncertain:out of range")
        return Sample(device, round(at_s * 1e6), CLOCK, values | dict.fromkeys(bad), quality)


@pytest.fixture
def street(tmp_path: Path) -> Street:
    ids = {"lamp-1": "lx-1", "lamp-2": "lx-1", "bin-1": "bn-1", "bin-2": "bn-1", "meter-1": "tm-3", "air-1": "aq-2"}
    return Street(tmp_path, ids)
