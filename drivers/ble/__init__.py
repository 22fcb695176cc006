"""Bluetooth LE: what a profile must say, and the registry entry. The library comes when a line is opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from drivers.ble.words import Access, Address, Line, Whole, full_uuid, polled
from drivers.contract import Attachment, Claim, Driver, Looking, Now, ProtocolKind, Receipts
from drivers.guesses import Guess
from drivers.profile import Profile


def _open(name: str, line: Any, attachments: Sequence[Attachment], now: Now, receipts: Receipts) -> Driver:
    from drivers.ble.radio import BleDriver

    return BleDriver(name, line, attachments, now, receipts)


def _check(profile: Profile) -> list[tuple[str, str]]:
    whole: Whole = profile.whole
    wrong: list[tuple[str, str]] = []
    on_connection = polled(profile)
    adverts = profile.points.keys() - on_connection
    if adverts and whole.manufacturer is None and whole.service is None:
        wrong.append(("ble", "write manufacturer or service, by which its adverts are known"))
    if whole.packet_id and whole.packet_id not in adverts:
        wrong.append(("ble.packet_id", f'"{whole.packet_id}" is no point of its adverts'))
    for name in profile.points:
        access: Access = profile.access[name]
        by_object = whole.decoder == "bthome-v2" and name in adverts
        if by_object != (access.object is not None):
            wrong.append((f"point.{name}.at", f"the decoder {whole.decoder} wants {'object' if by_object else 'byte'}"))
        if profile.points[name].writable and (access.characteristic is None or access.byte or access.field):
            wrong.append((f"point.{name}", "writable, but not a whole characteristic from byte 0"))
    return wrong


def _claims(line: Any, attachments: Sequence[Attachment]) -> Iterable[Claim]:
    """An adapter for the line (BlueZ gives one discovery to a client), and for a device its model at its address.

    Devices of different profiles may share an address: what a beacon says in adverts of two kinds, for instance.
    """
    adapter = line.adapter or "hci0"  # which is the first wherever there is one
    yield Claim(f"Bluetooth adapter {adapter}", "adapter", hint="put all devices of one adapter on one line")
    for attachment in attachments:
        device, profile = attachment.device.id, attachment.profile
        mac = attachment.address.mac.upper()
        hint = "write the address of this device, or leave one of the two out"
        yield Claim(f"{mac}, with profile {profile.name},", "mac", device, hint)
        hint = "two devices that write one characteristic undo each other's work: let only one profile have it writable"
        for name, point in profile.points.items():
            access: Access = profile.access[name]
            if point.writable and access.characteristic is not None:
                what = f"characteristic {full_uuid(access.characteristic)} of {mac}, which is written,"
                yield Claim(what, "mac", device, hint)


def _guesses(profile: Profile, evidence: Any) -> Sequence[Guess]:
    from drivers.ble.guessing import guesses

    return guesses(profile, evidence)


def _pasted(frames: Sequence[bytes]) -> Sequence[Any]:
    from drivers.ble.guessing import pasted

    return pasted(frames)


PROTOCOL = ProtocolKind(
    name="ble",
    Line=Line,
    Address=Address,
    Access=Access,
    Whole=Whole,
    open=_open,
    polled=polled,
    check=_check,
    fits=lambda _profile, _address: (),
    claims=_claims,
    looking=Looking(_guesses, _pasted),
)
