"""Modbus TCP and RTU: what a profile must say, and the registry entry. The library comes when a line is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drivers.contract import Attachment, Driver, Now, ProtocolKind, Receipts
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
                right, want = access.is_bit or single or access.as_ == "u16", "coil, discrete or bit"
            case "int":
                right = access.as_ not in ("f32", "f64", "text") and access.scaling.whole and access.choices is None
                want = 'a whole-number format and scale, or type = "float"'
            case "float":
                right, want = access.as_ != "text" and access.choices is None and not access.is_bit, "a number format"
        if not right:
            wrong.append((f"{key}.at", f"does not give a {point.type}; write {want}"))
        if not access.is_bit and access.width > profile.whole.max_registers:
            wrong.append((f"{key}.at", f"is longer than max_registers ({profile.whole.max_registers})"))
    return wrong


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
)
