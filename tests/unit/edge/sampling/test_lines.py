"""Lines: what of the site and of each other reaches the devices that hang on them."""

from __future__ import annotations

from pathlib import Path

from edge.config import load
from unit.edge.test_config import GOOD, HEAD, LINES, Told, file, told

__all__ = ["file", "told"]  # fixtures

SITE = '\n[site]\nlon = -61.5\nlat = 16.2\ntime_zone = "America/Guadeloupe"\n'


def test_devices_know_the_time_zone_of_their_site(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    for text, zone in ((GOOD, ""), (GOOD + SITE, "America/Guadeloupe")):
        file.write_text(text)
        assert [a.zone for line in load(file, {}).lines for a in line.attachments] == [zone]


def a_bin(name: str, serial: str, line: str = "broker") -> str:
    return f'[[device]]\nid = "{name}"\nprofile = "bn-1"\nline = "{line}"\naddress = {{ serial = "{serial}" }}\n'


def test_one_model_on_one_topic_is_one_device(told: Told) -> None:
    again = '[[line]]\nname = "again"\nprotocol = "mqtt"\nhost = "LOCALHOST"\nclient_id = "other"\n'
    found = told(HEAD + LINES + again + a_bin("bin-1", "A") + a_bin("bin-2", "A") + a_bin("bin-3", "A", "again"))
    what = 'what profile "bn-1" reads from topic bins/A/up at broker localhost:1883 is taken already by "bin-1"'
    assert found.keys() == {"device[1].address.serial", "device[2].address.serial"}
    assert found["device[1].address.serial"].startswith(f"{what} (device[0].address.serial); both would be the same")


def test_one_client_id_at_one_broker_is_one_line(told: Told) -> None:
    again = '[[line]]\nname = "again"\nprotocol = "mqtt"\nhost = "localhost"\nclient_id = "cab-1"\n'
    found = told(HEAD + LINES + again)
    assert found.keys() == {"line[2].client_id"}
    assert 'taken already by "broker" (line[1].client_id)' in found["line[2].client_id"]
