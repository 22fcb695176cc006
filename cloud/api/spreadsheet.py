"""Spreadsheet: what goes into a cell of a CSV, so that nothing in it is taken for a formula."""

from __future__ import annotations

from typing import Final

FORMULA: Final = tuple("=+-@\t\r")  # what a spreadsheet takes a text for that begins so


def cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula begins with an apostrophe, as it would show it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
