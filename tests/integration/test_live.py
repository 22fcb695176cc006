"""What is watched live reaches the city within 2 s of a change, on a node that pushes once a minute."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stage import Stage

SCENE = """
seed = 3
start = "2026-11-20T17:30:00+01:00"

[place]
lon = 5.041
lat = 47.322

[mqtt]
spawn = true

[[device]]
model = "BN-1"
id = "bin-{n:03}"
count = 2
serial = "BN{n:06}"
every_s = 0.2

[[fault]]
device = "bin-001"
kind = "failure"
at_s = 5
for_s = 60
"""

NODE = """
[node]
id = "cab-live"
data_dir = "${DEMO_DIR}/node"

[cloud]
url = "${DEMO_CLOUD_URL}"
token_file = "${DEMO_DIR}/node.token"

[health]
listen = "127.0.0.1:0"

[clock]
trust_system = true

[[line]]
name = "broker"
protocol = "mqtt"
host = "127.0.0.1"
port = "${DEMO_MQTT}"
client_id = "cab-live"

[[device]]
id = "bin-001"
profile = "bn-1"
line = "broker"
address = { serial = "BN000001" }

[[device]]
id = "bin-002"
profile = "bn-1"
line = "broker"
address = { serial = "BN000002" }
"""


@pytest.fixture
def stage(tmp_path: Path, need: Callable[[str], str]) -> Iterator[Stage]:
    need("mosquitto")
    (tmp_path / "scene.toml").write_text(SCENE)
    (tmp_path / "node.toml").write_text(NODE)
    found = Stage(tmp_path, tmp_path / "scene.toml", tmp_path / "node.toml", "cab-live")
    found.make_tokens()
    found.start_cloud()
    found.start_street()
    found.start_node()
    yield found
    found.close()


def test_a_live_change_is_in_the_city_within_two_seconds(stage: Stage) -> None:
    """Heard through the feed, which without `live=1` asks no node to hurry."""
    headers = {"Authorization": f"Bearer {stage.tokens['reader']}"}
    with stage.http.stream("GET", f"{stage.cloud_url}/v1/feed", params={"after": "0"}, headers=headers) as feed:
        for line in feed.iter_lines():
            if line.startswith("data:") and '"tilted":true' in line.replace(" ", ""):
                break
    heard = time.time()
    data = json.loads(line[5:])["data"]
    told = next(x for x in stage.street.offered() if x["points"].get("tilted") and x["device"] == data["device"])
    assert data["values"]["n"] == told["n"], "the first that was tilted"
    assert heard - told["time_us"] / 1e6 < 2, "the change itself, not the next push"
