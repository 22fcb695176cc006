"""From rules files to rules: everything that is wrong in all of them is told at once, with file, line and what to
write instead.

Rules are checked against the roster: the devices that they select, the points, types, units, ranges and choices of
those devices' profiles. A rule that passes here cannot fail later for a reason that could have been known. Bounds:
MAX_FILES files, and those of `edge/rules/rule.py` and `edge/rules/tables.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from drivers.errors import Misconfigured, Refused
from drivers.readings import allowed
from drivers.tables import Problem, suggest
from edge.rules import condition, trial
from edge.rules.condition import RESERVED, Condition
from edge.rules.read import Read, Tell, read_tables, read_text
from edge.rules.rule import MAX_RULES, MAX_WATCHES, MAX_WINDOWS, Alarming, Holding, Rule, Rules, Suppressed, WindowOf
from edge.rules.tables import CommandTable, Consequence, RuleTable
from edge.selector import Selector
from wire.device import Device, Point, Roster

MAX_FILES: Final = 50
NODES_OWN: Final = frozenset({"alarm-flood", "not-as-set", "unsupported-version"})
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


def load(paths: Sequence[Path], roster: Roster, problems: list[Problem]) -> Rules:
    """The rules of these files for the devices of this roster. What is wrong is added to `problems`, and the rules
    that are wrong are left out of what is returned."""
    if len(paths) > MAX_FILES:
        problems.append(Problem("rules", "", f"{len(paths)} files; a node has at most {MAX_FILES}"))
    texts = {path: text for path in paths[:MAX_FILES] if (text := read_text(path, problems)) is not None}
    return load_texts(texts, roster, problems)


def load_texts(texts: Mapping[Path, str], roster: Roster, problems: list[Problem]) -> Rules:
    """As `load`, from texts that are at hand; the paths are what they are called."""
    street = _Street(roster)
    read_in: list[Read] = []
    for path, text in texts.items():
        read_in += read_tables(path, text, problems)
    if len(read_in) > MAX_RULES:
        one = read_in[MAX_RULES]
        text = f"{len(read_in)} rules; a node has at most {MAX_RULES}"
        problems.append(Problem(f"{one.file}:{one.line}", "rule", text))
        read_in = read_in[:MAX_RULES]
    first: dict[str, str] = {}
    rules: list[Rule] = []
    for one in read_in:
        name = one.table.name
        if name in first:
            one.tell("name", f'there is another rule "{name}", at {first[name]}; choose another name')
        if name in NODES_OWN or name.startswith("line-"):
            one.tell("name", f'"{name}" is what the node calls an alarm of its own; choose another name')
        first.setdefault(name, f"{one.file}:{one.line}")
        rule = street.rule(one)
        if rule is not None:
            rules.append(rule)
    made = street.suppressions(rules, read_in)
    _bound(made, problems)
    return Rules(tuple(made))


def _bound(made: Sequence[Rule], problems: list[Problem]) -> None:
    watches = sum(len(r.devices) for r in made)
    windows = sum(len(r.devices) * len(r.windows) for r in made)
    largest = max(made, key=lambda r: len(r.devices), default=None)
    for count, most, what in ((watches, MAX_WATCHES, "devices watched"), (windows, MAX_WINDOWS, "windows kept")):
        if count > most and largest is not None:
            text = f"{count} {what} over all rules; a node has at most {most}: select fewer devices"
            problems.append(Problem(f"{largest.file}:{largest.line}", f"rule.{largest.name}", text))


class _Street:
    """What rules are checked against."""

    def __init__(self, roster: Roster) -> None:
        self._devices = roster.devices
        self._points = {name: {p.name: p for p in points} for name, points in roster.profiles.items()}

    def rule(self, one: Read) -> Rule | None:
        """One rule, or None when anything in it was wrong, and then its `tell` has heard it."""
        table, wrong = one.table, one.broken

        def told(key: str, text: str) -> None:
            nonlocal wrong
            wrong = True
            one.tell(key, text)

        devices = self._select(table.on, "on", told)
        if not devices:
            return None
        profiles = sorted({d.profile for d in devices})
        windows = self._windows(table, profiles, told)
        when = self._condition(table.when, "when", table, windows, profiles, told)
        clear = self._condition(table.clear, "clear", table, windows, profiles, told) if table.clear else None
        for name, unit in table.units.items():
            self._unit(name, unit, profiles, told)
        holding = None if table.command is None else self._holding(table.command, devices, told)
        alarming = None
        if table.alarm is not None:
            words = (("en", table.alarm.text.en), ("fr", table.alarm.text.fr))
            text = {language: said for language, said in words if said}
            alarming = Alarming(severity=table.alarm.severity, respond_within_s=table.alarm.respond_within_s, text=text)
        if when is None or wrong:
            return None
        used = [when] if clear is None else [when, clear]
        names = {n for c in used for n in (*c.points, *c.windows, *c.ambient)}
        names |= {f"quality.{n}" for c in used for n in c.qualities} | {f"age_s.{n}" for c in used for n in c.ages_us}
        also: set[str] = set()
        for language, said in () if alarming is None else alarming.text.items():
            for name in _PLACEHOLDER.findall(said):
                if name in names:
                    continue
                if all(name in self._points[p] for p in profiles):
                    also.add(name)
                else:
                    known = names | {n for p in profiles for n in self._points[p]}
                    told(f"alarm.text.{language}", f"{{{name}}} is nothing that is known here{suggest(name, known)}")
        for window in windows:
            if not any(window.name in c.windows for c in used):
                told(f"window.{window.name}", "is not used; name it in `when`, or leave it out")
        if table.silent_s is not None and not any(c.silent for c in used):
            told("silent_s", "has no use here: `when` does not ask `silent`; leave it out")
        if wrong:
            return None
        return Rule(
            name=table.name,
            file=one.file,
            line=one.line,
            when=when,
            clear=clear,
            for_us=round(table.for_s * 1e6),
            min_interval_us=round(table.min_interval_s * 1e6),
            silent_us=None if table.silent_s is None else round(table.silent_s * 1e6),
            windows=windows,
            also=tuple(sorted(also)),
            alarming=alarming,
            holding=holding,
            tag=table.tag,
            devices=tuple(d.id for d in devices),
        )

    def suppressions(self, rules: Sequence[Rule], read_in: Sequence[Read]) -> list[Rule]:
        """The rules with what they suppress, now that all are known."""
        by_name = {rule.name: rule for rule in rules}
        raising = {one.table.name: one.table.alarm is not None or one.broken for one in read_in}
        found: dict[str, list[Suppressed]] = {}
        for one in read_in:
            own = one.table.name
            for i, each in enumerate(() if one.table.alarm is None else one.table.alarm.suppresses):
                name, key = each.rule if isinstance(each, Consequence) else each, f"alarm.suppresses[{i}]"
                devices = self._select(each.on, f"{key}.on", one.tell) if isinstance(each, Consequence) else None
                if name == own:
                    one.tell(key, "a rule cannot suppress itself; leave it out")
                elif name not in raising:
                    one.tell(key, f'there is no rule "{name}"{suggest(name, raising.keys() - {own})}')
                elif not raising[name]:
                    one.tell(key, f'the rule "{name}" raises no alarm; leave it out')
                elif name in by_name:
                    ids = set(by_name[name].devices)
                    ids &= ids if devices is None else {d.id for d in devices}
                    found.setdefault(own, []).append(Suppressed(rule=name, devices=frozenset(ids)))
        return [
            replace(r, alarming=replace(r.alarming, suppresses=tuple(found.get(r.name, ()))))
            if r.alarming is not None
            else r
            for r in rules
        ]

    # ---- parts -------------------------------------------------------------------------------------------------

    def _select(self, selector: Selector, key: str, tell: Tell) -> list[Device]:
        found = [d for d in self._devices if selector.fits(d)]
        if found:
            return found
        there = {
            "kind": {d.kind for d in self._devices},
            "profile": {d.profile for d in self._devices},
            "tag": {t for d in self._devices for t in d.tags},
            "id": {d.id for d in self._devices},
        }
        alone = True
        for field, known in there.items():
            words: str | tuple[str, ...] = getattr(selector, field)
            for word in (words,) if isinstance(words, str) else words:
                if not any(map(Selector(**{field: word}).fits, self._devices)):
                    near = suggest(word, known) if known else f"; no device has a {field}"
                    tell(f"{key}.{field}", f'no device has the {field} "{word}"{near[:300]}')
                    alone = False
        if alone:
            tell(key, "selects no device: none matches all of these together")
        return []

    def _point(self, name: str, profiles: Sequence[str], key: str, tell: Tell) -> Point | None:
        """The point of the first of these profiles; None where one has no such point."""
        lacking = [p for p in profiles if name not in self._points[p]]
        if lacking:
            tell(key, self._lacks(name, lacking, profiles))
            return None
        return self._points[profiles[0]][name]

    def _lacks(self, name: str, lacking: Sequence[str], profiles: Sequence[str]) -> str:
        have = [p for p in profiles if p not in lacking]
        if have:
            words = f'"{have[0]}"' if len(have) == 1 else f"{have}".replace("'", '"')
            return f'profile {lacking[0]} has no point "{name}"; narrow the rule: on = {{ profile = {words} }}'
        return f'there is no point "{name}"{suggest(name, self._points[lacking[0]])}'

    def _windows(self, table: RuleTable, profiles: Sequence[str], tell: Tell) -> tuple[WindowOf, ...]:
        found: list[WindowOf] = []
        for name, window in table.window.items():
            key = f"window.{name}"
            operation = window.operation
            point = self._point(getattr(window, operation), profiles, f"{key}.{operation}", tell)
            if name in RESERVED or any(name in self._points[p] for p in profiles):
                tell(key, f'"{name}" means something already; choose another name, such as "{operation}_{name}"')
            if point is None:
                continue
            if point.type == "text" and operation != "count":
                tell(f"{key}.{operation}", f"{point.name} is a text, and a text has no {operation}; only count works")
            over_us = round(window.over_s * 1e6)
            found.append(WindowOf(name=name, operation=operation, point=point.name, over_us=over_us))
        return tuple(found)

    def _condition(
        self,
        source: str,
        key: str,
        table: RuleTable,
        windows: Sequence[WindowOf],
        profiles: Sequence[str],
        tell: Tell,
    ) -> Condition | None:
        everywhere = {n for p in profiles for n in self._points[p]}
        declared = set(table.window)
        found = condition.read(source, points=everywhere - declared, windows=declared, tell=lambda t: tell(key, t))
        if found is None:
            return None
        named = sorted({*found.points, *found.qualities, *found.ages_us})
        told = [
            self._lacks(name, lacking, profiles)
            for name in named
            if (lacking := [p for p in profiles if name not in self._points[p]])
        ]
        # Windows that are wrong have been told of; without them nothing can be tried.
        for profile in () if told or len(windows) < len(declared) else profiles:
            kinds = trial.kinds(found, self._points[profile], windows)
            told += [t if len(profiles) == 1 else f"{t} (profile {profile})" for t in trial.problems(found, kinds)]
        for text in dict.fromkeys(told):
            tell(key, text)
        return None if told else found

    def _unit(self, name: str, unit: str, profiles: Sequence[str], tell: Tell) -> None:
        if self._point(name, profiles, f"units.{name}", tell) is None:
            return
        for profile in profiles:
            if (has := self._points[profile][name].unit) != unit:
                told = f'"{has}"' if has else 'no unit; write ""'
                tell(f"units.{name}", f'profile {profile} has {name} in {told}, not "{unit}"; check the numbers too')

    def _holding(self, table: CommandTable, devices: Sequence[Device], tell: Tell) -> Holding | None:
        targets = devices if table.on is None else self._select(table.on, "command.on", tell)
        value: int | float | bool | str | None = None
        wrong = not targets
        for profile in sorted({d.profile for d in targets}):
            points = self._points[profile]
            if table.point not in points:
                writable = {n for n, p in points.items() if p.writable}
                near = suggest(table.point, writable) if writable else "; nothing of it can be set"
                tell("command.point", f'profile {profile} has no point "{table.point}"{near}')
                wrong = True
                continue
            try:
                value = allowed(points[table.point], table.value)
            except Misconfigured:
                writable = [n for n, p in points.items() if p.writable]
                near = f"what can be set: {', '.join(writable)}" if writable else "nothing of it can be set"
                tell("command.point", f"{table.point} of profile {profile} is not writable; {near}")
                wrong = True
            except Refused as error:
                tell("command.value", f"{error} (profile {profile})")
                wrong = True
        if wrong or value is None:
            return None
        return Holding(
            point=table.point,
            value=value,
            hold_us=round(table.hold_s * 1e6),
            release=table.release,
            devices=() if table.on is None else tuple(d.id for d in targets),
        )
