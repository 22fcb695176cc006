"""Trouble: what is wrong with a part of the node, as data: for health's reasons in English, and for pages that say it
in the reader's language, with what to check. Pure.

A code never changes its meaning; a text may. Bounds: those of whoever finds the troubles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Code = Literal[
    "card-hangs",
    "outbox-unreadable",
    "disk-unreadable",
    "not-kept",
    "commit-stuck",
    "stuck",
    "restarted",
    "card",
    "line",
    "line-anew",
    "misconfigured",
    "devices-silent",
    "never-heard",
    "silent",
    "more-devices",
    "cloud-unreachable",
    "cloud-late",
    "outbox-filling",
    "set-aside",
    "cloud-refuses",
    "disk-low",
    "clock-jumped",
    "clock-estimated",
    "clock-apart",
    "deaf",
    "insecure",
]

TEXTS: Final[Mapping[Code, str]] = {
    "card-hangs": "the card has not answered for {seconds:.0f} s: nothing can be kept",
    "outbox-unreadable": "the outbox cannot be read: {why}",
    "disk-unreadable": "the disk cannot be read: {why}",
    "not-kept": "nothing can be kept: {why}",
    "commit-stuck": "a commit has not come back for {seconds:.0f} s: nothing can be kept",
    "stuck": "stuck: {why}",
    "restarted": "the node had to begin anew {minutes:.0f} min ago: {why}",
    "card": "{why}",
    "line": "line {line}: {why}",
    "line-anew": "line {line}: opened anew {minutes:.0f} min ago: {why}",
    "misconfigured": "device {device}: {why}",
    "devices-silent": "{silent} of {all} devices are silent",
    "never-heard": "device {device}: never heard since the start {minutes:.0f} min ago{_why}",
    "silent": "device {device}: {why}",
    "more-devices": "{more} more devices like these",
    "cloud-unreachable": "the cloud is out of reach: {why}",
    "cloud-late": "the last ack is {seconds:.0f} s old",
    "outbox-filling": "the outbox is {percent:.0f} % full",
    "set-aside": "{rows} rows were set aside because the cloud could not read them",
    "cloud-refuses": "{why}",
    "disk-low": "only {free_mb} MB are free on the disk",
    "clock-jumped": "the clock has jumped by {seconds:+.0f} s: times are counted on until it is confirmed",
    "clock-estimated": "the clock is not synchronised: times are estimated",
    "clock-apart": "the aggregator's clock is {seconds:+.0f} s off this one, which is synchronised",
    "deaf": "{why}",
    "insecure": "insecure = true: what goes to the cloud can be read on the way",
}
FAILED: Final = frozenset[Code]({"card-hangs", "outbox-unreadable", "disk-unreadable", "not-kept", "commit-stuck"})


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble. `why` is what a driver, the card or the system has said, in its own English words; `numbers` are
    what the text of the code names besides. `since` is in monotonic seconds, None where nobody knows."""

    code: Code
    why: str = ""
    device: str = ""
    line: str = ""
    numbers: Mapping[str, float] = {}
    since: float | None = None

    @property
    def failed(self) -> bool:
        """Whether readings are lost or refused because of it."""
        return self.code in FAILED

    @property
    def text(self) -> str:
        """One sentence in English, as `GET /health` has it."""
        why = f": {self.why}" if self.why else ""
        return TEXTS[self.code].format(device=self.device, line=self.line, why=self.why, _why=why, **self.numbers)
