"""Real data to hold the simulated street against: "Air Quality" of the UCI Machine Learning Repository.

Hourly averages of one multisensor device in an Italian city, March 2004 to April 2005: 9,357 samples of 13 points
(S. De Vito, doi 10.24432/C59K5F, CC BY 4.0). The file is not part of the project: LAMPLIGHTER_SHARED_DATA names the
folder where it lies, else ../shared/data beside the checkout. -200 means missing: its sample then lacks the point.
Columns without decimals are integers, the others floats of as many decimals as they show.
"""

from __future__ import annotations

import csv
import os
from datetime import UTC, datetime
from pathlib import Path

from bench.stand import ROOT
from bench.street import CLOCK
from wire.sample import Sample, Value

MISSING = -200
DEVICE = "air-uci"


def path() -> Path:
    """Where the file should be."""
    folder = os.environ.get("LAMPLIGHTER_SHARED_DATA")
    return (Path(folder) if folder else ROOT.parent / "shared" / "data") / "AirQualityUCI.csv"


def load() -> list[Sample]:
    """All samples, an hour apart; none where the file is missing."""
    if not path().exists():
        return []
    with path().open(encoding="utf-8", newline="") as file:
        head, *rows = [[cell.replace(",", ".") for cell in row] for row in csv.reader(file, delimiter=";")]
    rows = [row for row in rows if row[0]]
    points = {i: _name(name) for i, name in enumerate(head) if i >= 2 and name}
    whole = {i for i in points if not any("." in row[i] for row in rows)}
    return [_sample(row, points, whole) for row in rows]


def _sample(row: list[str], points: dict[int, str], whole: set[int]) -> Sample:
    moment = datetime.strptime(f"{row[0]} {row[1]}", "%d/%m/%Y %H.%M.%S").replace(tzinfo=UTC)
    values: dict[str, Value] = {
        name: int(row[i]) if i in whole else float(row[i]) for i, name in points.items() if float(row[i]) != MISSING
    }
    return Sample(DEVICE, int(moment.timestamp()) * 1_000_000, CLOCK, values)


def _name(column: str) -> str:
    return column.lower().translate(str.maketrans("().", "___")).strip("_")
