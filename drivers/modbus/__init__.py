"""Modbus TCP and RTU: what a profile must say, and the registry entry. The library comes when a line is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from drivers.contract import Attachment, Claim, Driver, Looking, Now, ProtocolKind, Receipts
from drivers.guesses import Guess
from drivers.modbus.words import Access, Address, Line, Whole
from drivers.profile import Profile


def _open(name: str, line: Any, attachments: Sequence[Attachment], now: Now, receipts: Receipts) -> Driver:
    from drivers.modbus.bus import ModbusDriver

    del receipts  # answers to polls are never repeats
    return ModbusDriver(name, line, attachments, now)


def _polled(profile: Profile) -> frozenset[str]:
    return frozenset(profile.points)


def _check(profile: Profile) -> list[tuple[str, str]]:
    wrong: list[tuple[str, str]] = []
    for name, point in profile.points.items():
        access: Access = profile.access[name]
        key = f"point.{name}"
        if point.writable and access.space not in ("holding", "coil"):
            wrong.append((key, f"writable, but {access.space} cannot be written; only holding and coil can"))
        if point.writable and access.field is not None:
            wrong.append((key, "writable, but a bit field; writing it would overwrite its neighbours"))
        match point.type:
            case "text":
                right = access.as_ == "text" or access.choices is not None
                want = 'as = "text", or choices'
            case "bool":
                single = access.field is not None and access.field[0] == access.field[1]
                plain = access.as_ == "u16" or access.choices is not None
                right, want = access.is_bit or single or plain, "coil, discrete, bit or choices"
            case "int":
                right = access.as_ not in ("f32", "f64", "text") and access.scaling.whole
                want = 'a whole-number format and scale, or type = "float"'
            case "float":
                plain = access.choices is not None or not access.is_bit
                right, want = access.as_ != "text" and plain, "a number format"
        if not right:
            wrong.append((f"{key}.at", f"does not give a {point.type}; write {want}"))
        if not access.is_bit and access.width > profile.whole.max_registers:
            wrong.append((f"{key}.at", f"is longer than max_registers ({profile.whole.max_registers})"))
    return wrong


def _on_line(line: Line, address: Address) -> list[tuple[str, str]]:
    """Unit 0 is everybody on a serial line (Modbus over Serial Line V1.02, 2.2), and a device over TCP."""
    if not line.serial or address.unit:
        return []
    text = "0 is the broadcast address of a serial line, which no device answers to; write the unit number that is set"
    return [("unit", f"{text} at the device, 1 to 247")]


def _claims(line: Line, attachments: Sequence[Attachment]) -> Iterator[Claim]:
    """A serial port; a unit as one device of a model; each register that a device may write.

    Devices of different profiles may share a unit (a controller with three channels), and lines may share a TCP
    server, whose units are then the same ones.
    """
    where = f"{line.host.lower()}:{line.port}"
    if line.serial:
        # The same port under two names, such as /dev/serial/by-id/…; what is no file may be an address of pyserial.
        where = os.path.realpath(line.serial) if line.serial.startswith("/") else line.serial
        yield Claim(f"serial port {where}", "serial", hint="put all devices of one port on one line")
    for attachment in attachments:
        device, profile, address = attachment.device.id, attachment.profile, attachment.address
        unit = f"unit {address.unit} at {where}"
        hint = "write the unit number of this device, or leave one of the two out"
        yield Claim(f"{unit}, with profile {profile.name},", "unit", device, hint)
        hint = "two devices that write one register undo each other's work: let only one profile have it writable"
        for name, point in profile.points.items():
            access: Access = profile.access[name]
            for register in range(access.where, access.where + access.width) if point.writable else ():
                yield Claim(f"{access.space} {register} of {unit}, which is written,", "unit", device, hint)


def _guesses(profile: Profile, evidence: Any) -> Sequence[Guess]:
    from drivers.modbus.guessing import guesses

    return guesses(profile, evidence)


def _pasted(frames: Sequence[bytes]) -> Sequence[Any]:
    from drivers.modbus.guessing import pasted

    return pasted(frames)


PROTOCOL = ProtocolKind(
    name="modbus",
    Line=Line,
    Address=Address,
    Access=Access,
    Whole=Whole,
    open=_open,
    polled=_polled,
    check=_check,
    fits=lambda _profile, _address: (),
    on_line=_on_line,
    claims=_claims,
    looking=Looking(_guesses, _pasted),
)
