"""What a technician has typed, until the node goes by it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from drivers.tables import Problem
from edge.changes.births import MAX_BIRTHS, Births
from edge.changes.counting import at_fault
from edge.changes.editor import DeviceEditor, Edit, Stale, Tried
from edge.changes.versions import NAME, Unusable, read_versions
from edge.config import attempt, load, written_devices
from edge.sampling.lines import readdressed
from unit.edge.test_config import GOOD
from wire.sample import Clock

NOW_US = 1_795_000_000_000_000


class Cabinet:
    """A file, and what the node is told to go by."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "node.toml"
        self.file.write_text(GOOD)
        (directory / "data").mkdir()
        self.applied: list[tuple[dict[str, int], list[str]]] = []
        self.births = Births(lambda: 1.0)
        self.start()

    def start(self) -> DeviceEditor:
        config = load(self.file, {})
        self.lines = list(config.lines)
        self.editor = DeviceEditor(
            self.file.parent / "data",
            config.listed.versions,
            counting=config.listed.counting,
            unusable=config.listed.unusable,
            written=lambda: written_devices(self.file, {}),
            attempt=lambda changes, last: attempt(self.file, changes, last),
            apply=self.apply,
            lines=self.lines,
            births=self.births,
            now=lambda: (NOW_US, Clock(1, synced=False)),
        )
        return self.editor

    def apply(self, config: Any, fresh: Any, _why: str) -> None:
        self.lines[:] = config.lines
        assert config.listed.versions == self.editor.versions, "another node goes on from there"
        units = {a.device.id: a.address.unit for line in config.lines for a in line.attachments}
        self.applied.append((units, list(fresh)))

    def replace(self, unit: object, device: str = "lamp-1") -> Edit:
        table = {"id": device, "profile": "lx-1", "line": "north", "address": {"unit": unit}}
        return Edit(act="replaced", device=device, table=table)


@pytest.fixture
def cabinet(tmp_path: Path) -> Cabinet:
    return Cabinet(tmp_path)


async def test_what_fits_is_kept_and_gone_by(cabinet: Cabinet) -> None:
    edit = cabinet.replace(9)
    assert (await cabinet.editor.attempt(edit)).problems == ()
    assert cabinet.applied == []
    await cabinet.editor.make(edit, "Zoé", 0)
    assert cabinet.applied == [({"lamp-1": 9}, ["lamp-1"])]
    (version,) = read_versions(cabinet.file.parent / "data").versions
    assert (version.by, version.time_us, version.synced, version.detail) == ("Zoé", NOW_US, False, "unit 1 → 9")
    born = cabinet.births.of("lamp-1")
    assert born is not None
    assert born.by == "Zoé"
    assert cabinet.start().table("lamp-1") == edit.table, "after a restart, too"


async def test_what_does_not_fit_changes_nothing(cabinet: Cabinet) -> None:
    tried = await cabinet.editor.make(cabinet.replace("nine"), "Zoé", 0)
    own, others = tried.of_device("lamp-1")
    assert set(own) == {"address.unit"}
    assert others == []
    assert cabinet.applied == []
    assert not (cabinet.file.parent / "data" / NAME).exists()


async def test_two_technicians_do_not_undo_each_other(cabinet: Cabinet) -> None:
    done = await asyncio.gather(
        cabinet.editor.make(cabinet.replace(8), "Zoé", 0),
        cabinet.editor.make(cabinet.replace(9), "Max", 0),
        return_exceptions=True,
    )
    assert sorted(type(d).__name__ for d in done) == ["Stale", "Tried"]
    with pytest.raises(Stale):
        await cabinet.editor.make(cabinet.replace(7), "Max", 0)


async def test_back_and_forth(cabinet: Cabinet) -> None:
    await cabinet.editor.make(cabinet.replace(8), "Zoé", 0)
    await cabinet.editor.make(Edit(act="removed", device="lamp-1"), "Zoé", 1)
    await cabinet.editor.make(Edit(act="back", number=1), "Max", 2)
    await cabinet.editor.make(Edit(act="back", number=0), "Max", 3)
    assert [units for units, _ in cabinet.applied] == [{"lamp-1": 8}, {}, {"lamp-1": 8}, {"lamp-1": 1}]
    assert cabinet.editor.changes == ()
    with pytest.raises(Unusable, match="not kept any more"):
        await cabinet.editor.make(Edit(act="back", number=77), "Max", 4)


async def test_a_card_that_takes_nothing_changes_nothing(cabinet: Cabinet) -> None:
    (cabinet.file.parent / "data").rmdir()
    with pytest.raises(Unusable, match="cannot be written"):
        await cabinet.editor.make(cabinet.replace(9), "Zoé", 0)
    assert cabinet.applied == []
    assert cabinet.editor.versions.number == 0


async def test_damaged_changes_are_not_written_over_but_by_going_back(cabinet: Cabinet) -> None:
    (cabinet.file.parent / "data" / NAME).write_text("{")
    editor = cabinet.start()
    with pytest.raises(Unusable, match="is damaged"):
        await editor.make(cabinet.replace(9), "Zoé", 0)
    await editor.make(Edit(act="back", number=0), "Zoé", 0)
    await editor.make(cabinet.replace(9), "Zoé", 1)


def test_births_are_few_and_pass() -> None:
    now = [0.0]
    births = Births(lambda: now[0])
    for n in range(MAX_BIRTHS + 1):
        births.note(f"d{n}", "Zoé", "added", NOW_US)
    assert births.of("d0") is None
    assert len(births.waiting()) == MAX_BIRTHS
    now[0] = 1e6
    assert births.waiting() == []


def test_only_another_address_leaves_the_other_lines_alone(cabinet: Cabinet) -> None:
    before = load(cabinet.file, {}).lines

    def after(old: str, new: str) -> Any:
        cabinet.file.write_text(GOOD.replace(old, new))
        found = readdressed(before, load(cabinet.file, {}).lines)
        return None if found is None else [line.name for line in found]

    assert after("unit = 1", "unit = 1") == []
    assert after("unit = 1", "unit = 5") == ["north"]
    for old, new in (('"lamp-1"', '"lamp-x"'), ("unit = 1 }", "unit = 1 }\nname = 'x'"), ('"gateway"', '"other"')):
        assert after(old, new) is None


def test_who_is_at_fault_is_told_by_the_places_that_are_named() -> None:
    problems = [Problem("f", "device[1].address", 'taken by "a" (device[0].address)'), Problem("f", "device[77]", "")]
    assert at_fault(problems, ["a", "b", "c"]) == {"a", "b"}
    assert Tried((Problem("f", "site", "x"),), ("a",)).of_device("a") == ({}, [Problem("f", "site", "x")])
