"""`scripts/bench`: run the rows, show the table, say what could not be measured."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench import machine, report, rows
from bench.figure import Figure
from bench.stand import Absent, BenchError, Stand

QUICK_REPEATS, REPEATS = 1, 3
WIDTH = 160  # of a log


def main() -> int:
    """0 when every row has its figures."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", action="append", metavar="ROW", choices=rows.NAMES, help=", ".join(rows.NAMES))
    parser.add_argument("--quick", action="store_true", help="one short run a row: does it work, and roughly what")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"runs of each measurement ({REPEATS})")
    parser.add_argument("--hours", type=float, metavar="H", help="how long the city row fills its city (24)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also as JSON, one object a line")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also as a Markdown table")
    asked = parser.parse_args()
    repeats = asked.repeats or (QUICK_REPEATS if asked.quick else REPEATS)

    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    about = machine.describe()
    for what, text in about.items():
        console.print(f"[bold]{what}[/] {text}", highlight=False)
    figures: list[Figure] = []
    failed: list[str] = []
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        for name in asked.only or rows.NAMES:
            row = importlib.import_module(f"bench.rows.{name}")
            task = progress.add_task(f"{name}: {row.WHAT}")

            def say(text: str, name: str = name, task: object = task) -> None:
                progress.update(task, description=f"{name}: {text}")  # type: ignore[arg-type]
                if not console.is_terminal:
                    console.print(f"{time.strftime('%H:%M:%S')} {name}: {text}", highlight=False)

            found: list[Figure] = []
            try:
                with Stand(quick=asked.quick, repeats=repeats, say=say, hours=asked.hours) as stand:
                    for figure in row.run(stand):
                        found.append(figure)
                        say(f"{figure.name} {report.number(figure.ours)} {figure.unit}")
            except (BenchError, Absent) as error:
                failed.append(f"{name}: {error}")
            progress.remove_task(task)
            figures += found
            if found:
                console.print(report.table(found))
    if asked.json:
        report.write_json(asked.json, figures, about)
    if asked.markdown:
        asked.markdown.write_text(report.markdown(figures, about), encoding="utf-8")
    for reason in failed:
        console.print(f"[red]not measured[/] {reason}", highlight=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
