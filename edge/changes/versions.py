"""Versions: what was changed in the list of devices at the cabinet, beside the file that nobody can write there.

`node.toml` belongs to whoever installs the node, and the service cannot write it. What a technician changes lies in
`data_dir`/NAME, which the node and `lamplighter-edge check` read after it: the whole of the changes that count, once
for each version, with who made it and when. A change says what `node.toml` said of the device when it was made, and
counts as long as it says that: who edits the file wins.

The file is written anew as a whole: a temporary one beside it, synced, put in its place, the folder synced. It keeps
its mode and its owner. Bounds: MAX_VERSIONS versions and MAX_FILE_BYTES, the oldest go; MAX_CHANGES devices changed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, cast

import msgspec

from wire.time import Utc

NAME: Final = "devices.json"
MAX_VERSIONS: Final = 20
MAX_CHANGES: Final = 256
MAX_FILE_BYTES: Final = 1 << 20
MODE: Final = 0o640

Table = Mapping[str, Any]
Act = Literal["replaced", "changed", "added", "removed", "back"]


class Unusable(Exception):
    """What is kept cannot be read, or something cannot be kept: in words."""


class DeviceChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device. `was` is its table as `node.toml` had it, None: there was none. `now` is what counts, None: there is
    no such device any more."""

    device: str
    was: dict[str, Any] | None = None
    now: dict[str, Any] | None = None


class ListVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What `by` has made of the list at `time_us` by the node's clock, which was an estimate where it is not `synced`.
    `act` on `device`, or back to the version of number `detail`; `changes` are all that count since."""

    number: int
    by: str
    time_us: Utc
    synced: bool
    act: Act
    device: str = ""
    detail: str = ""
    changes: tuple[DeviceChange, ...] = ()


class ListVersions(msgspec.Struct, frozen=True):
    """All that are kept, the newest last."""

    versions: tuple[ListVersion, ...] = ()

    @property
    def changes(self) -> tuple[DeviceChange, ...]:
        """Those that count."""
        return self.versions[-1].changes if self.versions else ()

    @property
    def number(self) -> int:
        """Of the version that counts; 0: the file alone."""
        return self.versions[-1].number if self.versions else 0

    def find(self, number: int) -> tuple[DeviceChange, ...] | None:
        """The changes of a version that is kept; 0 is the file alone."""
        if number == 0:
            return ()
        return next((v.changes for v in self.versions if v.number == number), None)

    def made(self, change: DeviceChange) -> ListVersion | None:
        """The version that a change is from, which need not be the last of its device: somebody may have gone back.
        None where it is not kept any more."""
        own = [v for v in reversed(self.versions) if v.device == change.device]
        return next((v for v in own if change in v.changes), None)

    def followed(self, version: ListVersion) -> ListVersions:
        """These and one more, within the bounds.

        Raises:
            Unusable: it is too large.
        """
        if len(version.changes) > MAX_CHANGES:
            raise Unusable(
                f"{len(version.changes)} devices are changed; at most {MAX_CHANGES}: write them into node.toml"
            )
        kept = [*self.versions, version][-MAX_VERSIONS:]
        while len(msgspec.json.encode(ListVersions(tuple(kept)))) > MAX_FILE_BYTES:
            if len(kept) == 1:
                raise Unusable(f"the changes have more than {MAX_FILE_BYTES} bytes: write them into node.toml")
            del kept[0]
        return ListVersions(tuple(kept))


def read_versions(directory: Path) -> ListVersions:
    """What is kept in a data directory.

    Raises:
        Unusable: it cannot be read, or is damaged.
    """
    path = directory / NAME
    try:
        with path.open("rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return ListVersions()
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from error
    try:
        if len(body) > MAX_FILE_BYTES:
            raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")  # noqa: TRY301 - told like the others
        return msgspec.json.decode(body, type=ListVersions)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Unusable(f"{path} is damaged: {error}") from error


def write_versions(directory: Path, versions: ListVersions) -> None:
    """Keep them in place of what was kept: on the card on return.

    Raises:
        Unusable: the card does not take them; then what was kept is as it was.
    """
    path = directory / NAME
    beside = path.with_name(f".{NAME}.new")
    try:
        try:
            was = path.stat()
        except FileNotFoundError:
            was = None
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
        with open(fd, "wb") as file:  # noqa: PTH123 - it is open already
            if was is not None:
                os.fchmod(fd, was.st_mode & 0o7777)
                with contextlib.suppress(PermissionError):  # only root may give a file away
                    os.fchown(fd, was.st_uid, was.st_gid)
            file.write(msgspec.json.format(msgspec.json.encode(versions), indent=1))
            file.flush()
            os.fsync(fd)
        beside.replace(path)
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise Unusable(f"{path} cannot be written: {error.strerror}") from error


class ChangedTables(msgspec.Struct, frozen=True):
    """The tables of devices with the changes in them. `counting` are those that count, `void` those for which the file
    says something else by now."""

    tables: tuple[object, ...]
    counting: tuple[DeviceChange, ...]
    void: tuple[DeviceChange, ...]


def changed(
    written: Sequence[object], read: Sequence[object], changes: Sequence[DeviceChange], last: str = ""
) -> ChangedTables:
    """The devices of a file with changes. `written` are its tables as they stand there, which is what changes are
    compared with; `read` the same with their variables replaced, in the same order. The device `last` comes last: then
    what two devices claim is told of it."""
    places = {id_of(table): i for i, table in reversed(list(enumerate(read)))}
    made: list[object] = list(read)
    gone: set[int] = set()
    counting: list[DeviceChange] = []
    void: list[DeviceChange] = []
    added: list[object] = []
    for change in changes:
        at = places.get(change.device)
        if (None if at is None else written[at]) != change.was:
            void.append(change)
            continue
        counting.append(change)
        if at is None:
            added += [change.now] if change.now is not None else []
        elif change.now is None:
            gone.add(at)
        else:
            made[at] = change.now
    tables = [t for i, t in enumerate(made) if i not in gone] + added
    if last:
        tables.sort(key=lambda t: id_of(t) == last)
    return ChangedTables(tuple(tables), tuple(counting), tuple(void))


def id_of(table: object) -> str:
    """The id of a device's table; "" where it has none."""
    found: object = cast("Table", table).get("id") if isinstance(table, Mapping) else None
    return found if isinstance(found, str) else ""
