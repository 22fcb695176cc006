"""The verb `lamplighter-cloud export`: its options, and a bar that shows how far it is."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import Final, get_args
from zoneinfo import ZoneInfo

from cloud.api.history import USUAL
from cloud.api.history_bodies import FUNCTIONS, Function
from cloud.exporting.export import ExportAsked, ExportProgress, export
from cloud.history.calendar import Every
from cloud.history.contract import HistoryAsked
from cloud.times import SECOND_US, parse, utc_us
from cloud.views.contract import Box, TargetsAsked

BAR_CHARS: Final = 30


def options(added: argparse.ArgumentParser) -> None:
    """Those of the verb, beside --data."""
    added.add_argument("folder", type=Path, help="an empty folder, or one that this was begun in before")
    for name in ("device", "point", "area", "group", "fn"):
        added.add_argument(
            f"--{name}", action="append", default=[], required=name == "point", help="may be given more than once"
        )
    for name in ("kind", "profile", "tag", "node"):
        added.add_argument(f"--{name}", help=f"devices of this {name}")
    added.add_argument("--box", type=_box, metavar="W,S,E,N", help="devices within; degrees, WGS 84")
    added.add_argument("--from", dest="from_time", required=True, metavar="TIME", help="as 2027-01-01T00:00:00+01:00")
    added.add_argument("--to", dest="to_time", metavar="TIME", help="until then; now when left out")
    added.add_argument("--every", choices=get_args(Every), default="1h", help="how long a bucket is (default 1h)")
    added.add_argument("--tz", default="UTC", help="the zone whose clocks and midnights count, as Europe/Paris")
    added.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    added.add_argument(
        "--history",
        type=Path,
        metavar="DIR",
        help="where folded hours lie; history/ in the store's directory when left out",
    )


def act(given: argparse.Namespace) -> int:
    """Export, with a bar on a terminal."""
    bar = _Bar()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: it goes on where it was
    which = TargetsAsked(
        devices=tuple(given.device) or None, kind=given.kind, profile=given.profile, tag=given.tag, node=given.node,
        box=given.box,
    )  # fmt: skip
    some = any((given.kind, given.profile, given.tag, given.node, given.box, given.area, given.group))
    if given.device and some:
        raise ValueError("--device goes with no other selection")
    names = [name for part in given.fn for name in part.split(",")]
    if unknown := [name for name in names if name not in FUNCTIONS]:
        raise ValueError(f"--fn {unknown[0]}: it is one of {', '.join(FUNCTIONS)}")
    functions: tuple[Function, ...] = tuple(f for f in FUNCTIONS if f in names) or USUAL
    try:
        ZoneInfo(given.tz)
    except (KeyError, OSError):
        raise ValueError(f"--tz {given.tz}: it is the IANA name of a time zone, as Europe/Paris") from None
    now_us = utc_us()
    asked = ExportAsked(
        history=HistoryAsked(
            which=which, points=tuple(given.point), every=given.every, zone=given.tz,
            from_us=parse(given.from_time), to_us=now_us if given.to_time is None else parse(given.to_time),
        ),
        areas=tuple(given.area), groups=tuple(given.group), functions=functions, shape=given.format,
    )  # fmt: skip
    try:
        done = asyncio.run(export(given.data, given.folder, asked, bar.show, given.history))
    except KeyboardInterrupt:
        bar.end()
        print("lamplighter-cloud: cancelled; the same command goes on from here", file=sys.stderr)
        return 1
    bar.end()
    print(f"{done.files} files in {given.folder}, {done.size_bytes / 1e6:.1f} MB written now")
    return 0


class _Bar:
    """A line that shows how far an export is, on a terminal."""

    def __init__(self) -> None:
        self._began, self._first = utc_us(), -1

    def show(self, done: ExportProgress) -> None:
        if not sys.stderr.isatty():
            return
        self._first = done.places if self._first < 0 else self._first
        part = done.places / max(1, done.places_all)
        made, passed_s = done.places - self._first, (utc_us() - self._began) / SECOND_US
        left = f"{passed_s * (done.places_all - done.places) / made:,.0f} s left" if made else ""
        bar = "#" * int(part * BAR_CHARS)
        print(
            f"\r[{bar:{BAR_CHARS}}] {part:4.0%}, file {done.files} of {done.files_all}, {left:12}",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip

    def end(self) -> None:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def _box(given: str) -> Box:
    try:
        west, south, east, north = (float(part) for part in given.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{given!r}; write west,south,east,north, as 4.96,47.27,5.12,47.37") from None
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise argparse.ArgumentTypeError(
            f"{given!r}; longitudes lie from -180 to 180, latitudes from -90 to 90, and south is not above north"
        )
    return west, south, east, north
