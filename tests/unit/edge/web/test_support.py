"""The support file has what helps, and no secret."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from edge.web.support import SupportFile, cleaned
from wire.time import Utc


@pytest.mark.parametrize(
    "text",
    [
        'token = "lamp_ab12cd_s3cr3t"', 'password = "s3cr3t"', "password='s3cr3t'", 'pass = 1\nmqtt_passwd="s3cr3t"',
        '{"bind_key": "s3cr3t", "unit": 3}', 'line = { host = "h", password = "s3cr3t" }', "pin = s3cr3t",
        'url = "mqtts://user:s3cr3t@broker:8883"', 'secret = """s3cr3t\ns3cr3t"""', "Authorization: Bearer s3cr3t",
        "app-key: 's3cr3t'", 'password = "a\\"s3cr3t"',
    ],
)  # fmt: skip
def test_no_secret_is_left(text: str) -> None:
    assert "s3cr3t" not in cleaned(text)


def test_what_is_no_secret_stays() -> None:
    text = 'token_file = "/etc/lamplighter/token"\nid = "cab-17"\nurl = "https://city.example/x"\nunit = 3\n'
    assert cleaned(text) == text


async def test_it_says_what_could_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('[cloud]\ntoken = "s3cr3t"\n')

    async def look() -> object:
        return {"verdict": "ok", "reasons": ["the broker wants password=s3cr3t", "or lamp_ab12cd_s3cr3t"], "n": 3}

    support = SupportFile(
        node="cab/17", look=look, told={"alarms": list}, frames=dict, now_us=lambda: Utc(1_790_000_000_000_000),
        files=[tmp_path / "node.toml", tmp_path / "devices.json"], log=lambda: ["one", "password=s3cr3t"],
    )  # fmt: skip
    name, content = await support.make()
    assert name == "cab_17-20260921T141320Z.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        parts = {n: found.read(n).decode() for n in found.namelist()}
    assert parts.keys() == {
        "about.json", "health.json", "alarms.json", "frames.json", "log.txt", "node.toml", "devices.json",
        "packages.txt",
    }  # fmt: skip
    reasons = ["the broker wants ***", "or ***"]
    assert json.loads(parts["health.json"]) == {"verdict": "ok", "reasons": reasons, "n": 3}, "it is still JSON"
    assert "No such file" in parts["devices.json"]
    assert "msgspec" in parts["packages.txt"]
    assert not any("s3cr3t" in part for part in parts.values())
