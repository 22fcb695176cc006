from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.acting.bundles import Bundles, followed
from edge.cli import main
from edge.config import Config, load
from edge.control.order_contract import Declined
from edge.outbox.reading import CardError
from edge.outbox.sqlite import SqliteOutbox
from wire.orders import Bundle

NODE = """
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "x"

[site]
lon = 5.041
lat = 47.322
time_zone = "Europe/Paris"

[control]
rules = ["rules.toml"]
plan = "plan.toml"

[[line]]
name = "bus"
protocol = "modbus"
host = "127.0.0.1"

[[device]]
id = "lamp-001"
profile = "lx-1"
line = "bus"
address = { unit = 1 }
"""
PLAN = """
name = "of the file"
version = 1

[program.always]
active = [{ on = "00:00", off = "12:00" }, { on = "12:00", off = "00:00" }]
level = 35

[calendar.street]
default = "always"

[[assign]]
calendar = "street"
on = { kind = "streetlight" }
"""
SENT = PLAN.replace("of the file", "of the city").replace("35", "50")
RULES = """
[[rule]]
name = "of-the-file"
on = { kind = "streetlight" }
when = "active_power > 100.0"
tag = "t"
"""
SENT_RULES = RULES.replace("of-the-file", "of-the-city")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for name, text in (("node", NODE), ("plan", PLAN), ("rules", RULES)):
        (tmp_path / f"{name}.toml").write_text(text)
    return load(tmp_path / "node.toml", {})


def bundle(kind: Any, text: str) -> Bundle:
    return Bundle(id="b1", by="m.dupont", issued_us=1, expires_us=2, kind=kind, version="7", text=text)


def kept(kind: Any, text: str) -> dict[str, bytes]:
    return {f"bundle/{kind}": msgspec.msgpack.encode(bundle(kind, text))}


UNREADABLE = {"cut": kept("plan", SENT)["bundle/plan"][:-9], "of another shape": b"\x93\x01\x02\x03", "empty": b""}


def test_what_the_city_has_sent_goes_before_the_files(config: Config) -> None:
    bundles = Bundles(config)
    plan, sent = bundles.plan_at_start({}), bundles.plan_at_start(kept("plan", SENT))
    assert plan is not None
    assert sent is not None
    assert (plan.name, sent.name) == ("of the file", "of the city")
    assert [r.name for r in bundles.rules_at_start({}).rules] == ["of-the-file"]
    assert [r.name for r in bundles.rules_at_start(kept("rules", SENT_RULES)).rules] == ["of-the-city"]


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_told_and_the_files_count(
    config: Config, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bundles = Bundles(config)
    plan = bundles.plan_at_start({"bundle/plan": body})
    assert plan is not None
    assert plan.name == "of the file"
    assert [r.name for r in bundles.rules_at_start({"bundle/rules": body}).rules] == ["of-the-file"]
    assert [r.message.partition(" cannot")[0] for r in caplog.records] == [
        "the plan from the city", "the rules from the city",
    ]  # fmt: skip


def test_what_does_not_fit_the_devices_any_more_is_told_and_the_files_count(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    bundles = Bundles(config)
    found = bundles.rules_at_start(kept("rules", SENT_RULES.replace("active_power", "power")))
    assert [r.name for r in found.rules] == ["of-the-file"]
    plan = bundles.plan_at_start(kept("plan", SENT.replace("level = 50", "level = 500")))
    assert plan is not None
    assert plan.name == "of the file"
    assert 'there is no "power"' in caplog.text
    assert "level" in caplog.text


def test_a_plan_file_that_has_gone_since_it_was_checked_is_told(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    assert config.plan is not None
    config.plan.unlink()
    assert Bundles(config).plan_at_start({}) is None
    assert "plan.toml: cannot be read" in caplog.text


def test_a_bundle_that_is_wrong_is_declined_with_all_that_is_wrong(config: Config) -> None:
    bundles = Bundles(config)
    with pytest.raises(Declined) as declined:
        bundles.plan_of(bundle("plan", SENT.replace("version = 1", "").replace("level = 50", "level = 500")))
    told = str(declined.value).splitlines()
    assert [t.split(":")[1].strip() for t in sorted(told)] == ["program.always.level", "version"]
    with pytest.raises(Declined, match='there is no "power"'):
        bundles.rules_of(bundle("rules", SENT_RULES.replace("active_power", "power")))


def test_what_is_not_for_this_node_is_left_out_of_a_bundle_and_told(config: Config) -> None:
    bundles = Bundles(config)
    bins = RULES.replace("streetlight", "bin").replace("of-the-file", "bins").replace("active_power", "fill_level")
    rules = bundles.rules_of(bundle("rules", SENT_RULES + bins))
    assert [r.name for r in rules.rules] == ["of-the-city"]
    told = "1 rule, 1 of 1 devices of this node watched; 1 left out, for they select none: bins"
    assert bundles.told(rules) == told
    many = "".join(bins.replace("bins", f"bins-{i}") for i in range(20))
    assert bundles.told(bundles.rules_of(bundle("rules", many))).endswith("bins-8, bins-9, …")
    plan = bundles.plan_of(bundle("plan", SENT.replace("streetlight", "streetlamp")))
    assert bundles.told(plan) == "0 of 1 devices of this node follow it"
    assert bundles.told(bundles.plan_of(bundle("plan", SENT))) == "1 of 1 devices of this node follow it"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("> 100.0", ">> 100.0", "is not CEL"),
        ('tag = "t"', 'tga = "t"', "no such key"),
        ('name = "of-the-city"', 'name = "bins"', 'there is another rule "bins"'),
    ],
)
def test_what_is_wrong_in_a_rule_for_others_is_told_all_the_same(config: Config, old: str, new: str, says: str) -> None:
    wrong = SENT_RULES.replace("streetlight", "bin").replace(old, new)
    with pytest.raises(Declined, match=says):
        Bundles(config).rules_of(bundle("rules", RULES.replace("of-the-file", "bins") + wrong))


def test_a_command_that_finds_no_lamp_here_is_left_out_and_the_alarm_of_its_rule_is_not(config: Config) -> None:
    command = '\n[rule.command]\npoint = "dim_level"\nvalue = 1\nhold_s = 9\non = { tag = "park" }\n'
    both = Bundles(config).rules_of(bundle("rules", SENT_RULES + command))
    assert [(r.name, r.holding) for r in both.rules] == [("of-the-city", None)]
    only = Bundles(config).rules_of(bundle("rules", SENT_RULES.replace('tag = "t"', "") + command))
    assert (only.rules, only.left_out) == ((), ("of-the-city",))


def test_rules_check_tells_what_is_left_out(config: Config, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keep(config, {**kept("rules", SENT_RULES.replace("streetlight", "bin"))})
    assert main(["rules", "check", "--config", str(tmp_path / "node.toml")]) == 0
    assert "1 of its rules select no device here and are left out: of-the-city" in capsys.readouterr().err


def test_without_a_place_nothing_can_be_followed(tmp_path: Path) -> None:
    text = NODE.replace(NODE[NODE.index("[site]") : NODE.index("[[line]]")], "")
    (tmp_path / "node.toml").write_text(text)
    bundles = Bundles(load(tmp_path / "node.toml", {}))
    for call in (bundles.plan_of, bundles.rules_of):
        with pytest.raises(Declined, match=r"no \[site\]"):
            call(bundle("plan", SENT))
    assert bundles.plan_at_start(kept("plan", SENT)) is None


# ---- the command line, while the node has its card -------------------------------------------------------------------


def keep(config: Config, changes: dict[str, bytes | None], then: Any = lambda: None) -> Any:
    async def write() -> Any:
        async with SqliteOutbox(Path(config.node.data_dir), node="cab-1", limit_bytes=64 << 20) as outbox:
            await outbox.append({}, (), changes)
            return await asyncio.to_thread(then)

    return asyncio.run(write())


def test_what_the_node_follows_is_read_from_its_card_while_it_runs(config: Config) -> None:
    assert followed(config.node.data_dir, "plan") is None
    changes: dict[str, bytes | None] = {**kept("plan", SENT)}
    found = keep(config, changes, lambda: followed(config.node.data_dir, "plan"))
    assert found == bundle("plan", SENT)
    assert followed(config.node.data_dir, "rules") is None


def test_a_card_that_cannot_be_read_says_so(config: Config) -> None:
    keep(config, {"bundle/plan": b"nothing"})
    with pytest.raises(CardError, match=r"outbox\.db: what the city has sent cannot be read"):
        followed(config.node.data_dir, "plan")
    path = Path(config.node.data_dir) / "outbox.db"
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    path.write_bytes(b"no card at all, whoever looks at it" * 100)
    with pytest.raises(CardError, match="not a database"):
        followed(config.node.data_dir, "plan")
    path.unlink()
    sqlite3.connect(path).close()
    assert followed(config.node.data_dir, "plan") is None, "of a node from before"


def test_plan_show_draws_what_the_node_follows_and_says_which(
    config: Config, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["plan", "show", "--config", str(tmp_path / "node.toml"), "--lang"]
    assert main([*words, "en"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"the plan of the file {tmp_path}/plan.toml\n\n")
    assert "35" in out
    keep(config, {**kept("plan", SENT)})
    assert main([*words, "fr"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("le programme envoyé par la ville, version 7, donné par m.dupont\n\n")
    assert "50" in out
    assert main([*words, "en", "--file", str(tmp_path / "plan.toml")]) == 0
    assert "the plan of the file" in capsys.readouterr().out
    keep(config, {**kept("plan", SENT.replace("level = 50", "level = 500"))})
    assert main([*words, "en"]) == 0
    told = capsys.readouterr()
    assert "cannot follow the plan from the city, version 7" in told.err
    assert told.out.startswith("the plan of the file")


def test_rules_check_replay_and_explain_use_what_the_node_follows(
    config: Config, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    end = ["--config", str(tmp_path / "node.toml")]
    keep(config, {**kept("rules", SENT_RULES)})
    assert main(["rules", "check", *end]) == 0
    told = capsys.readouterr()
    assert "of-the-city" in told.out
    assert "from the city, version 7, given by m.dupont" in told.err
    assert main(["rules", "replay", "--rule", "of-the-city", *end]) == 0
    assert main(["rules", "explain", "lamp-001", *end]) == 0
    assert "of-the-city: not true" in capsys.readouterr().out
    assert main(["rules", "check", "--file", str(tmp_path / "rules.toml"), *end]) == 0
    assert "of-the-file" in capsys.readouterr().out
    keep(config, {**kept("rules", SENT_RULES.replace("active_power", "power"))})
    assert main(["rules", "check", *end]) == 0
    told = capsys.readouterr()
    assert "of-the-file" in told.out
    assert "its files count" in told.err
    keep(config, {"bundle/rules": b"nothing"})
    assert main(["rules", "check", *end]) == 0
    told = capsys.readouterr()
    assert "of-the-file" in told.out
    assert "what the city has sent cannot be read" in told.err


@pytest.mark.parametrize("kind", ["plan", "rules"])
def test_a_key_of_80_kb_is_refused_before_it_is_parsed(config: Config, kind: Any) -> None:
    bundles, text = Bundles(config), ".".join("a" * 40_000) + " = 1"
    with pytest.raises(Declined, match="16 parts"):
        (bundles.plan_of if kind == "plan" else bundles.rules_of)(
            Bundle(id="b", by="m", issued_us=0, expires_us=9, kind=kind, version="2", text=text)
        )
