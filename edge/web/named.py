"""Named: what else of the node has to do with a device: the plan that sets it, rules that watch or set it, its groups
(tags), and what an order holds on it. For whoever is about to remove it. Pure.

Bounds: MAX_NAMED sentences, and how many more there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edge.control.decided import Decided
from edge.plans.plan import Plan
from edge.rules.rule import Rule, Rules
from edge.web.language import Speech
from wire.device import Device

MAX_NAMED: Final = 12
ORDERED: Final = frozenset({"technician", "emergency", "hypervisor"})


def named(
    device: Device, plan: Plan | None, rules: Rules, decided: Iterable[Decided], speech: Speech
) -> tuple[list[str], int]:
    """A sentence for each, in the reader's language, and how many more there are. `plan` and `rules` are those in
    force, `decided` what is held now."""
    found: list[str] = []
    if plan is not None and (calendar := plan.follows(device)) is not None:
        found.append(
            speech.say("The plan {name} sets it, by its calendar {calendar}.", name=plan.name, calendar=calendar)
        )
    for rule in rules.rules:
        if _sets(rule, device.id):
            found.append(speech.say("The rule {name} sets it.", name=rule.name))
        elif device.id in rule.devices:
            found.append(speech.say("The rule {name} watches it.", name=rule.name))
        elif rule.alarming is not None and any(device.id in s.devices for s in rule.alarming.suppresses):
            found.append(speech.say("An alarm of the rule {name} explains alarms of it.", name=rule.name))
    found += [speech.say("It is in the group {name}.", name=tag) for tag in device.tags]
    found += [
        speech.say("An order holds {point}: {why}", point=d.point, why=d.why[speech.language])
        for d in decided
        if d.device == device.id and any(held.level in ORDERED for held in d.levels)
    ]
    return found[:MAX_NAMED], max(0, len(found) - MAX_NAMED)


def _sets(rule: Rule, device: str) -> bool:
    if rule.holding is None:
        return False
    return device in (rule.holding.devices or rule.devices)
