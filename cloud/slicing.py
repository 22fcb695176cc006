"""Slicing: a part of columns, cut out without expanding what lies around it.

A small body may stand for half a million readings; whoever shows a few of them expands only those.
"""

from __future__ import annotations

from wire import vector
from wire.columns import Cell, Columns
from wire.vector import Vector


def cut(columns: Columns, start: int, stop: int) -> Columns:
    """The samples from `start` to before `stop`."""
    if start <= 0 and stop >= columns.n:
        return columns
    cells = {point: _cell(cell, start, stop) for point, cell in columns.cells.items()}
    return Columns(columns.device, columns.clock, columns.times[start:stop], cells)


def _cell(cell: Cell, start: int, stop: int) -> Cell:
    runs = [(max(first, start), min(first + count, stop), text) for first, count, text in cell.quality]
    quality = tuple((first - start, end - first, text) for first, end, text in runs if first < end)
    if cell.present is None:
        return Cell(_vector(cell.vector, start, stop), None, quality)
    present = cell.present[start:stop]
    before = cell.present.count(1, 0, start)
    return Cell(_vector(cell.vector, before, before + present.count(1)), present, quality)


def _vector(whole: Vector, start: int, stop: int) -> Vector:
    if start == stop:
        return [vector.SAME, None]
    match whole[0]:
        case vector.SAME:
            return whole
        case vector.STEPS:
            steps = whole[2]
            return [vector.STEPS, whole[1] + sum(steps[:start]), steps[start : stop - 1]]
        case vector.EVEN:
            return [vector.EVEN, whole[1] + whole[2] * start, whole[2]]
        case vector.DECIMAL | vector.TEXTS:
            return [*whole[:2], _vector(whole[2], start, stop)]
        case vector.BOOLS:
            return [vector.BOOLS, _vector(whole[1], start, stop)]
        case _:
            return [whole[0], whole[1][start:stop]]
