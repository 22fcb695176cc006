"""Street: the devices of a node and their points, and what a single rule is checked against.

Where something in a rule is wrong the rest of it is still looked at, as long as names can be found. Nothing here reads
a file. Bounds: those of `edge/rules/rule.py` and `edge/rules/tables.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from msgspec.structs import replace

from drivers.errors import Misconfigured, Refused
from drivers.readings import allowed
from drivers.tables import suggest
from edge.rules import condition, ending, language, trial
from edge.rules.condition import AGE, QUALITY, RESERVED, Condition
from edge.rules.language import Text
from edge.rules.read import Read, Tell
from edge.rules.rule import AlarmDefinition, Holding, Rule, Suppressed, WindowOf
from edge.rules.tables import CommandTable, Consequence, RuleTable
from edge.selector import Selector, nearest, why_none
from wire.device import Device, Point, Roster
from wire.time import micros

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


class RuleContext:
    """What rules are checked against."""

    def __init__(self, roster: Roster, *, own: bool) -> None:
        self._devices = roster.devices
        self._points = {name: {p.name: p for p in points} for name, points in roster.profiles.items()}
        self._own = own
        self.left_out: list[str] = []

    def rule(self, one: Read) -> Rule | None:
        """One rule, or None when anything in it was wrong, and then its `tell` has heard it, or when it is left out."""
        table, wrong = one.table, one.broken

        def told(key: str, text: str) -> None:
            nonlocal wrong
            wrong = True
            one.tell(key, text)

        devices = self._watched(one, told)
        if not devices:  # no profile to find names in
            for key, source in (("when", table.when), ("clear", table.clear)):
                if source and key not in one.unknown:
                    for text in language.examined(Text(source))[1]:
                        told(key, text)
            if not wrong:
                self.left_out.append(table.name)
            return None
        profiles = sorted({d.profile for d in devices})
        windows = self._windows(table, profiles, told)
        found = self._conditions(one, windows, profiles, told)
        for name, unit in table.units.items():
            self._unit(name, unit, profiles, told)
        holding = None if table.command is None else self._holding(table.command, devices, one.unknown, told)
        alarming = None
        if table.alarm is not None:
            words = (("en", table.alarm.text.en), ("fr", table.alarm.text.fr))
            text = {spoken: said for spoken, said in words if said}
            alarming = AlarmDefinition(
                severity=table.alarm.severity, respond_within_s=table.alarm.respond_within_s, text=text
            )
        also = self._also(alarming, found, one, profiles, told)
        if found is not None:
            self._unused(table, windows, found, told)
        if found is None or wrong:
            return None
        if table.command is not None and holding is None and alarming is None and not table.tag:
            self.left_out.append(table.name)
            return None
        return Rule(
            name=table.name,
            file=one.file,
            line=one.line,
            when=found[0],
            clear=found[1] if len(found) > 1 else None,
            for_us=micros(table.for_s),
            min_interval_us=micros(table.min_interval_s),
            silent_us=None if table.silent_s is None else micros(table.silent_s),
            windows=windows,
            also=also,
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
                on = each.on if isinstance(each, Consequence) else None
                devices = None if on is None else {d.id for d in self._devices if on.fits(d)}
                if on is not None:
                    self._none(on, f"{key}.on", one.tell)
                if not name:
                    continue  # what was wrong with it has been told
                if name == own:
                    one.tell(key, "a rule cannot suppress itself; leave it out")
                elif name not in raising:
                    one.tell(key, f'there is no rule "{name}"{suggest(name, raising.keys() - {own})}')
                elif not raising[name]:
                    one.tell(key, f'the rule "{name}" raises no alarm; leave it out')
                elif name in by_name:
                    ids = set(by_name[name].devices)
                    ids &= ids if devices is None else devices
                    found.setdefault(own, []).append(Suppressed(rule=name, devices=frozenset(ids)))
        return [
            replace(r, alarming=replace(r.alarming, suppresses=tuple(found.get(r.name, ()))))
            if r.alarming is not None
            else r
            for r in rules
        ]

    # ---- parts -------------------------------------------------------------------------------------------------

    def _watched(self, one: Read, tell: Tell) -> list[Device]:
        """The devices of a rule. Where its words select none, those of the nearest words, so that what else is wrong is
        found too; none, where nobody can tell, or in a bundle that is not for this node."""
        if "on" in one.unknown:
            return []
        selector = one.table.on
        found = [d for d in self._devices if selector.fits(d)]
        if not found and self._own:
            self._none(selector, "on", tell)
            near = nearest(selector, self._devices)
            found = [d for d in self._devices if near.fits(d)]
        return found

    def _none(self, selector: Selector, key: str, tell: Tell) -> None:
        """Tell why nothing is selected, where something should be."""
        for under, text in why_none(selector, self._devices) if self._own else ():
            tell(f"{key}.{under}".rstrip("."), text)

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
            over_us = micros(window.over_s)
            found.append(WindowOf(name=name, operation=operation, point=point.name, over_us=over_us))
        return tuple(found)

    def _conditions(
        self, one: Read, windows: Sequence[WindowOf], profiles: Sequence[str], tell: Tell
    ) -> list[Condition] | None:
        """`when`, and `clear` where there is one; None where one of them is wrong, which has been reported."""
        found: list[Condition] = []
        kinds: list[dict[str, dict[str, trial.Kind]]] = []
        sound = not {"when", "clear"} & one.unknown
        for key, source in (("when", one.table.when), ("clear", one.table.clear)):
            if not source or key in one.unknown:
                continue
            made = self._condition(source, key, one, windows, profiles, tell)
            if made is None:
                sound = False
                continue
            found.append(made[0])
            kinds.append(made[1])
        if not sound:
            return None
        if len(found) > 1:
            when, clear = found
            both = [ending.never_over(when, clear, kinds[0][p], kinds[1][p]) for p in profiles]
            for text in dict.fromkeys(filter(None, both)):
                tell("clear", text)
        return found

    def _condition(
        self, source: str, key: str, one: Read, windows: Sequence[WindowOf], profiles: Sequence[str], tell: Tell
    ) -> tuple[Condition, dict[str, dict[str, trial.Kind]]] | None:
        """A condition, and by profile what its names may be, where that is known."""
        everywhere = {n for p in profiles for n in self._points[p]}
        declared = one.windows | one.table.window.keys()
        found = condition.read(source, points=everywhere - declared, windows=declared, tell=lambda t: tell(key, t))
        if found is None:
            return None
        named = sorted({*found.points, *found.qualities, *found.ages_us})
        told = [
            self._lacks(name, lacking, profiles)
            for name in named
            if (lacking := [p for p in profiles if name not in self._points[p]])
        ]
        kinds: dict[str, dict[str, trial.Kind]] = {}
        # Windows that are wrong have been told of; without them nothing can be tried.
        for profile in () if told or not {w.name for w in windows} >= set(found.windows) else profiles:
            kinds[profile] = trial.kinds(found, self._points[profile], windows)
            wrong = trial.problems(found, kinds[profile])
            told += [t if len(profiles) == 1 else f"{t} (profile {profile})" for t in wrong]
        for text in dict.fromkeys(told):
            tell(key, text)
        return None if told else (found, kinds)

    def _also(
        self,
        alarming: AlarmDefinition | None,
        used: Sequence[Condition] | None,
        one: Read,
        profiles: Sequence[str],
        tell: Tell,
    ) -> tuple[str, ...]:
        """The points that only the text of an alarm shows."""
        if used is None:  # what it names is not known for certain: any word of it may be shown
            names = set(re.findall(r"[\w.]+", f"{one.table.when} {one.table.clear}")) | one.windows
        else:
            names = {n for c in used for n in (*c.points, *c.windows, *c.ambient)}
            names |= {f"{QUALITY}.{n}" for c in used for n in c.qualities}
            names |= {f"{AGE}.{n}" for c in used for n in c.ages_us}
        also: set[str] = set()
        for spoken, said in () if alarming is None else alarming.text.items():
            for name in _PLACEHOLDER.findall(said):
                if name in names:
                    continue
                if all(name in self._points[p] for p in profiles):
                    also.add(name)
                else:
                    known = names | {n for p in profiles for n in self._points[p]}
                    tell(f"alarm.text.{spoken}", f"{{{name}}} is nothing that is known here{suggest(name, known)}")
        return tuple(sorted(also))

    def _unused(self, table: RuleTable, windows: Sequence[WindowOf], used: Sequence[Condition], tell: Tell) -> None:
        for window in windows:
            if not any(window.name in c.windows for c in used):
                tell(f"window.{window.name}", "is not used; name it in `when`, or leave it out")
        if table.silent_s is not None and not any(c.silent for c in used):
            tell("silent_s", "has no use here: `when` does not ask `silent`; leave it out")

    def _unit(self, name: str, unit: str, profiles: Sequence[str], tell: Tell) -> None:
        if self._point(name, profiles, f"units.{name}", tell) is None:
            return
        for profile in profiles:
            if (has := self._points[profile][name].unit) != unit:
                told = f'"{has}"' if has else 'no unit; write ""'
                tell(f"units.{name}", f'profile {profile} has {name} in {told}, not "{unit}"; check the numbers too')

    def _holding(
        self, table: CommandTable, devices: Sequence[Device], unknown: Collection[str], tell: Tell
    ) -> Holding | None:
        targets: Sequence[Device] = devices
        if (on := table.on) is not None:
            self._none(on, "command.on", tell)
            near = nearest(on, self._devices) if self._own else on
            targets = [d for d in self._devices if near.fits(d)]
        if "command.point" in unknown:
            return None
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
                wrong = True
                if "command.value" in unknown:
                    continue
                tell("command.value", f"{error} (profile {profile})")
        if wrong or value is None:
            return None
        return Holding(
            point=table.point,
            value=value,
            hold_us=micros(table.hold_s),
            release=table.release,
            devices=() if table.on is None else tuple(d.id for d in targets),
        )
