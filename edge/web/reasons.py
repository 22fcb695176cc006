"""Reasons: what drivers and the system say of a reading or a line, in the reader's language, and what to check for it.

Drivers speak English, for the log, the city and whoever searches for the text. Here stand those texts of theirs that a
technician meets often, with `{}` where a text changes; whatever is not here is shown as it was said. Pure.

Bounds: MAX_CHARS of a text are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Final, Protocol

MAX_CHARS: Final = 500


class Says(Protocol):
    """What of `edge.web.language.Speech` is needed."""

    def say(self, message: str, /, **parts: object) -> str:
        """A message, with its parts put in."""
        ...


def N_(message: str) -> str:  # noqa: N802 - as gettext calls it: looked for in the sources, translated later
    """A message that is said later."""
    return message


KNOWN: Final[Sequence[tuple[str, str]]] = (  # as it is said, and what to check: "" where the state says it better
    (N_("no answer within {0} s"), ""),
    (
        N_(
            "no answer within {0} s, right after another answer: "
            "if it needs a pause between requests, set pause_ms of its line"
        ),
        N_("It answers when it is asked alone: it may need a pause. Set pause_ms of its line to 30."),
    ),
    (N_("no answer in time"), ""),
    (N_("no connection to {0}"), ""),
    (N_("{0} closed the connection"), N_("Is the gateway restarting, or does it take fewer connections than it has?")),
    (
        N_("{0} does not answer within {1} s"),
        N_("Check the gateway's supply and its network cable. Is its address right?"),
    ),
    (N_("{0} cannot be opened: {1}"), ""),
    (
        N_("No such file or directory (there is nothing of this name)"),
        N_("Is the serial adapter plugged in? Take it out and plug it in again."),
    ),
    (
        N_("Permission denied (is the user of this service allowed to, by its groups for instance?)"),
        N_("The node may not open the port: its user must be in the group dialout."),
    ),
    (
        N_("Connection refused (nothing listens there)"),
        N_("The gateway is there and takes no connection: is its Modbus server on, and the port right?"),
    ),
    (N_("No route to host"), N_("Check the network cable, the gateway's supply and its address.")),
    (
        N_("Device or resource busy (another program has it open)"),
        N_("Another program holds the port: end it."),
    ),
    (
        N_("the device has no such register (exception 2)"),
        N_("Is it this model? Its firmware does not have this point."),
    ),
    (N_("the device does not know this function (exception 1)"), N_("Is it this model? It does not know the request.")),
    (
        N_("the device has failed (exception 4)"),
        N_("The device says that it has failed: switch its supply off and on."),
    ),
    (N_("the device is busy (exception 6)"), N_("Wait a minute; then switch its supply off and on.")),
    (
        N_("the gateway had no answer from the device (exception 11)"),
        N_("The gateway is well, the device behind it is silent: check its supply, its wiring and its address."),
    ),
    (
        N_("the gateway has no path to the device (exception 10)"),
        N_("The gateway does not know this address: look at its settings."),
    ),
    (N_("the device says that it has no value"), N_("The device measures nothing here: is its sensor connected?")),
    (N_("out of range"), N_("The value cannot be right: is the sensor dirty, wet or broken?")),
    (N_("the payload is not JSON"), N_("What it publishes is not what its profile expects: is it this model?")),
    (
        N_("the payload has none of the points"),
        N_("What it publishes is not what its profile expects: is it this model?"),
    ),
    (
        N_("the advert is encrypted"),
        N_("Its adverts are encrypted, and the node has no key: switch that off at the device."),
    ),
    (N_("retained"), N_("The broker kept this from before the node came: has the device been silent since?")),
    (N_("misconfigured: {0} ({1} points)"), ""),
    (
        N_("broker {0}, port {1}: {2} (nobody listens there; see host and port, and whether the broker runs)"),
        N_("Is the broker running? Check its machine and the network."),
    ),
    (N_("not connected"), ""),
    (N_("not connected; {0}"), ""),
    (N_("no connection to broker {0}"), N_("Is the broker running? Check its machine and the network.")),
    (
        N_("the card was damaged: {0}"),
        N_("What could be read of it is saved, and the node works. Replace the card soon: it may happen again."),
    ),
    (N_("the node runs without its card, what it keeps is lost with power: {0}"), ""),
    (N_("{0} was damaged ({1}) and is now {2}; {3}"), ""),
    (N_("{0} rows were saved"), ""),
    (N_("{0} rows were saved; {1}"), ""),
    (N_("{0} entries could not be read"), ""),
    (N_("{0} entries could not be read; {1}"), ""),
    (N_("how much was written last is not known"), ""),
    (N_("how much was written last is not known; {0}"), ""),
    (N_("some alarms, orders or held values could not be read"), ""),
    (N_("what the broker sends once more may be held twice"), ""),
    (N_("database disk image is malformed"), ""),
    (N_("it does not open"), ""),
    (N_("it has not opened for {0} s"), ""),
    (N_("no attempt has ended for {0} s"), ""),
    (N_("an attempt has not ended for {0} s"), ""),
    (N_("the event loop has not turned for {0} s"), ""),
    (N_("{0}: {1} has taken {2} s"), ""),
    (N_("it ended by an error: {0}"), ""),
    (N_("it was killed, or crashed"), ""),
    (
        N_("it was killed, perhaps for want of memory: the kernel has ended {0} processes for that since it began"),
        "",
    ),
    (N_("commit"), ""),
    (N_("a commit"), ""),
    (N_("card"), ""),
    (N_("an answer"), ""),
    (N_("lines"), ""),
    (N_("the end of {0} drivers"), ""),
    (N_("ConnectError: {0}"), ""),
    (N_("ConnectTimeout: {0}"), ""),
)

_KIND: Final = re.compile(r"^(bad|uncertain):|^(Unreachable|Refused|Misconfigured): ")


@cache
def _patterns() -> Sequence[tuple[re.Pattern[str], str, str]]:
    def pattern(message: str) -> re.Pattern[str]:
        pieces = re.split(r"(\{\d\})", message)
        return re.compile("".join("(.+?)" if p[:1] == "{" else re.escape(p) for p in pieces))

    longest_first = sorted(KNOWN, key=lambda k: -len(re.sub(r"\{\d\}", "", k[0])))
    return [(pattern(message), message, check) for message, check in longest_first]


def plain(quality: str) -> str:
    """What a quality or an error says, without the word before the colon that says of which kind it is."""
    return _KIND.sub("", quality)


def said(why: str, speech: Says) -> str:
    """A reason, in the reader's language where it is known."""
    why = why[:MAX_CHARS]
    for pattern, message, _ in _patterns():
        if (found := pattern.fullmatch(why)) is not None:
            text = speech.say(message)
            for i, part in enumerate(found.groups()):
                text = text.replace(f"{{{i}}}", said(part, speech) if part != why else part)
            return text
    return why


def check(why: str, speech: Says) -> str:
    """What to check because of it; nothing where the reason alone does not tell."""
    why = why[:MAX_CHARS]
    for pattern, _, advice in _patterns():
        if (found := pattern.fullmatch(why)) is not None:
            return speech.say(advice) if advice else next((c for p in found.groups() if (c := check(p, speech))), "")
    return ""
