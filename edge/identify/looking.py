"""Looking: what is on a line that nobody has told the node of, and which profiles fit it.

The line's driver looks (`drivers.contract.Looks`), beside all that it does for the devices that are known; then each
profile of its protocol is tried on each of what was found, a profile a turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from drivers.contract import Driver, Looks
from drivers.errors import Misconfigured
from drivers.guesses import Ask, Heard, Tell
from drivers.profile import Profile
from edge.identify.finding import Finding, Judged, best, judging
from edge.sampling.lines import AttachedLine


class LookFor(Ask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to look for, and on which line."""

    line: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Something that answers, or speaks: where, how loudly (dBm), the devices of the configuration that it is, what is
    to be said of it (`drivers.guesses.Heard`), and the profiles that fit, best first."""

    address: Mapping[str, str | int]
    rssi: int | None = None
    known: tuple[str, ...] = ()
    notes: Mapping[str, str | int | float] = {}
    findings: tuple[Finding, ...] = ()


class LookReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is on a line; `profiles` is how many were tried, `settings` what of the line must be written otherwise."""

    line: str
    protocol: str
    profiles: int
    found: tuple[Found, ...]
    settings: Mapping[str, str | int] = {}


async def identify(line: AttachedLine, driver: Driver, ask: Ask, profiles: Sequence[Profile], tell: Tell) -> LookReport:
    """Look, and try the profiles.

    Raises:
        Unreachable, Misconfigured.
    """
    if not isinstance(driver, Looks) or line.kind.looking is None:
        raise Misconfigured(f"{line.kind.name} cannot look for devices")
    mine = [p for p in profiles if p.driver == line.kind.name]
    found = [await _judged(line, heard, mine) for heard in await driver.look(ask, mine, tell)]
    return LookReport(line=line.name, protocol=line.kind.name, profiles=len(mine), found=tuple(found))


async def _judged(line: AttachedLine, heard: Heard, profiles: Sequence[Profile]) -> Found:
    findings = await fitting(line, heard.evidence, profiles) if heard.evidence is not None else ()
    return Found(
        address=heard.address,
        rssi=heard.rssi,
        known=_known(line, heard.address, findings),
        notes=heard.notes,
        findings=tuple(findings),
    )


async def fitting(line: AttachedLine, evidence: object, profiles: Sequence[Profile]) -> Sequence[Finding]:
    """The profiles that fit, best first, a profile a turn of the loop."""
    if line.kind.looking is None:
        return ()
    judged: list[Judged] = []
    for _ in judging(profiles, line.kind.looking.guesses, evidence, judged):
        await asyncio.sleep(0)
    return best(judged)


def _known(line: AttachedLine, address: Mapping[str, str | int], findings: Sequence[Finding]) -> tuple[str, ...]:
    """The devices of the configuration at this address, or where it tells only of a topic, at that of the best."""
    known: list[str] = []
    for attachment in line.attachments:
        for told, profile in ((address, ""), *((f.address, f.profile) for f in findings[:1])):
            mine = {k: getattr(attachment.address, k) for k in told if hasattr(attachment.address, k)}
            same = all(str(v).upper() == str(told[k]).upper() for k, v in mine.items())
            if mine and same and profile in ("", attachment.profile.name):
                known.append(attachment.device.id)
                break
    return tuple(known)
