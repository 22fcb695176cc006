"""`lamplighter-edge plan`: draw what the lamps will do, and check a plan before it is put on a node.

Drawn is the plan that the node follows: the city's last one, where that can be followed, else the file of the
configuration; the first line says which.

Exit codes: 0 drawn, or the plan is sound; 1 there is nothing to draw; 78 the plan is wrong, as for the configuration.
At most MAX_SHOWN nights are drawn at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, TextIO

from drivers.tables import Problem, suggest
from edge.plans.load import load_file, read
from edge.plans.local import FIRST_DATE, LAST_DATE, Location
from edge.plans.picture import Language, picture
from edge.plans.plan import Plan, tonight
from wire.device import Device, Roster
from wire.orders import Bundle
from wire.time import Utc

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits.h, as in edge/cli.py
MAX_SHOWN: Final = 31
_WHICH: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "city": "the plan from the city, version {}, given by {}",
        "file": "the plan of the file {}",
        "unfit": "the node cannot follow the plan from the city, version {}, any more: it follows its file",
    },
    "fr": {
        "city": "le programme envoyé par la ville, version {}, donné par {}",
        "file": "le programme du fichier {}",
        "unfit": "le nœud ne peut plus suivre le programme de la ville, version {} : il suit son fichier",
    },
}


def add(verbs: Any) -> None:
    """Add `plan show` and `plan check` to the command line; `verbs` is what `add_subparsers` gave (it has no public
    type)."""
    plan: argparse.ArgumentParser = verbs.add_parser("plan", help="draw or check a lighting plan")
    acts = plan.add_subparsers(dest="act", required=True)
    show = acts.add_parser("show", help="draw tonight, or another night, of the plan that the node follows")
    show.add_argument("--device", help="only the calendar that this device follows")
    show.add_argument("--date", type=_date, help="the evening of the night, YYYY-MM-DD (default: tonight)")
    show.add_argument("--nights", type=_nights, default=1, help=f"so many nights, up to {MAX_SHOWN} (default 1)")
    show.add_argument("--file", type=Path, help="draw this plan instead of the one that the node follows")
    check = acts.add_parser("check", help="tell everything that is wrong in a plan")
    check.add_argument("file", type=Path, nargs="?", help="plan.toml; left out: the one that node.toml names")
    for act in (show, check):
        act.add_argument("--config", type=Path, required=True, help="node.toml: it has the place and the devices")
        act.add_argument("--lang", choices=["en", "fr"], help="language of the picture (default: that of LANG)")


def run(
    args: argparse.Namespace,
    *,
    plan: Path | None,
    place: Location | None,
    roster: Roster,
    now_us: Utc,
    out: TextIO,
    err: TextIO,
    locale: str = "",
    followed: Bundle | None = None,
) -> int:
    """Do what the command line says: `plan` and `place` from the configuration, `locale` such as fr_FR.UTF-8;
    `followed` is the plan that the city has sent."""
    if place is None:
        return _fail(err, "the configuration does not say where the node is: write lon and lat in [site]")
    language: Language = args.lang or ("fr" if locale.startswith("fr") else "en")
    if args.act == "show" and args.file is None and followed is not None:
        problems: list[Problem] = []
        source = f"plan {followed.version}"
        sent = read(followed.text, place, source=source, problems=problems, roster=roster)
        if sent is not None:
            which = _WHICH[language]["city"].format(followed.version, followed.by)
            return _show(sent, which, roster, args, now_us, language, out, err)
        err.writelines(f"{p}\n" for p in problems)
        err.write(_WHICH[language]["unfit"].format(followed.version) + "\n")
    file: Path | None = args.file or plan
    if file is None:
        return _fail(err, 'node.toml names no plan: write plan = "plan.toml" in [control], or name a file here')
    problems = []
    found = load_file(file, place, problems=problems, roster=roster)
    if found is None:
        err.writelines(f"{p}\n" for p in problems)
        err.write(f"{len(problems)} problem(s); the plan would not be taken\n")
        return EXIT_CONFIG
    if args.act == "check":
        out.write(_summary(found, roster))
        return 0
    return _show(found, _WHICH[language]["file"].format(file), roster, args, now_us, language, out, err)


def _show(
    plan: Plan,
    which: str,
    roster: Roster,
    args: argparse.Namespace,
    now_us: Utc,
    language: Language,
    out: TextIO,
    err: TextIO,
) -> int:
    groups = plan.groups(roster.devices)
    device: str | None = args.device
    if device is not None:
        known = {d.id: d for d in roster.devices}
        if device not in known:
            return _fail(err, f'there is no device "{device}"{suggest(device, known)}')
        calendar = plan.follows(known[device])
        if calendar is None:
            return _fail(err, f"{device} follows no calendar: no [[assign]] of the plan selects it")
        calendars: Sequence[str] = [calendar]
    else:
        # A plan can be looked at before the devices are there.
        calendars = [c for c in plan.table.calendar if c in groups] or list(plan.table.calendar)
    first: date = args.date or tonight(plan, now_us)
    pictures = [
        picture(plan, calendar, first + timedelta(days=i), devices=len(groups.get(calendar, ())), language=language)
        for i in range(args.nights)
        for calendar in calendars
    ]
    out.write(f"{which}\n\n" + "\n\n\n".join(pictures) + "\n")
    return 0


def _summary(plan: Plan, roster: Roster) -> str:
    groups: dict[str, list[Device]] = plan.groups(roster.devices)
    lines = [f"calendar {name}: {len(groups.get(name, ()))} device(s) of this node" for name in plan.table.calendar]
    followed = sum(map(len, groups.values()))
    lines.append(f"{len(roster.devices) - followed} device(s) of this node follow no calendar")
    return "\n".join([*lines, f"{plan.name}, version {plan.version}: the plan is sound", ""])


def _fail(err: TextIO, text: str) -> int:
    err.write(f"{text}\n")
    return EXIT_FAILED


def _date(text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}" is no date; write YYYY-MM-DD') from error
    if not FIRST_DATE <= found <= LAST_DATE - timedelta(days=MAX_SHOWN):
        raise argparse.ArgumentTypeError(f"write a year from {FIRST_DATE.year} to {LAST_DATE.year - 1}")
    return found


def _nights(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SHOWN:
        raise argparse.ArgumentTypeError(f"write a number from 1 to {MAX_SHOWN}")
    return int(text)
