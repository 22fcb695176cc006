"""Bluetooth in a site file: what one address and one adapter can stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import ConfigError, load

HEAD = '[node]\nid = "cab-1"\ndata_dir = "data"\n[cloud]\nurl = "https://city.example"\ntoken = "secret"\n'
RADIO = '[[line]]\nname = "{}"\nprotocol = "ble"\nadapter = "{}"\n'
TAG = '[[device]]\nid = "{}"\nprofile = "{}"\nline = "{}"\naddress = {{ mac = "{}" }}\n'
MAC = "C6:4C:50:00:00:0A"


def told(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "node.toml").write_text(HEAD + text)
    try:
        load(tmp_path / "node.toml", {})
    except ConfigError as error:
        return {p.key: p.text for p in error.problems}
    return {}


def test_one_address_is_one_device_of_a_model_over_all_adapters(tmp_path: Path) -> None:
    radios = RADIO.format("radio", "") + RADIO.format("other", "hci1")
    first = TAG.format("tag-1", "ruuvitag-df5", "radio", MAC)
    for line in ("radio", "other"):
        found = told(tmp_path, radios + first + TAG.format("tag-2", "ruuvitag-df5", line, MAC.lower()))
        assert found == {
            "device[1].address.mac": f"{MAC}, with profile ruuvitag-df5, is taken already by "
            '"tag-1" (device[0].address.mac); write the address of this device, or leave one of the two out'
        }
    assert not told(tmp_path, radios + first + TAG.format("tag-2", "bthome-v2", "radio", MAC)), "two kinds of adverts"


@pytest.mark.parametrize(("one", "two"), [("", ""), ("", "hci0"), ("hci1", "hci1")])
def test_an_adapter_is_one_line(tmp_path: Path, one: str, two: str) -> None:
    found = told(tmp_path, RADIO.format("radio", one) + RADIO.format("other", two))
    assert found.keys() == {"line[1].adapter"}
    assert '"radio" (line[0].adapter)' in found["line[1].adapter"]
