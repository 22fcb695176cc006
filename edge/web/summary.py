"""Summary: what the pages say, as data in the reader's language: for the command line, which gives the same answers.

Loaded with the pages, when somebody looks first. Bounds: MAX_TASKS tasks and as many notes; a list of devices has all
of the node (`edge.sampling.lines.MAX_DEVICES`), made in pieces between which others have their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from edge.changes.versions import ListVersion
from edge.web import devices, home
from edge.web.devices import Hung
from edge.web.glance import ChangedHere, DeviceLine, Summary, Task
from edge.web.language import Speech
from edge.web.reasons import N_
from edge.web.sight import Sight

MAX_TASKS: Final = 100
TURN_DEVICES: Final = 50
DONE: Final[Mapping[str, str]] = {
    "replaced": N_("replaced by {name}, {time}"),
    "changed": N_("changed by {name}, {time}"),
    "added": N_("added by {name}, {time}"),
}


async def summary(hung: Mapping[str, Hung], sight: Sight, speech: Speech) -> Summary:
    """The cabinet."""
    looked = await home.look(sight)
    found = home.cards(hung, looked, sight, speech)
    state, sentence = home.verdict(hung, looked, found, speech)
    queue = home.queue(looked.health, looked, speech)
    tasks = [
        Task(weight=c.advice.weight, title=c.advice.title, check=c.advice.check, said=c.advice.said, device=c.device)
        for c in found
    ]
    to_do, to_know = [t for t in tasks if t.weight != "note"], [t for t in tasks if t.weight == "note"]
    return Summary(
        node=sight.node,
        state=state,
        sentence=sentence,
        tasks=tuple(to_do[:MAX_TASKS]),
        notes=tuple(to_know[:MAX_TASKS]),
        left_out=max(0, len(to_do) - MAX_TASKS) + max(0, len(to_know) - MAX_TASKS),
        queue=queue.words,
        oldest=queue.oldest,
        devices=len(hung),
        alarms=sum(a.active for a in looked.alarms),
        version=looked.health.version,
    )


async def device_lines(
    hung: Mapping[str, Hung], sight: Sight, speech: Speech, made: Mapping[str, ListVersion | None]
) -> Sequence[DeviceLine]:
    """Each device, in the order of the configuration. `made`: those that were changed at the cabinet, and the version
    that it is from, where that is known."""
    looked = await home.look(sight)
    found: list[DeviceLine] = []
    for n, device in enumerate(hung.values()):
        known, trouble = sight.street.devices[device.id], looked.of_device.get(device.id)
        state, words = devices.state_of(known, trouble, sight, speech)
        name = device.attachment.device.name
        here = _changed(made[device.id], speech) if device.id in made else None
        found.append(DeviceLine(id=device.id, name=name, line=device.line.name, state=state, words=words, changed=here))
        if n % TURN_DEVICES == TURN_DEVICES - 1:
            await asyncio.sleep(0)
    return found


def _changed(version: ListVersion | None, speech: Speech) -> ChangedHere:
    """What was changed of a device at the cabinet."""
    if version is None:
        return ChangedHere(words=speech.say("changed at the cabinet"))
    words = speech.say(DONE.get(version.act, DONE["changed"]), name=version.by, time=speech.clock(version.time_us))
    if not version.synced:
        words += f" ({speech.say('an estimate')})"
    return ChangedHere(words=words, act=version.act, by=version.by, time_us=version.time_us, synced=version.synced)
