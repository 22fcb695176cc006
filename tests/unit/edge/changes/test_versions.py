"""What was changed of the list at the cabinet: kept whole or not at all, and only as long as the file says the same."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from edge.changes import versions
from edge.changes.counting import DeviceList
from edge.changes.versions import (
    MAX_CHANGES,
    MAX_FILE_BYTES,
    MAX_VERSIONS,
    NAME,
    DeviceChange,
    ListVersion,
    ListVersions,
    Unusable,
    changed,
    read_versions,
    write_versions,
)


def table(name: str, unit: object) -> dict[str, Any]:
    return {"id": name, "profile": "lx-1", "line": "north", "address": {"unit": unit}}


A, B, C = table("a", 1), table("b", 2), table("c", 3)


def version(number: int, *changes: DeviceChange, detail: str = "") -> ListVersion:
    return ListVersion(
        number=number, by="Zoé", time_us=number, synced=True, act="replaced", device="a", detail=detail, changes=changes
    )


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    assert read_versions(tmp_path) == ListVersions()
    assert read_versions(tmp_path / "nowhere") == ListVersions()
    kept = ListVersions().followed(version(1, DeviceChange(device="a", was=A, now=table("a", 9))))
    write_versions(tmp_path, kept)
    assert read_versions(tmp_path) == kept
    assert (kept.number, kept.find(0), kept.find(1), kept.find(2)) == (1, (), kept.changes, None)
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


def test_the_file_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    write_versions(tmp_path, ListVersions())
    path = tmp_path / NAME
    path.chmod(0o604)
    if os.getuid() == 0:
        os.chown(path, 12, 34)
    before = path.stat()
    write_versions(tmp_path, ListVersions().followed(version(1)))
    after = path.stat()
    assert after.st_ino != before.st_ino, "a new file in its place"
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o604, before.st_uid, before.st_gid)


@pytest.mark.parametrize("step", ["fsync", "fchmod"])
def test_where_the_card_does_not_take_it_what_was_kept_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    kept = ListVersions().followed(version(1))
    write_versions(tmp_path, kept)

    def fails(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(versions.os, step, fails)
    with pytest.raises(Unusable, match="No space left"):
        write_versions(tmp_path, kept.followed(version(2)))
    assert read_versions(tmp_path) == kept
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"versions": [{}]}', b"\xff" * 9, b" " * (MAX_FILE_BYTES + 1)])
def test_what_is_damaged_is_said(tmp_path: Path, body: bytes) -> None:
    (tmp_path / NAME).write_bytes(body)
    with pytest.raises(Unusable, match="is damaged"):
        read_versions(tmp_path)


def test_the_oldest_versions_go() -> None:
    kept = ListVersions()
    for n in range(1, MAX_VERSIONS + 6):
        kept = kept.followed(version(n))
    assert [v.number for v in kept.versions] == list(range(6, MAX_VERSIONS + 6))
    large = DeviceChange(device="a", was=A, now={**A, "name": "x" * 400_000})
    for n in (50, 51, 52):
        kept = kept.followed(version(n, large))
    assert [v.number for v in kept.versions] == [51, 52]
    with pytest.raises(Unusable, match="more than"):
        kept.followed(version(53, large, large, large))
    with pytest.raises(Unusable, match="at most"):
        kept.followed(version(53, *[DeviceChange(device=str(n)) for n in range(MAX_CHANGES + 1)]))


def test_a_change_is_from_whoever_has_made_it_and_not_from_who_came_later() -> None:
    first, second = (DeviceChange(device="a", was=A, now=table("a", n)) for n in (8, 9))
    other = DeviceChange(device="b", was=B)
    kept = ListVersions()
    for n, (by, act, device, changes) in enumerate(
        [("Zoé", "replaced", "a", [first]), ("Max", "removed", "b", [first, other]), ("Léa", "replaced", "a", [second]),
         ("Max", "back", "", [first, other])], 1
    ):  # fmt: skip
        kept = kept.followed(
            ListVersion(number=n, by=by, time_us=n, synced=True, act=act, device=device, changes=tuple(changes))  # type: ignore[arg-type]
        )
    found = [kept.made(change) for change in (first, second, other)]
    assert [(v.by, v.number) for v in found if v is not None] == [("Zoé", 1), ("Léa", 3), ("Max", 2)]
    assert kept.made(DeviceChange(device="a", was=A)) is None
    assert DeviceList(versions=kept, void=(first,)).told()[0].startswith("a was replaced at the cabinet by Zoé; that")


def test_changes_are_put_into_the_tables() -> None:
    replaced = DeviceChange(device="a", was=A, now=table("a", 9))
    removed = DeviceChange(device="b", was=B)
    added = DeviceChange(device="d", now=table("d", 4))
    found = changed([A, B, C], [A, B, C], [replaced, removed, added])
    assert found.tables == (table("a", 9), C, table("d", 4))
    assert found.counting == (replaced, removed, added)
    assert found.void == ()
    last = changed([A, B, C], [A, B, C], [replaced], last="a")
    assert last.tables == (B, C, table("a", 9))


def test_who_edits_the_file_wins() -> None:
    replaced = DeviceChange(device="a", was=A, now=table("a", 9))
    removed = DeviceChange(device="b", was=B)
    added = DeviceChange(device="d", now=table("d", 4))
    edited = [table("a", 7), C, table("d", 5)]
    found = changed(edited, edited, [replaced, removed, added])
    assert found.tables == tuple(edited)
    assert found.void == (replaced, removed, added)


def test_it_is_compared_with_what_is_written_whatever_variables_hold() -> None:
    written, read = table("a", "${UNIT}"), table("a", 5)
    change = DeviceChange(device="a", was=written, now=table("a", 9))
    for environment in (read, written):  # set, and not set
        assert changed([written], [environment], [change]).tables == (table("a", 9),)


def test_what_is_no_table_stays_for_whoever_checks() -> None:
    assert changed([3, {}], [3, {}], [DeviceChange(device="a", was=A, now=A)]).tables == (3, {})
