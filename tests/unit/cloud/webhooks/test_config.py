"""The file of webhooks: what is wrong is told with its place, and nothing is sent anywhere it does not name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.webhooks.config import Misconfigured, load, secret_of, text_of

WHOLE = """
[feed]
url = "http://127.0.0.1:8081"
token_file = "token"

[[webhook]]
name = "maintenance"
url = "https://hooks.example.org/lamplighter"
secret_file = "/etc/secret"
types = ["alarm", "result"]
areas = ["quay-north"]
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "webhooks.toml"
    path.write_text(text)
    return path


def test_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    config = load(written(tmp_path, WHOLE))
    assert config.feed.token_file == str(tmp_path / "token")
    assert config.webhook[0].secret_file == "/etc/secret"
    assert config.webhook[0].asked() == [("type", "alarm"), ("type", "result"), ("area", "quay-north")]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    assert load(tmp_path / "webhooks.toml").feed.token_file == "/run/credentials/token"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("https://hooks", "ftp://hooks", r"\$\.webhook\[0\]\.url"),
        ("https://hooks", "https://me@hooks", r"\$\.webhook\[0\]\.url"),
        ("/lamplighter", "/lamplighter#x", r"\$\.webhook\[0\]\.url"),
        ("maintenance", "../maintenance", r"\$\.webhook\[0\]\.name"),
        ("types =", "typs =", "unknown field `typs`"),
        ('"alarm"', '"alarms"', "the feed has no type 'alarms'; did you mean alarm"),
        ("[feed]", "[fed]", "`fed`"),
        (WHOLE, WHOLE + WHOLE[WHOLE.index("[[") :], "several webhooks are called 'maintenance'"),
        ("[[webhook]]", "[webhook", "is not TOML"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, old: str, new: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        load(written(tmp_path, WHOLE.replace(old, new, 1)))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(Misconfigured, match="No such file"):
        text_of(tmp_path / "none")


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_!!", "whsec_c2hvcnQ=", "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"]
)
def test_what_is_no_secret_says_how_to_make_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=r"holds no line|make one with \(printf whsec_"):
        secret_of(path)
