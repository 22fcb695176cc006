"""How figures are shown: a table in the terminal, Markdown for the docs, JSON lines for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.figure import Figure

_GOALS = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}


def number(value: float | None) -> str:
    """Three significant digits, thousands with a thin mark."""
    if value is None:
        return "–"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    if abs(value) >= 10_000:
        return f"{value / 1e3:.3g} k"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g} ×"


def goal(figure: Figure) -> str:
    """What was set out for, in words."""
    if figure.goal is None:
        return ""
    bound = number(figure.goal.bound)
    match figure.goal.against:
        case "ours":
            return f"{'≤' if figure.less else '≥'} {bound}"
        case "peer":
            return f"≥ {bound} × the peer"
        case "limit":
            return f"≤ {bound} × the limit"


def _cells(figure: Figure) -> list[str]:
    peer = f"{number(figure.peer)} {figure.peer_name}" if figure.peer is not None else ""
    limit = f"{number(figure.limit)} {figure.limit_name}" if figure.limit is not None else ""
    return [
        figure.name,
        figure.unit,
        f"{number(figure.ours)} ± {figure.spread / 2:.0%}" if figure.spread else number(figure.ours),
        peer,
        _times(figure.ratio),
        limit,
        _times(figure.of_limit),
        goal(figure),
    ]


HEADS = ("what", "unit", "ours", "peer", "better by", "limit", "above it", "goal")


def table(figures: Sequence[Figure]) -> Group:
    """For the terminal, with the notes below it."""
    shown = Table(*HEADS, "", box=box.SIMPLE_HEAD, pad_edge=False)
    for figure in figures:
        shown.add_row(*_cells(figure), _GOALS[figure.met])
    notes = [Text(f"{figure.name}: {figure.note}", style="dim") for figure in figures if figure.note]
    return Group(shown, *notes)


def markdown(figures: Sequence[Figure], machine: Mapping[str, str]) -> str:
    """For docs/performance.md."""
    lines = [f"- {what}: {text}" for what, text in machine.items()]
    lines += ["", f"| {' | '.join(HEADS)} | |", f"|{'---|' * (len(HEADS) + 1)}"]
    for figure in figures:
        met = {True: "met", False: "missed", None: ""}[figure.met]
        lines.append(f"| {' | '.join(_cells(figure))} | {met} |")
    notes = [f"- {figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*lines, "", *notes]) + "\n"


def write_json(path: Path, figures: Sequence[Figure], machine: Mapping[str, str]) -> None:
    """One object a line: first the machine, then a row each."""
    rows = [{"machine": dict(machine)}, *(figure.row() for figure in figures)]
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
