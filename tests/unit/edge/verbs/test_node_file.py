"""A file that the node takes, or none at all."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import ConfigError, load
from edge.verbs import node_file
from edge.verbs.node_file import NewNode, put, put_token, tables_of, text_of

NOW = datetime(2026, 7, 14, 8, 30, tzinfo=UTC)


def new(**more: Any) -> NewNode:
    return NewNode(id="cab-17", cloud="https://l.example.org", token_file="token", data_dir="data", **more)


WHOLE = new(
    lat=47.322, lon=5.0415, time_zone="Europe/Paris", country="FR", where='rue "de la" Liberté 17\\',
    listen="0.0.0.0:8470", names=("cab-17.local",), socket="node.sock", technicians="adm",
    lines=[{"name": "bus", "protocol": "modbus", "host": "10.0.0.2", "port": 502}],
    devices=[{"id": "lamp-1", "profile": "lx-1", "line": "bus", "address": {"unit": 7}}],
)  # fmt: skip


def test_all_that_was_answered_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    assert put(path, text_of(WHOLE), replace=False, now=NOW) is None
    config = load(path, {}, connects=False)
    assert config.site is not None
    assert (config.node.id, config.health.names) == ("cab-17", ("cab-17.local",))
    assert config.site.name == 'rue "de la" Liberté 17\\'
    assert [d.id for d in config.roster.devices] == ["lamp-1"]
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["node.toml"]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_any_text_comes_back_as_it_was(where: str) -> None:
    found = tomllib.loads(text_of(new(lat=1.0, lon=2.0, where=where)))
    assert found["site"].get("name", "") == where


def test_what_is_empty_is_left_out() -> None:
    assert tomllib.loads(text_of(new())).keys() == {"node", "cloud"}


def test_a_file_that_is_there_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        put(path, text_of(new()), replace=False, now=NOW)
    assert (path.read_text(), len(list(tmp_path.iterdir()))) == ("mine", 1)
    kept = put(path, text_of(new()), replace=True, now=NOW)
    assert kept == tmp_path / "node.toml.20260714-083000"
    assert (kept.read_text(), "cab-17" in path.read_text()) == ("mine", True)
    again = put(path, text_of(new()), replace=True, now=NOW)
    assert again == tmp_path / "node.toml.20260714-083000-1"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("replace", [False, True])
def test_what_the_node_would_not_take_changes_nothing(tmp_path: Path, replace: bool) -> None:
    path = tmp_path / "node.toml"
    if replace:
        path.write_text("mine")
    wrong = new(lines=[{"name": "bus", "protocol": "modbsu"}])
    with pytest.raises(ConfigError, match=r'node.toml: line\[0\].protocol: no protocol "modbsu"') as error:
        put(path, text_of(wrong), replace=replace, now=NOW)
    assert str(path) in str(error.value), "the name that it would have had"
    assert [p.read_text() for p in tmp_path.iterdir()] == (["mine"] if replace else [])


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "node.toml"
    path.write_text("mine")

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        put(path, text_of(new()), replace=True, now=NOW)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]


def test_a_token_is_its_owners_alone(tmp_path: Path) -> None:
    put_token(tmp_path / "token", "lamp_x")
    assert ((tmp_path / "token").read_text(), (tmp_path / "token").stat().st_mode & 0o777) == ("lamp_x\n", 0o600)
    with pytest.raises(FileExistsError):
        put_token(tmp_path / "token", "lamp_y")


def test_options_are_tables() -> None:
    given = ["protocol=modbus", "baud=9600", "timeout_s=0.3", "tls=true", "host=10.0.0.2", "mac=C6:4C:50:00:00:01"]
    assert tables_of(given) == {
        "protocol": "modbus", "baud": 9600, "timeout_s": 0.3, "tls": True, "host": "10.0.0.2",
        "mac": "C6:4C:50:00:00:01",
    }  # fmt: skip
    for wrong in ("baud", "=3", "a b=3"):
        with pytest.raises(ValueError):
            tables_of([wrong])
