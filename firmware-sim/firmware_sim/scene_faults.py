"""The scene's fault schedule: `[[fault]]` tables, checked against the devices that they are about.

Promises: a fault that its device cannot have (an exception code from a bin) is refused, not ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from firmware_sim.faults import Fault, Kind
from firmware_sim.tables import Table, nearest

MAX_AT_S = 365.0 * 86_400.0
MAX_DELAY_S = 600.0
MEASURES: Mapping[str, tuple[str, ...]] = {
    "LX-1": (
        "lamp_on", "lamp_fault", "driver_overtemperature", "dark", "dim_level", "dim_reached", "active_power",
        "supply_voltage", "supply_current", "driver_temperature", "power_factor", "active_energy",
        "operating_time", "mode", "passages",
    ),
    "TM-3": (
        "voltage_l1", "voltage_l2", "voltage_l3", "current_l1", "current_l2", "current_l3", "active_power_l1",
        "active_power_l2", "active_power_l3", "active_power", "apparent_power", "reactive_power", "power_factor",
        "frequency", "energy_import", "energy_export",
    ),
    "BN-1": ("fill_level", "temperature", "battery_voltage", "tilted", "lid"),
    "AQ-2": ("pm2_5", "pm10", "no2", "temperature", "relative_humidity", "noise"),
    "ruuvitag": (
        "temperature", "relative_humidity", "pressure", "acceleration_x", "acceleration_y", "acceleration_z",
        "battery_voltage", "tx_power", "movement_counter",
    ),
    "bthome": ("battery", "temperature", "relative_humidity"),
    "SP-1": ("soil_temperature", "soil_moisture", "conductivity", "battery_voltage", "probe_fault"),
}  # fmt: skip
_POLLED = ("LX-1", "TM-3", "SP-1")
_FAILING = ("LX-1", "BN-1", "SP-1")
_MODELS_OF: Mapping[Kind, tuple[str, ...]] = {
    Kind.SILENCE: tuple(MEASURES),
    Kind.SLOW: _POLLED,
    Kind.EXCEPTION: _POLLED,
    Kind.GARBAGE: tuple(MEASURES),
    Kind.STUCK: tuple(MEASURES),
    Kind.REBOOT: tuple(MEASURES),
    Kind.FAILURE: _FAILING,
}


def read_faults(tables: Sequence[Table], models: Mapping[str, str]) -> tuple[Fault, ...]:
    """All entries of the schedule that could be read; what is wrong is noted in the tables' problems."""
    return tuple(fault for table in tables if (fault := _fault(table, models)) is not None)


def _fault(table: Table, models: Mapping[str, str]) -> Fault | None:
    device = table.text("device", hint="the id of a device")
    word = table.choice("kind", None, [kind.value for kind in Kind])
    at_s = table.number("at_s", None, 0.0, MAX_AT_S)
    for_s = table.number("for_s", None, 0.001, MAX_AT_S)
    model = models.get(device)
    if device and model is None:
        table.wrong("device", f'there is no "{device}"{nearest(device, list(models))}')
    delay_s, code, point, reset = 0.0, 4, None, False
    if word == Kind.SLOW:
        delay_s = table.number("delay_s", None, 0.001, MAX_DELAY_S)
    elif word == Kind.EXCEPTION:
        code = table.whole("code", 4, 1, 255)
    elif word == Kind.REBOOT:
        reset = table.flag("reset_counters", default=False)
    elif word == Kind.STUCK and table.has("point"):
        point = table.choice("point", None, MEASURES.get(model or "", ()))
    table.done()
    if not word or model is None:
        return None
    kind = Kind(word)
    if model not in _MODELS_OF[kind]:
        table.wrong("kind", f'a {model} cannot have "{kind}"; only {", ".join(_MODELS_OF[kind])} can')
        return None
    return Fault(device, kind, at_s, for_s, delay_s, code, point, reset)
