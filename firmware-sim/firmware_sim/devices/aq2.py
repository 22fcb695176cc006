"""AQ-2, the air sensor: nested JSON on `air/<serial>/state`.

Promises: payloads byte for byte as DATASHEETS.md shows them, in its order of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from firmware_sim.devices.uplink import Message, decimals
from firmware_sim.ledger import Value
from firmware_sim.physics.air import Corner


class Aq2:
    """One air sensor at one corner."""

    def __init__(self, serial: str, corner: Corner, now_s: Callable[[], float]) -> None:
        self.topic = f"air/{serial}/state"
        self._corner = corner
        self._now_s = now_s

    def measure(self) -> dict[str, Value]:
        """All values now."""
        now_s, corner = self._now_s(), self._corner
        return {
            "pm2_5": corner.pm2_5_ugm3(now_s),
            "pm10": corner.pm10_ugm3(now_s),
            "no2": corner.no2_ugm3(now_s),
            "temperature": corner.temperature_c(now_s),
            "relative_humidity": corner.humidity_pct(now_s),
            "noise": corner.sound_dba(now_s),
        }

    def message(self, n: int, values: Mapping[str, Value]) -> Message:
        """The state message with this number."""
        text: dict[str, str] = {}
        points: dict[str, Value] = {"n": n}
        for name in ("pm2_5", "pm10", "no2", "temperature", "relative_humidity", "noise"):
            text[name], points[name] = decimals(values[name], 2 if name == "temperature" else 1)
        payload = (
            f'{{"n": {n}, "air": {{"pm2_5": {text["pm2_5"]}, "pm10": {text["pm10"]}}}, '
            f'"gas": {{"no2": {text["no2"]}}}, '
            f'"climate": {{"temp": {text["temperature"]}, "rh": {text["relative_humidity"]}}}, '
            f'"noise": {text["noise"]}}}'
        )
        return Message(payload.encode(), points)
