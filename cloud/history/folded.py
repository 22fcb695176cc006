"""Folded: what the folder has kept, as answers read it: the place, and the files that it says count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cloud.history.partial import Terms
from cloud.history.place import VERSION, Place, hours_of
from groundwork.files import write_atomically

if TYPE_CHECKING:  # which brings pyarrow: not before somebody asks
    from cloud.history.parquet import Found

PLACE: Final = "_place.json"  # which readers of folders leave out


def load_place(directory: Path) -> Place | None:
    """The place; None where there is none that this version can read.

    Raises:
        OSError: it cannot be read.
    """
    try:
        place = msgspec.json.decode((directory / PLACE).read_bytes(), type=Place)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return place if place.version == VERSION else None


def save_place(directory: Path, place: Place) -> None:
    """Write the place: it is there whole and durable, or as it was before.

    Raises:
        OSError: the disk does not take it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / PLACE, msgspec.json.encode(place), mode=0o644)


class FoldedHours:
    """Asked in threads. The place is read again whenever its file is another one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._place: tuple[tuple[int, int, int], Place | None] | None = None
        self._files: Any = None

    def place(self) -> Place | None:
        """How far the folder has come; None where nothing is folded, or it cannot be read."""
        try:
            stat = (self._directory / PLACE).stat()
            key = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if self._place is None or self._place[0] != key:
                self._place = (key, load_place(self._directory))
        except OSError:
            return None
        return self._place[1]

    def read(
        self, place: Place, days: Sequence[int], series: Mapping[tuple[str, str, str], int], terms: Sequence[Terms]
    ) -> Iterator[Found]:
        """The rows of series (by point, node and device) in days of UTC, as they were folded.

        Raises:
            OSError: a file is not there, or cannot be read.
        """
        from cloud.history import parquet

        if self._files is None:
            self._files = parquet.FoldedFiles(self._directory)
        for number in days:
            day = place.days.get(number)
            if day is None:
                continue
            folder = Path(parquet.day_name(number))
            names = [parquet.DAY_FILE] if day.whole else [f"_hour={h:02}.parquet" for h in hours_of(day.hours)]
            yield from self._files.read([folder / name for name in names], series, terms)
