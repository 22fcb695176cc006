"""Lines: what of the site and of each other reaches the devices that hang on them."""

from __future__ import annotations

from pathlib import Path

from edge.config import load
from unit.edge.test_config import GOOD

SITE = '\n[site]\nlon = -61.5\nlat = 16.2\ntime_zone = "America/Guadeloupe"\n'


def test_devices_know_the_time_zone_of_their_site(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    for text, zone in ((GOOD, ""), (GOOD + SITE, "America/Guadeloupe")):
        file.write_text(text)
        assert [a.zone for line in load(file, {}).lines for a in line.attachments] == [zone]
