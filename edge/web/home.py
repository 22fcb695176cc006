"""Home: the first page: one verdict in one sentence, what to do about it, the way to the city, and all devices.

The verdict is about the visit, not about the node alone: a city out of reach is no reason to come, a silent lamp is.
Bounds: MAX_CARDS cards, ROWS devices a page, MAX_ALARMS alarms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from edge.sampling.quality_history import SLOT_US, SLOTS
from edge.trouble import Trouble
from edge.web import advice, devices
from edge.web.acting import SHELVE_S
from edge.web.advice import Advice, Weight
from edge.web.devices import Hung, Row
from edge.web.language import Speech
from edge.web.reasons import N_
from edge.web.sight import Sight
from wire.entries import Alarm, Health

MAX_CARDS: Final = 12
ROWS: Final = 60
MAX_ALARMS: Final = 20
OF_DEVICES: Final = frozenset({"misconfigured", "never-heard", "silent"})
SUMS: Final = frozenset({"devices-silent", "more-devices"})  # of what is told one by one
SEVERITIES: Final = (N_("low"), N_("medium"), N_("high"), N_("urgent"))
STATES: Final[Mapping[str, str]] = {
    "raised": N_("new"),
    "acknowledged": N_("seen"),
    "returned": N_("over, not yet seen"),
    "shelved": N_("shelved"),
    "suppressed": N_("explained by another"),
}


@dataclass(frozen=True)
class TaskCard:
    """Something to do, or to know."""

    advice: Advice
    device: str = ""


@dataclass(frozen=True)
class Queue:
    """What waits for the city."""

    reached: bool
    words: str
    back: int  # how far it reaches back, in slots of a strip
    oldest: str


@dataclass(frozen=True)
class StandingAlarm:
    """An alarm."""

    id: str
    state: str
    acknowledged: bool
    device: str
    here: bool
    text: str
    severity: str
    words: str
    asks: bool  # whether somebody should act

    def acts(self, say: Callable[..., str]) -> list[tuple[str, str, int]]:
        """What can be done with it from a page: the act, what stands on the button, and for how many seconds."""
        found: list[tuple[str, str, int]] = []
        if not self.acknowledged and self.state != "shelved":
            found.append(("acknowledge", say("I have seen it"), 0))
        if self.state == "shelved":
            found.append(("unshelve", say("No longer shelved"), 0))
        elif self.state in ("raised", "acknowledged"):
            found.append(("shelve", say("Shelve for 1 h"), SHELVE_S))
        return found


@dataclass(frozen=True)
class NodeSeen:
    """The node as it is now, and what is wrong with each device."""

    health: Health
    troubles: Sequence[Trouble]
    of_device: Mapping[str, Trouble]
    down: Mapping[str, str]
    alarms: Sequence[Alarm]
    alarmed: Mapping[str, int]


async def look(sight: Sight) -> NodeSeen:
    """Look at the node once, for a page."""
    health, troubles = await sight.examine()
    alarms = sight.alarms()
    alarmed = Counter(a.device for a in alarms if a.active and a.state in ("raised", "acknowledged"))
    of_device = {t.device: t for t in troubles if t.code in OF_DEVICES}
    return NodeSeen(health, troubles, of_device, sight.faults(), alarms, alarmed)


def mute(hung: Mapping[str, Hung], looked: NodeSeen) -> dict[str, list[str]]:
    """Lines that are open and of whose devices none answers, where they are at least two; and the devices."""
    by_line: dict[str, list[str]] = {}
    for device in hung.values():
        by_line.setdefault(device.line.name, []).append(device.id)
    return {
        line: found
        for line, found in by_line.items()
        if line not in looked.down
        and len(found) > 1
        and all(d in looked.of_device and looked.of_device[d].code != "misconfigured" for d in found)
    }


def cards(hung: Mapping[str, Hung], looked: NodeSeen, sight: Sight, speech: Speech) -> list[TaskCard]:
    """What to do, the worst first, and what there is to know."""
    found: list[TaskCard] = []
    silent_lines = mute(hung, looked)
    for trouble in looked.troubles:
        if trouble.code == "line":
            n = sum(1 for d in hung.values() if d.line.name == trouble.line)
            down = trouble.line in looked.down
            found.append(TaskCard(advice.of_line(trouble.line, trouble.why, n, speech, down=down)))
        elif trouble.code == "line-anew":
            if trouble.line not in looked.down:
                found.append(TaskCard(advice.of_line_anew(trouble, speech)))
        elif trouble.code not in OF_DEVICES | SUMS:
            found.append(TaskCard(advice.advise(trouble, speech)))
    for line, mute_devices in silent_lines.items():
        first = hung[mute_devices[0]]
        why = looked.of_device[first.id].why
        found.append(TaskCard(advice.silent_line(line, len(mute_devices), why, first.line.kind.name, speech)))
    for device, trouble in looked.of_device.items():
        if device in hung and hung[device].line.name not in {*looked.down, *silent_lines}:
            others = others_answer(hung, looked, hung[device])
            found.append(TaskCard(devices.judge(hung[device], trouble, sight, speech, others_answer=others), device))
    order: tuple[Weight, ...] = ("failed", "act", "note")
    return sorted(found, key=lambda c: order.index(c.advice.weight))


def others_answer(hung: Mapping[str, Hung], looked: NodeSeen, device: Hung) -> bool:
    """Whether another device on the same line is heard."""
    return device.polled and any(
        d.line.name == device.line.name and d.id != device.id and d.id not in looked.of_device and d.polled
        for d in hung.values()
    )


def needing(hung: Mapping[str, Hung], looked: NodeSeen) -> set[str]:
    """Devices that need somebody, but those whose line as a whole does."""
    whole = set(looked.down) | set(mute(hung, looked))
    found = {d for d in looked.of_device if d in hung and hung[d].line.name not in whole}
    return found | {d for d in looked.alarmed if d in hung and hung[d].line.name not in whole}


def verdict(hung: Mapping[str, Hung], looked: NodeSeen, found: Sequence[TaskCard], speech: Speech) -> tuple[str, str]:
    """`well`, `act` or `failed`, and the one sentence."""
    if any(c.advice.weight == "failed" for c in found):
        return "failed", speech.say("This cabinet is losing readings")
    lines = len(looked.down) + len(mute(hung, looked))
    n = len(needing(hung, looked))
    if lines:
        return "act", speech.count("{n} line needs you", "{n} lines need you", lines) + (
            " · " + speech.count("{n} device too", "{n} devices too", n) if n else ""
        )
    if n:
        return "act", speech.count("{n} device needs you", "{n} devices need you", n)
    if any(c.advice.weight == "act" for c in found):
        return "act", speech.say("This cabinet needs you")
    own = [a for a in looked.alarms if a.active and a.state in ("raised", "acknowledged")]
    if own:
        return "act", speech.count("{n} alarm stands here", "{n} alarms stand here", len(own))
    return "well", speech.say("This cabinet is working")


def queue(health: Health, looked: NodeSeen, speech: Speech) -> Queue:
    """The way to the city, and what waits for it."""
    reached = not any(t.code == "cloud-unreachable" for t in looked.troubles) and health.last_ack_s is not None
    if reached and health.last_ack_s is not None:
        words = speech.say("Connected: last confirmed {duration} ago", duration=speech.lasting(health.last_ack_s))
    elif health.last_ack_s is None:
        words = speech.say("Not connected since the start {duration} ago", duration=speech.lasting(health.uptime_s))
    else:
        words = speech.say("Not connected for {duration}", duration=speech.lasting(health.last_ack_s))
    if not health.outbox_entries or health.outbox_oldest_s is None:
        return Queue(reached, words, 0, "")
    back = min(SLOTS, max(1, ceil(health.outbox_oldest_s * 1e6 / SLOT_US)))
    return Queue(reached, words, back, speech.lasting(health.outbox_oldest_s))


def rows(hung: Mapping[str, Hung], looked: NodeSeen, sight: Sight, speech: Speech, start: int) -> list[Row]:
    """The devices from `start` on, those first that need somebody."""
    rank = {"act": 0, "partly": 1, "waiting": 2, "well": 3}
    judged = sorted(
        hung.values(), key=lambda d: d.id not in looked.of_device and d.id not in looked.alarmed
    )  # stable: else as they are written down
    shown = [
        devices.row(d, looked.of_device.get(d.id), sight, speech, alarms=looked.alarmed.get(d.id, 0))
        for d in judged[start : start + ROWS]
    ]
    return sorted(shown, key=lambda r: rank[r.state])


def standing(alarms: Sequence[Alarm], hung: Mapping[str, Hung], speech: Speech) -> list[StandingAlarm]:
    """Alarms, those first that ask for somebody and are the worst."""

    def key(alarm: Alarm) -> tuple[bool, int, int]:
        return not _asks(alarm), -_SEVERITY[alarm.severity], alarm.raised_us

    found: list[StandingAlarm] = []
    for alarm in sorted(alarms, key=key)[:MAX_ALARMS]:
        state = speech.say(STATES.get(alarm.state, alarm.state))
        words = [speech.say("since {since}", since=speech.clock(alarm.raised_us)), state]
        if alarm.by:
            words.append(alarm.by)
        if alarm.until_us is not None and alarm.state == "shelved":
            words.append(speech.say("until {until}", until=speech.clock(alarm.until_us)))
        found.append(
            StandingAlarm(
                id=alarm.id,
                state=alarm.state,
                acknowledged=alarm.acknowledged or alarm.state == "acknowledged",
                device=alarm.device,
                here=alarm.device in hung,
                text=alarm.text.get(speech.language) or alarm.text.get("en") or alarm.detail or alarm.rule,
                severity=speech.say(SEVERITIES[_SEVERITY[alarm.severity]]),
                words=" · ".join(words),
                asks=_asks(alarm),
            )
        )
    return found


_SEVERITY: Final = {"low": 0, "medium": 1, "high": 2, "urgent": 3}


def _asks(alarm: Alarm) -> bool:
    return alarm.active and alarm.state in ("raised", "acknowledged")
