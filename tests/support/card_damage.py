"""Damage to single records of a SQLite file (its file format: sqlite.org/fileformat2.html, sections 1.6 and 2.1)."""

from __future__ import annotations

from pathlib import Path


def flip_key(path: Path, offset: int, size: int, *, cell: int, bit: int) -> None:
    """Flip a bit (0 … 6, of its highest byte) in one key of the leaf page of `size` bytes at `offset`: what is ordered
    by it is in no order any more."""
    with path.open("r+b") as file:
        file.seek(offset)
        page = bytearray(file.read(size))
        pointer = 8 + 2 * (cell % int.from_bytes(page[3:5]))  # behind the page's header: where each cell begins
        at = int.from_bytes(page[pointer : pointer + 2])
        while page[at] & 0x80:  # how long the record is comes first
            at += 1
        page[at + 1] ^= 1 << bit
        file.seek(offset)
        file.write(page)
