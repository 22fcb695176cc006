"""MQTT 5: what a profile must say, and the registry entry. The library comes when a line is opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from drivers.contract import Attachment, Claim, Driver, Looking, Now, ProtocolKind, Receipts
from drivers.guesses import Guess
from drivers.mqtt.words import PLACEHOLDER, VALUE, Access, Address, Line, Whole
from drivers.profile import Profile
from drivers.tables import suggest


def _open(name: str, line: Any, attachments: Sequence[Attachment], now: Now, receipts: Receipts) -> Driver:
    from drivers.mqtt.listener import MqttDriver

    return MqttDriver(name, line, attachments, now, receipts)


def _check(profile: Profile) -> list[tuple[str, str]]:
    from drivers.mqtt.command import is_no_json
    from drivers.mqtt.moment import why_no_zone
    from drivers.mqtt.payload import why_no_expression

    whole: Whole = profile.whole
    wrong = _topic("mqtt.topic", whole.topic, wildcards=True) + _topic("mqtt.command_topic", whole.command_topic)
    wrong += _reception(profile, whole)
    if whole.time_zone and (told := why_no_zone(whole.time_zone)) is not None:
        wrong.append(("mqtt.time_zone", told))
    if whole.time_zone and not whole.time:
        wrong.append(("mqtt.time_zone", "goes with time, the expression of the time of measuring"))
    expressions = {"mqtt.packet_id": whole.packet_id, "mqtt.time": whole.time}
    for name, point in profile.points.items():
        access: Access = profile.access[name]
        key = f"point.{name}.at"
        expressions[f"{key}.value"] = access.value
        if not point.writable:
            continue
        if access.command.count(VALUE) != 1:
            json = whole.commands_in == "json"
            what = f"'{{\"KEY\": {VALUE}}}', the JSON" if json else f'"{VALUE}", the text'
            wrong.append((key, f"is writable: write command = {what} that sets it"))
        elif unknown := _unknown(access.command):
            wrong.append((f"{key}.command", unknown))
        elif whole.commands_in == "json" and is_no_json(access.command):
            told = f"is not JSON when a number stands for {VALUE}; write it like '{{\"KEY\": {VALUE}}}'"
            wrong.append((f"{key}.command", told))
        if not (access.command_topic or whole.command_topic):
            wrong.append((key, "is writable: write command_topic here or in [mqtt]"))
        wrong += _topic(f"{key}.command_topic", access.command_topic)
    for key, expression in expressions.items():
        if expression and (why := why_no_expression(expression)) is not None:
            wrong.append((key, f"is no JMESPath expression: {why}"))
    return wrong


def _reception(profile: Profile, whole: Whole) -> list[tuple[str, str]]:
    unknown = [n for n in whole.reception if n not in profile.points]
    if unknown:
        return [("mqtt.reception", f'there is no point "{unknown[0]}"{suggest(unknown[0], profile.points)}')]
    if whole.packet_id and set(whole.reception) >= set(profile.points):
        return [("mqtt.reception", "names every point: then nothing is left by which a repeat is known")]
    return []


def _unknown(template: str) -> str:
    unknown = [p for p in PLACEHOLDER.findall(template) if p not in Address.__struct_fields__]
    names = ", ".join(f"{{{f}}}" for f in Address.__struct_fields__)
    return f"has the placeholder {{{unknown[0]}}}; there are {names}" if unknown else ""


def _topic(key: str, topic: str, *, wildcards: bool = False) -> list[tuple[str, str]]:
    if unknown := _unknown(topic):
        return [(key, unknown)]
    levels = topic.split("/")
    if levels[0] == "$share":
        return [(key, "is a shared subscription: what other clients of it are sent would be missing; write the topic")]
    misplaced = any(("+" in x or "#" in x) and x not in ("+", "#") for x in levels) or "#" in levels[:-1]
    if misplaced or (not wildcards and set(topic) & set("+#")):
        return [(key, "+ and # stand for whole levels, # only for the last, and neither in a topic to publish to")]
    return []


def _fits(profile: Profile, address: Any) -> list[tuple[str, str]]:
    whole: Whole = profile.whole
    places = [whole.topic, whole.command_topic]
    places += (t for a in profile.access.values() for t in (a.command_topic, a.command))
    wanted = {p: place for place in reversed(places) for p in PLACEHOLDER.findall(place)}
    what = {whole.topic: "the topic", whole.command_topic: "the topic of commands"}
    return [
        (p, f"is missing; {what.get(place, 'a command')} of {profile.name} is {place}")
        for p, place in wanted.items()
        if not getattr(address, p)
    ]


def _claims(line: Line, attachments: Sequence[Attachment]) -> Iterable[Claim]:
    broker = f"{line.host.lower()}:{line.port or (8883 if line.secure else 1883)}"
    hint = "two of one name throw each other out; give each its own, or put the devices on one line"
    yield Claim(f'client_id "{line.client_id}" at broker {broker}', "client_id", hint=hint)
    for attachment in attachments:
        whole: Whole = attachment.profile.whole
        topic = attachment.address.filled(whole.topic)
        what = f'what profile "{attachment.profile.name}" reads from topic {topic} at broker {broker}'
        key = next(iter(PLACEHOLDER.findall(whole.topic)), "")
        hint = "both would be the same readings; write the address of the other device, or take one out"
        yield Claim(what, key, attachment.device.id, hint)


def _guesses(profile: Profile, evidence: Any) -> Sequence[Guess]:
    from drivers.mqtt.guessing import guesses

    return guesses(profile, evidence)


def _pasted(frames: Sequence[bytes]) -> Sequence[Any]:
    from drivers.mqtt.guessing import pasted

    return pasted(frames)


PROTOCOL = ProtocolKind(
    name="mqtt",
    Line=Line,
    Address=Address,
    Access=Access,
    Whole=Whole,
    open=_open,
    polled=lambda _profile: frozenset(),
    check=_check,
    fits=_fits,
    claims=_claims,
    looking=Looking(_guesses, _pasted),
)
