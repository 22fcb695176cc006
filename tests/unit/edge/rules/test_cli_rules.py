from __future__ import annotations

import argparse
import asyncio
import sqlite3
from collections.abc import Mapping
from datetime import timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edge.config import NodeTable
from edge.outbox.sqlite import SqliteOutbox
from edge.sampling.lines import AttachedLine
from edge.verbs import rules as cli_rules
from wire.batch import Lane
from wire.columns import Columns
from wire.device import Roster
from wire.sample import Sample, Value

if TYPE_CHECKING:
    from conftest import Street
else:
    Street = Any

S = 1_000_000
NOW_S = 1_790_000_000
ZONE = timezone(timedelta(hours=2))
RULES = """
[[rule]]
name = "full"
on = { kind = "bin" }
when = "fill_level > 90.0"
clear = "fill_level < 50.0"
for_s = 60
alarm = { severity = "medium", text = { en = "{fill_level} %" } }

[[rule]]
name = "walk"
on = { kind = "streetlight" }
when = "night && passages > 0"
command = { point = "dim_level", value = 100, hold_s = 120, release = true }
tag = "walk"
"""


class Config(msgspec.Struct):
    node: NodeTable
    rules: tuple[Path, ...]
    roster: Roster
    lines: tuple[AttachedLine, ...] = ()


def ambient(_: int) -> Mapping[str, Value]:
    return {"night": True}


def main(config: Config, *words: str) -> int:
    parser = argparse.ArgumentParser()
    cli_rules.add(parser.add_subparsers(dest="verb", required=True))
    args = parser.parse_args(["rules", *words, "--config", "node.toml"])
    return cli_rules.run(config, args, ambient=ambient, zone=ZONE, now_us=lambda: NOW_S * S)


@pytest.fixture
def config(street: Street, tmp_path: Path) -> Config:
    street.file.write_text(RULES)
    return Config(NodeTable(id="cab-1", data_dir=str(tmp_path / "data")), (street.file,), street.roster)


def keep(config: Config, *samples: Sample) -> None:
    async def put() -> None:
        async with SqliteOutbox(Path(config.node.data_dir), node="cab-1", limit_bytes=64 << 20) as outbox:
            await outbox.append({Lane.BULK: [Columns.of([s]) for s in samples]})

    asyncio.run(put())


@pytest.fixture
def kept(config: Config, street: Street) -> Config:
    keep(
        config,
        street.sample("bin-1", NOW_S - 90_000, fill_level=99.0),
        street.sample("bin-1", NOW_S - 3600, fill_level=95.5),
        street.sample("bin-1", NOW_S - 3000, fill_level=20.0),
        street.sample("lamp-1", NOW_S - 100, passages=2),
        street.sample("lamp-1", NOW_S - 90, passages=0),
        street.sample("bin-1", NOW_S - 20, fill_level=91.0),
    )
    return config


def test_check_tells_what_each_rule_watches(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(config, "check") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["rule", "devices", "does", "when"],
        ["full", "2", "alarm", "medium", "fill_level", ">", "90.0"],
    ]
    assert "dim_level = 100, tag walk" in lines[2]
    assert lines[3] == "OK: 2 rules, 4 devices watched; the rules are sound"


def test_check_tells_all_problems_of_a_file_that_is_not_armed_yet(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.toml"
    new.write_text(RULES.replace("fill_level >", "fil_level >").replace('"medium"', '"middling"'))
    assert main(config, "check", "--file", str(new)) == cli_rules.EXIT_CONFIG
    told = capsys.readouterr().err
    assert f'{new}:5: rule.full.when: there is no "fil_level" (did you mean "fill_level"?)' in told
    assert "new.toml:8: rule.full.alarm.severity" in told
    assert told.endswith("2 problem(s)\n")


def test_replay_prints_every_effect_and_counts(kept: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(kept, "replay", "--since", "12h") == 0
    captured = capsys.readouterr()
    assert captured.err == "", "no bar where there is no terminal"
    lines = captured.out.splitlines()
    assert lines[0] == "2026-09-21 15:14:20+02:00  full  bin-1  raised, medium: 95.5 %  (fill_level = 95.5)"
    assert lines[1].endswith("full  bin-1  returned  (fill_level = 20)")
    assert lines[2].endswith("walk  lamp-1  dim_level = 100 for 120 s, because of lamp-1")
    assert lines[3].endswith("walk  lamp-1  tagged walk  (passages = 2, night = true)")
    assert lines[4].endswith("walk  lamp-1  dim_level given back, because of lamp-1")
    assert lines[5].startswith("5 effects since 2026-09-21 04:13:20")
    assert lines[6:] == ["  full  bin-1: 1 raised, 1 returned", "  walk  lamp-1: 1 held, 1 released, 1 tagged"]


def test_replay_of_one_rule(kept: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(kept, "replay", "--since", "2d", "--rule", "full") == 0
    assert "  full  bin-1: 1 raised, 1 returned" in capsys.readouterr().out, "it was full all the time"
    assert main(kept, "replay", "--rule", "ful") == cli_rules.EXIT_FAILED
    assert 'did you mean "full"' in capsys.readouterr().err


def test_a_bar_is_drawn_on_a_terminal(
    kept: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(kept, "replay", "--since", "12h") == 0
    captured = capsys.readouterr()
    assert "] 100 %" in captured.err or "]  99 %" in captured.err
    assert "#" not in captured.out


def test_explain_tells_where_rules_stand(kept: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(kept, "explain", "bin-1") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("full: waiting since 2026-09-21 16:13:00")
    assert out[0].endswith("true in 40 s if it holds")
    assert out[1:] == [
        "    when   fill_level > 90.0  -> true",
        "    clear  fill_level < 50.0",
        "    now    fill_level = 91",
    ]
    assert main(kept, "explain", "lamp-2") == 0
    assert "-> unknown: passages has no value" in capsys.readouterr().out
    assert main(kept, "explain", "air-1") == 0
    assert capsys.readouterr().out == "no rule watches air-1\n"
    assert main(kept, "explain", "bin-11") == cli_rules.EXIT_FAILED
    assert 'did you mean "bin-1"' in capsys.readouterr().err


def test_without_history_it_says_so(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(config, "replay") == cli_rules.EXIT_FAILED
    assert "has not run yet" in capsys.readouterr().err
    path = Path(config.node.data_dir)
    path.mkdir()
    sqlite3.connect(path / "outbox.db").close()
    assert main(config, "replay") == cli_rules.EXIT_FAILED
    assert "no such table" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "found"), [("30s", 30), ("90m", 5400), ("1.5h", 5400), ("7d", 604_800)])
def test_a_length_of_time(text: str, found: float) -> None:
    assert cli_rules.seconds(text) == found


@pytest.mark.parametrize("text", ["7", "d", "-3d", "7 d", "1e9d", ""])
def test_no_length_of_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write for example"):
        cli_rules.seconds(text)
