"""Device states: how each device is now, for `GET /health` and the verbs that read it. Pure.

`waiting`: it may still speak for the first time since the start. `never`: it should have, and nothing was ever heard of
it. `bad`: nothing good within three of its periods, or its configuration is wrong. `uncertain`: its last sample has
points that are not good. Bounds: one a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from edge.sampling.last_samples import Known, LastSamples
from edge.sampling.lines import AttachedLine
from wire.time import Micros, Utc

State = Literal["good", "uncertain", "bad", "never", "waiting"]


class DeviceState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device. `reason` is in English, of drivers in their own words; times are UTC microseconds by the node."""

    id: str
    line: str
    profile: str
    state: State
    reason: str = ""
    last_good_us: Utc | None = None  # None: not since the start
    last_sample_us: Utc | None = None  # its timestamp; one from before the start counts


def states_of(lines: Sequence[AttachedLine], street: LastSamples, monotonic_s: float, now_us: Utc) -> list[DeviceState]:
    """All devices, in the order of the configuration. `monotonic_s` is the street's clock."""
    troubles = {t.device: t for t in street.troubles(monotonic_s)}
    found: list[DeviceState] = []
    for line in lines:
        for attachment in line.attachments:
            known = street.devices[attachment.device.id]
            trouble = troubles.get(attachment.device.id)
            state, reason = _state(known, None if trouble is None else trouble.code)
            good_us = None if known.good is None else now_us - Micros((monotonic_s - known.good) * 1e6)
            found.append(
                DeviceState(
                    id=attachment.device.id,
                    line=line.name,
                    profile=attachment.profile.name,
                    state=state,
                    reason=reason,
                    last_good_us=good_us,
                    last_sample_us=None if known.sample is None else known.sample.time_us,
                )
            )
    return found


def _state(known: Known, trouble: str | None) -> tuple[State, str]:
    if trouble == "misconfigured":
        return "bad", known.fault or ""
    if trouble is not None:
        return ("never" if known.good is None and not known.recalled else "bad"), known.why
    if known.good is None:
        return "waiting", known.why
    if known.sample is not None and known.sample.quality:
        point, why = next(iter(known.sample.quality.items()))
        return "uncertain", f"{point}: {why}"
    return "good", ""
