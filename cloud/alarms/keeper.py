"""Keeper: the aggregator's own alarms over time. What they do is decided in `cloud.alarms.own_alarms`, here it is done.

Each step is durable with its notice for the feed, and with how far the log was looked through for what has happened:
nothing that has happened is missed over a restart, and nothing raised twice. Only alarms that stand are kept; they
are truth, and no rebuild drops them.

Bound: LOOKED records are looked at for one step (`cloud.records.own_alarms`); what is left is looked at in the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from cloud.alarms import own_texts
from cloud.alarms.own_alarms import CITY, Act, Occurrence, StandingCondition, acted, step
from cloud.log.contract import Unavailable
from cloud.log.notices import Announcement, Finding
from cloud.records.keys import Answered, Keyed
from cloud.records.own_alarms import LOOKED, Happened, OwnAlarmStore
from cloud.times import parse
from cloud.views.answers import AlarmSeen
from cloud.views.contract import AlarmsAsked
from cloud.views.reports import NO_FIXES, OWN, alarm_seen
from cloud.views.silence import LastHeard
from wire.entries import Alarm
from wire.time import Utc


class Keeper:
    """Owns the alarms, not what keeps them. On the event loop."""

    def __init__(
        self,
        *,
        alarms: Mapping[str, Alarm],
        store: OwnAlarmStore,
        heard: LastHeard,
    ) -> None:
        self._alarms = dict(alarms)
        self._unkept: set[str] = set()  # ids of those that are other in memory than in the store
        self._store = store
        self._heard = heard
        self._turn = asyncio.Lock()  # a step is decided over the one before it

    def standing(self, asked: AlarmsAsked | None = None) -> list[AlarmSeen]:
        """All that are not cleared, by id; or those asked for, after the id in `asked.after`, one beyond the limit."""
        found: list[AlarmSeen] = []
        for name in sorted(self._alarms):
            alarm = self._alarms[name]
            if asked is not None and (name <= asked.after[1] or not _takes(asked, alarm)):
                continue
            found.append(own_seen(alarm))
            if asked is not None and len(found) > asked.limit:
                break
        return found

    def names(self) -> list[str]:
        """The ids of all."""
        return list(self._alarms)

    def get(self, name: str) -> Alarm | None:
        """One that stands."""
        return self._alarms.get(name)

    async def look(self, now_us: Utc, since_us: Utc, holding: Mapping[str, StandingCondition] | None = None) -> bool:
        """Take what has happened since the last time; whether there is more. Until `since_us` we were not here.

        `holding` are conditions that hold now, beside those that the store itself shows; None: not known now.
        """
        async with self._turn:
            happened = await self._store.happened()
            silent, quiet, heard = self._heard.standing(now_us, since_us)
            changes = step(self._alarms, silent, quiet, heard, _occurred(happened), now_us, holding)
            if changes or happened.more or happened.through - happened.mark > LOOKED:
                await self._keep(list(changes.values()), happened.through)  # a mark alone: not each time
            return happened.more

    async def hold(self, step: Callable[[Alarm | None], Alarm | None], name: str) -> None:
        """Keep what one alarm becomes, if it changes: at once in memory, for the alarm may be about the store itself.

        Raises:
            Unavailable: the store does not take it now; call it again.
        """
        async with self._turn:
            standing = self._alarms.get(name)
            alarm = step(standing)
            if alarm is None and name in self._unkept:
                alarm = standing
            if alarm is None:
                return
            try:
                await self._keep([alarm], None)
            except Unavailable:
                self._alarms[name] = alarm
                self._unkept.add(name)
                raise

    async def act(
        self, alarm: Alarm, act: Act, by: str, now_us: Utc, until_us: Utc | None, note: str, keyed: Keyed
    ) -> Answered | None:
        """Do what an operator asks, at once, unless the request was answered before: then that answer.

        None when the alarm has cleared meanwhile: it must not stand up again by what is done with it.

        Raises:
            Problem: the key was used for another request, also where the alarm has cleared.
        """
        async with self._turn:
            standing = self._alarms.get(alarm.id)
            if standing is None:  # perhaps by this very request, sent twice at once
                return await self._store.answered(keyed)
            after = acted(standing, act, by, now_us, until_us, note)
            answer = Answered(200, msgspec.json.encode(own_seen(after)))
            return await self._keep([after], None, (keyed, answer)) or answer

    async def _keep(
        self,
        changes: Sequence[Alarm],
        through: int | None,
        answer: tuple[Keyed, Answered] | None = None,
    ) -> Answered | None:
        before = await self._store.keep(changes, [_told(a) for a in changes], through, answer)
        if before is None:
            for alarm in changes:
                self._unkept.discard(alarm.id)
                if alarm.state == "cleared":
                    self._alarms.pop(alarm.id, None)
                else:
                    self._alarms[alarm.id] = alarm
        return before


def own_seen(alarm: Alarm) -> AlarmSeen:
    """One of our own as it is shown; nothing is asked of it, for it is done at once."""
    seen = alarm_seen("" if alarm.device == CITY else alarm.device, alarm, NO_FIXES, OWN)
    return msgspec.structs.replace(seen, asked=())


def _takes(asked: AlarmsAsked, alarm: Alarm) -> bool:
    about = "" if alarm.device == CITY else alarm.device
    return asked.node in {None, about} and asked.takes(alarm)


def _told(alarm: Alarm) -> Announcement:
    seen = alarm_seen("" if alarm.device == CITY else alarm.device, alarm, NO_FIXES, OWN)
    data = msgspec.to_builtins(seen)
    return Announcement(node=seen.node, type="alarm", time_us=alarm.time_us, data=data, subject=alarm.device)


def _occurred(happened: Happened) -> list[Occurrence]:
    lost = [Occurrence(x.node, "missing", own_texts.as_told(x.reason[:200]), x.readings) for x in happened.lost]
    return lost + [once for finding in happened.findings if (once := _occurrence(finding)) is not None]


def _occurrence(finding: Finding) -> Occurrence | None:
    detail: Mapping[str, Any] = finding.detail
    match finding.kind:
        case "unfinished":
            seqs = detail["lane"], detail["from_seq"], detail["to_seq_at_least"]
            return Occurrence(finding.node, "missing", own_texts.unfinished(detail["epoch"], *seqs))
        case "fork":
            return Occurrence(finding.node, "fork", own_texts.span(parse(detail["from"]), parse(detail["to"])))
        case _:
            return None
