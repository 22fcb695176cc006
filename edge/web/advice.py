"""Advice: what a trouble is called on the page, how bad it is for whoever stands at the cabinet, and what to check.

Health's verdict is about the node, the page's about the visit: `act` is what a hand at the cabinet can mend, `note`
what is only to be known (the city out of reach: everything is kept here), `failed` what costs readings now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from edge.trouble import Trouble
from edge.web import reasons
from edge.web.language import Speech
from edge.web.reasons import N_
from wire.time import Utc

Weight = Literal["failed", "act", "note"]


class Advice(NamedTuple):
    """The words for one trouble."""

    weight: Weight
    title: str
    check: str
    said: str  # the reason, in the reader's language where it is known
    raw: str  # and as it was said


class _Words(NamedTuple):
    weight: Weight
    title: str
    check: str


_WORDS: Final[Mapping[str, _Words]] = {
    "card-hangs": _Words(
        "failed",
        N_("The memory card does not answer: nothing is kept"),
        N_("Replace the card. The node starts again by itself."),
    ),
    "outbox-unreadable": _Words("failed", N_("The memory card cannot be read"), N_("Replace the card.")),
    "disk-unreadable": _Words("failed", N_("The memory card cannot be read"), N_("Replace the card.")),
    "not-kept": _Words(
        "failed",
        N_("Nothing can be kept: readings are being lost"),
        N_("If it is full, free some room. Otherwise replace the card."),
    ),
    "commit-stuck": _Words(
        "failed",
        N_("Nothing has been kept for {duration}: the node is stuck"),
        N_("It begins anew by itself, at most once an hour. If it does not: switch its supply off and on."),
    ),
    "stuck": _Words(
        "act",
        N_("A part of the node is stuck"),
        N_("It begins anew by itself, at most once an hour. If it does not: switch its supply off and on."),
    ),
    "restarted": _Words(
        "note",
        N_("The node had to begin anew {duration} ago"),
        N_("Nothing to do here, if it does not come again. The reason has gone to the control room."),
    ),
    "card": _Words(
        "act",
        N_("The memory card is failing"),
        N_("Replace it soon. Until then the node works; a power cut may take what the city does not have yet."),
    ),
    "outbox-filling": _Words(
        "act",
        N_("The queue to the city is {percent} % full"),
        N_("Bring the network back: look at modem, antenna, SIM card. When it is full, the oldest readings go."),
    ),
    "disk-low": _Words(
        "act",
        N_("Only {free_mb} MB are free on the card"),
        N_("Look what fills it. The node itself takes no more than it was given."),
    ),
    "cloud-unreachable": _Words(
        "note",
        N_("The city cannot be reached"),
        N_("Everything is kept here and goes up later. If you came for this: modem, antenna, SIM card, network cable."),
    ),
    "cloud-late": _Words(
        "note",
        N_("The city has confirmed nothing for {duration}"),
        N_("The link is there. Everything is kept here; tell the control room if it lasts."),
    ),
    "cloud-refuses": _Words(
        "note",
        N_("The city refuses what this cabinet sends"),
        N_("Nothing is lost, and nothing can be done here: tell the control room."),
    ),
    "set-aside": _Words(
        "note",
        N_("{rows} blocks of readings were set aside"),
        N_("Nothing to do here: tell the control room."),
    ),
    "clock-jumped": _Words(
        "note",
        N_("The cabinet's clock has jumped"),
        N_("It is checked by itself. If it comes again: the battery of the clock, the time server."),
    ),
    "clock-estimated": _Words(
        "note",
        N_("The cabinet's clock is not set: times are estimates"),
        N_("They are corrected by themselves once the network is back. A clock with a battery avoids it."),
    ),
    "clock-apart": _Words(
        "note", N_("The city's clock and this one differ"), N_("Nothing to do here: tell the control room.")
    ),
    "deaf": _Words(
        "note",
        N_("Nobody can act at the cabinet's console"),
        N_("Another program or an old file is in the way; the reason names it."),
    ),
    "insecure": _Words(
        "note",
        N_("What goes to the city can be read on the way"),
        N_("It was set up so (insecure = true): tell whoever runs the network."),
    ),
}


def advise(trouble: Trouble, speech: Speech) -> Advice:
    """The words for a trouble of the node as a whole."""
    words = _WORDS[trouble.code]
    numbers: dict[str, object] = {name: speech.number(value) for name, value in trouble.numbers.items()}
    if "seconds" in trouble.numbers:
        numbers["duration"] = speech.lasting(trouble.numbers["seconds"])
    elif "minutes" in trouble.numbers:
        numbers["duration"] = speech.lasting(60 * trouble.numbers["minutes"])
    check = reasons.check(trouble.why, speech) or speech.say(words.check)
    return Advice(
        words.weight, speech.say(words.title, **numbers), check, reasons.said(trouble.why, speech), trouble.why
    )


def of_line_anew(trouble: Trouble, speech: Speech) -> Advice:
    """The words for a line that works, and was opened anew because it was stuck."""
    ago = speech.lasting(60 * trouble.numbers["minutes"])
    title = speech.say("Line {line} was stuck and was opened anew {duration} ago", line=trouble.line, duration=ago)
    check = speech.say("If it comes again: whatever this line hangs on, adapter or gateway. Switch it off and on.")
    return Advice("note", title, check, reasons.said(trouble.why, speech), trouble.why)


def of_line(line: str, why: str, devices: int, speech: Speech, *, down: bool) -> Advice:
    """The words for a line that is down, or of which there is something to be known."""
    why = reasons.plain(why)
    if not down:
        return Advice("note", speech.say("Something about line {line}", line=line), "", reasons.said(why, speech), why)
    title = speech.count(
        "Line {line} is down: {n} device is not read",
        "Line {line} is down: {n} devices are not read",
        devices,
        line=line,
    )
    check = reasons.check(why, speech) or speech.say(
        "Check whatever this line hangs on: adapter or gateway, its supply, its cable."
    )
    return Advice("act", title, check, reasons.said(why, speech), why)


def silent_line(line: str, devices: int, why: str, protocol: str, speech: Speech) -> Advice:
    """The words for a line that is open, and on which nobody answers."""
    title = speech.count(
        "The one device on line {line} does not answer", "None of the {n} devices on line {line} answers", devices,
        line=line,
    )  # fmt: skip
    check = _LINE_CHECKS.get(protocol, N_("Check what all of them share: supply, cable, gateway."))
    return Advice("act", title, speech.say(check), reasons.said(reasons.plain(why), speech), why)


_LINE_CHECKS: Final[Mapping[str, str]] = {
    "modbus": N_(
        "Check what all of them share: the supply, the bus cable (A and B swapped?), the gateway, speed and parity."
    ),
    "mqtt": N_("Check what all of them share: the broker, the radio gateway and its antenna."),
    "ble": N_("Check the Bluetooth adapter and its antenna: are the devices within range?"),
}
_NEVER_CHECKS: Final[Mapping[str, str]] = {
    "modbus": N_("Is it wired, and set to {address}? Then its supply, and A and B."),
    "mqtt": N_("Is it switched on and joined? Then its identity: {address}."),
    "ble": N_("Is it within range, and is this its address: {address}?"),
}
_SILENT_CHECKS: Final[Mapping[str, str]] = {
    "modbus": N_("Check its supply, its wiring and its address ({address})."),
    "mqtt": N_("Check its battery or supply, its radio, and its identity ({address})."),
    "ble": N_("Check its battery, and whether it is within range ({address})."),
}
_ELSE: Final = N_("Check its supply, its wiring and its address ({address}).")


class JudgedDevice(NamedTuple):
    """What is known of a device when it is judged. `since_us` is when it was heard last, or when the node began."""

    name: str
    protocol: str
    line: str
    address: str
    polled: bool
    others_answer: bool
    since_us: Utc


def of_device(trouble: Trouble, seen: JudgedDevice, speech: Speech) -> Advice:
    """The words for one device that needs somebody."""
    why = reasons.plain(reasons.plain(trouble.why))
    since = speech.clock(seen.since_us)
    check = reasons.check(why, speech)
    match trouble.code:
        case "misconfigured":
            title = speech.say("{device} cannot work as it is written down", device=seen.name)
            check = check or speech.say(
                "Its profile or its address in node.toml must be changed. It is not asked any more."
            )
        case "never-heard":
            title = speech.say("{device} was never heard since {since}", device=seen.name, since=since)
            check = check or speech.say(_NEVER_CHECKS.get(seen.protocol, _ELSE), address=seen.address)
        case _:
            title = (
                speech.say("No answer from {device} since {since}", device=seen.name, since=since)
                if seen.polled
                else speech.say("Nothing from {device} since {since}", device=seen.name, since=since)
            )
            check = check or speech.say(_SILENT_CHECKS.get(seen.protocol, _ELSE), address=seen.address)
    if seen.others_answer and trouble.code != "misconfigured":
        check = speech.say("The others on line {line} answer.", line=seen.line) + " " + check
    return Advice("act", title, check, reasons.said(why, speech), why)
