"""Init answers: what `lamplighter-edge init` has to know of a new node, by option or by question, and what it finds out
by looking: on this machine for what a line can be, on the lines for devices.

Bounds: those of `edge.verbs.questions`, `edge.verbs.found_here` and of a look; MAX_LINES lines, MAX_TAKEN devices of a
look.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import re
import sys
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from drivers.errors import DriverError
from drivers.profile_files import SHIPPED, load_profiles
from drivers.tables import Problem
from edge.config import ConfigError
from edge.identify.looking import Found, LookFor, LookReport
from edge.identify.words import told
from edge.plans.local import zone
from edge.sampling.lines import MAX_LINES, DeviceTable, Id, attach
from edge.sync.http import plain_http_allowed
from edge.verbs import found_here
from edge.verbs.asking import Language
from edge.verbs.identify import LISTEN_S, SCAN_S, LookSteps, alone
from edge.verbs.init_words import WORDS
from edge.verbs.node_file import SYSTEM, NewNode, tables_of
from edge.verbs.questions import NotSaid, Questions

MAX_TAKEN: Final = 250
SERVED: Final = "0.0.0.0:8470"
UNITS: Final = "1-32"
NONE: Final = "-"
CREDENTIAL: Final = "${CREDENTIALS_DIRECTORY}/token"
_PLACE: Final = re.compile(r"(-?\d{1,3}(?:\.\d+)?)\s*[,; ]\s*(-?\d{1,3}(?:\.\d+)?)")
_OF_DEVICE: Final = frozenset(f.encode_name for f in msgspec.structs.fields(DeviceTable))


class InitAnswers:
    """One new node: what is given by options, and what is asked."""

    def __init__(
        self, args: argparse.Namespace, questions: Questions, language: Language, path: Path, root: Path
    ) -> None:
        self._args, self._ask, self._path, self._root = args, questions, path, root
        self._language: Language = language
        self._words = WORDS[language]

    def asked(self) -> NewNode:
        """All of it.

        Raises:
            NotSaid.
        """
        args, words, system = self._args, self._words, self._path.parent == SYSTEM
        new = NewNode(
            id=self._ask.ask(words["node"], "--node", self._id, given=args.node, default=found_here.host_id()),
            cloud=self._ask.ask(words["cloud"], "--cloud", self._cloud, given=args.cloud),
            token_file=args.token_file or CREDENTIAL,
            data_dir="/var/lib/lamplighter" if system else "data",
            socket="/run/lamplighter/node.sock" if system else "",
            technicians="lamplighter-technicians" if system else "",
            country=args.country,
        )
        if not system and args.token_file is None:
            new.token_file = self._ask.ask(words["token file"], "--token-file", str, default="token")
        self._place(new)
        if self._ask.whether(words["page"], "--page", given=args.page, default=self._ask.terminal):
            host = found_here.host_id()
            new.listen = SERVED
            new.names = tuple(dict.fromkeys(f"{name}.local".lower() for name in (host, new.id) if name))
        self._lines(new)
        self._devices(new)
        return new

    def _id(self, text: str) -> str:
        try:
            return msgspec.convert(text, Id)
        except msgspec.ValidationError as error:
            raise ValueError(self._words["bad node"]) from error

    def _cloud(self, text: str) -> str:
        try:
            parts = urlsplit(text)
            sound = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
            _ = parts.port
        except ValueError:
            sound = False
        if not sound or "@" in text:
            raise ValueError(f"{text} {self._words['bad cloud']}")
        if not plain_http_allowed(text):
            raise ValueError(self._words["plain"])
        return text

    def _place(self, new: NewNode) -> None:
        words, args = self._words, self._args

        def place(text: str) -> tuple[float, float] | None:
            if text == NONE:
                return None
            found = _PLACE.fullmatch(text)
            lat, lon = (float(found[1]), float(found[2])) if found else (math.inf, math.inf)
            if not (abs(lat) <= 90 and abs(lon) <= 180):
                raise ValueError(words["bad at"])
            return lat, lon

        if (found := self._ask.ask(words["at"], "--at", place, given=args.at)) is None:
            return
        new.lat, new.lon = found
        where = self._ask.ask(words["where"], "--where", str, given=args.where, default=NONE)
        new.where = "" if where == NONE else where

        def known(text: str) -> str:
            zone(text)
            return text

        default = found_here.time_zone(self._root)
        new.time_zone = self._ask.ask(words["zone"], "--time-zone", known, given=args.time_zone, default=default)

    # ---- lines ------------------------------------------------------------------------------------------------

    def _lines(self, new: NewNode) -> None:
        args, words = self._args, self._words
        if args.line or args.no_line or not self._ask.terminal:
            if not args.line and not args.no_line:
                raise NotSaid(self._ask.words["needed"].format("--line, --no-line"), option=True)
            new.lines = [self._ask.ask("", "--line", self._line_given, given=text) for text in args.line or ()]
            return
        kinds: list[tuple[str, dict[str, Any], str]] = [
            ("serial", {"protocol": "modbus", "serial": p.path}, words["serial"].format(p.path, p.about).rstrip())
            for p in found_here.serial_ports(self._root)
        ]
        radios = found_here.adapters(self._root)
        kinds += [("ble", {"protocol": "ble", "adapter": a}, words["ble"].format(a)) for a in radios]
        kinds.append(("serial", {"protocol": "modbus"}, words["path"]))
        kinds += [("tcp", {"protocol": "modbus"}, words["tcp"]), ("mqtt", {"protocol": "mqtt"}, words["mqtt"])]
        self._ask.say(words["ports"])
        for n, (_, _, text) in enumerate(kinds, 1):
            self._ask.say(f"  {n}  {text}")

        def number(text: str) -> int:
            n = 0 if text == NONE else int(text) if text.isdecimal() and len(text) < 4 else -1
            if not 0 <= n <= len(kinds):
                raise ValueError(words["bad number"].format(len(kinds)))
            return n

        while len(new.lines) < MAX_LINES and (n := self._ask.ask(words["which"], "--line", number, default=NONE)):
            kind, settings, _ = kinds[n - 1]
            new.lines.append(self._line_asked(kind, dict(settings), new))

    def _line_given(self, text: str) -> dict[str, Any]:
        name, *rest = text.split(",")
        try:
            return {"name": name, **tables_of(rest)}
        except ValueError as error:
            raise ValueError(self._words["bad line"]) from error

    def _line_asked(self, kind: str, table: dict[str, Any], new: NewNode) -> dict[str, Any]:
        words, ask = self._words, self._ask

        def whole(text: str) -> int:
            if not text.isdecimal() or len(text) > 7:
                raise ValueError(words["whole"])
            return int(text)

        def parity(text: str) -> str:
            if text.upper() not in ("N", "E", "O"):
                raise ValueError(words["bad parity"])
            return text.upper()

        def free(text: str) -> str:
            if any(line["name"] == text for line in new.lines):
                raise ValueError(words["taken"])
            return self._id(text)

        match kind:
            case "serial":
                if "serial" not in table:
                    table["serial"] = ask.ask(words["device file"], "--line", str)
                table["baud"] = ask.ask(words["baud"], "--line", whole, default="9600")
                table["parity"] = ask.ask(words["parity"], "--line", parity, default="N")
            case "tcp":
                table["host"] = ask.ask(words["host"], "--line", str)
                table["port"] = ask.ask("port", "--line", whole, default="502")
            case "mqtt":
                table |= {"host": ask.ask(words["host"], "--line", str, default="127.0.0.1"), "client_id": new.id}
                table["port"] = ask.ask("port", "--line", whole, default="1883")
            case _:
                pass
        base = {"serial": "rs485", "tcp": "modbus", "mqtt": "broker", "ble": "radio"}[kind]
        names = [base, *(f"{base}-{n}" for n in range(2, MAX_LINES + 2))]
        taken = {line["name"] for line in new.lines}
        name = ask.ask(words["name"], "--line", free, default=next(n for n in names if n not in taken))
        return {"name": name, **table}

    # ---- devices ----------------------------------------------------------------------------------------------

    def _devices(self, new: NewNode) -> None:
        for text in self._args.device or ():
            new.devices.append(self._ask.ask("", "--device", self._device_given, given=text))
        if not new.lines or self._args.scan is False or (self._args.scan is None and not self._ask.terminal):
            return
        problems: list[Problem] = []
        lines = attach(self._path, new.lines, [], {}, new.id, problems, [])
        if problems:
            raise ConfigError(problems)
        profiles = list(load_profiles([SHIPPED], []).values())
        for line in lines:
            words = self._words
            if not self._ask.whether(words["scan"].format(line.name), "--scan", given=self._args.scan, default=True):
                continue
            units = None
            if line.kind.name == "modbus":
                units = self._ask.ask(words["units"], "--units", self._units, given=self._args.units, default=UNITS)
            ask = LookFor(line=line.name, units=units, seconds=SCAN_S if units else LISTEN_S)
            self._ask.say(words["looking"].format(line.name))
            steps = LookSteps(sys.stderr, self._language)
            try:
                report = asyncio.run(alone(line, ask, profiles, steps, sweep=False))
            except DriverError as error:  # told, and the next one is looked at: a line can be mended later
                steps.end()
                sys.stderr.write(f"{error}\n")
                continue
            steps.end()
            self._take(new, report)

    def _device_given(self, text: str) -> dict[str, Any]:
        name, *rest = text.split(",")
        try:
            table = tables_of(rest)
        except ValueError as error:
            raise ValueError(self._words["bad device"]) from error
        return {
            "id": name,
            **{k: v for k, v in table.items() if k in _OF_DEVICE},
            "address": {k: v for k, v in table.items() if k not in _OF_DEVICE},
        }

    def _units(self, text: str) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,3})\s*-\s*(\d{1,3})", text)
        first, last = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= first <= last <= 247:
            raise ValueError(self._words["bad units"])
        return first, last

    def _take(self, new: NewNode, report: LookReport) -> None:
        """What was found and fits a profile, where whoever types wants it; without a terminal what is sure."""
        for text in told(report, self._language):
            self._ask.say(f"  {text}")
        for found in report.found[:MAX_TAKEN]:
            if not found.findings:
                continue
            first = found.findings[0]
            said = " ".join(str(v) for v in first.address.values())
            why = "changes" if first.kind else "" if first.sure or self._ask.terminal else "not sure"
            if why:
                sys.stderr.write(self._words["left"].format(said, self._words[why]) + "\n")
                continue
            address = cast("dict[str, Any]", dict(first.address))
            name = f"{new.id}-{report.line}-{_tail(found)}"[:64]
            taken = {d["id"] for d in new.devices}

            def free(text: str, taken: set[str] = taken) -> str:
                if text in taken:
                    raise ValueError(text)
                return text if text == NONE else self._id(text)

            text = self._words["take"].format(said, first.profile)
            if (device := self._ask.ask(text, "--device", free, default=name)) != NONE:
                new.devices.append({"id": device, "profile": first.profile, "line": report.line, "address": address})


def _tail(found: Found) -> str:
    """Of an id: the unit number, or the last half of a Bluetooth address."""
    first = str(next(iter(found.address.values()), "x"))
    return re.sub(r"[^A-Za-z0-9]", "", first)[-6:] or "x"
