"""Which of the signals of BlueZ was an advert."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.ble.radio import is_advert

IDLE: dict[str, Any] = {"Address": "C4:00:00:00:00:01", "Connected": False, "ServicesResolved": False, "Paired": False}
HEARD = {**IDLE, "RSSI": -60, "TxPower": 4, "ManufacturerData": {7: b"x"}}
CONNECTED = {**HEARD, "Connected": True}


@pytest.mark.parametrize(
    ("before", "told", "advert"),
    [
        (None, HEARD, True),
        (None, CONNECTED, False),
        (HEARD, HEARD, True),  # the same again: bleak asks for duplicates
        (HEARD, {**HEARD, "RSSI": -61}, True),
        (HEARD, {**HEARD, "ManufacturerData": {7: b"y"}}, True),
        (IDLE, {**IDLE, "ServiceData": {"fcd2": b"y"}}, True),
        (HEARD, {**HEARD, "Name": "thing", "RSSI": -61}, True),
        (HEARD, CONNECTED, False),
        (CONNECTED, {**CONNECTED, "ServicesResolved": True}, False),
        (CONNECTED, {**CONNECTED, "ServicesResolved": True, "UUIDs": ["180f"], "Name": "thing"}, False),
        (CONNECTED, HEARD, False),
        (HEARD, {**HEARD, "Paired": True}, False),
        (HEARD, {k: v for k, v in HEARD.items() if k not in ("RSSI", "TxPower")}, False),  # discovery has ended
        (HEARD, {k: v for k, v in HEARD.items() if k != "TxPower"}, False),
    ],
)
def test_only_adverts_count_as_heard(before: dict[str, Any] | None, told: dict[str, Any], advert: bool) -> None:
    assert is_advert(before, told) is advert
