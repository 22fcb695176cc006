from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from edge.cli import EXIT_CONFIG, EXIT_FAILED, main
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import Lane
from wire.columns import Columns
from wire.sample import Clock, Sample, bad

NODE = """
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "x"

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


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "node.toml"
    file.write_text(NODE)
    return file


async def keep(directory: Path, *samples: Sample) -> None:
    async with SqliteOutbox(directory, node="cab-1", limit_bytes=64 << 20) as outbox:
        for sample in samples:
            await outbox.append({Lane.BULK: [Columns.of([sample])]})


def test_history_prints_what_was_kept_and_why_a_value_is_not_good(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now_us = round(time.time()) * 1_000_000
    clock = Clock(1, synced=True)
    asyncio.run(
        keep(
            config.parent / "data",
            Sample("lamp-001", now_us - 7_200_000_000, clock, {"dim_level": 1.0}),
            Sample("lamp-001", now_us - 2_000_000, clock, {"dim_level": 40.5, "lamp_on": True}),
            Sample("lamp-001", now_us, Clock(1, synced=False), {"dim_level": None}, {"dim_level": bad("no answer")}),
            Sample("bin-001", now_us, clock, {"fill_level": 7.0}),
        )
    )
    assert main(["history", "--config", str(config), "--device", "lamp-001"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("Z lamp-001 dim_level=40.5 lamp_on=True")
    assert second.endswith("Z (estimated) lamp-001 dim_level=None [bad:no answer]")
    assert main(["history", "--config", str(config), "--hours", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_history_names_what_is_wrong(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--config", str(config), "--device", "lamp-01"]) == EXIT_FAILED
    assert 'did you mean "lamp-001"' in capsys.readouterr().err
    assert main(["history", "--config", str(config)]) == EXIT_FAILED
    assert "data" in capsys.readouterr().err, "there is no outbox yet"


def test_check_lists_devices_or_all_problems(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(config)]) == 0
    assert "lamp-001  streetlight, lx-1" in capsys.readouterr().out
    config.write_text(NODE.replace("lx-1", "lx-2").replace("unit = 1", "unit = 999"))
    assert main(["check", "--config", str(config)]) == EXIT_CONFIG
    told = capsys.readouterr().err
    assert "lx-2" in told
    assert "1 problem" in told or "2 problem" in told


STREET = Path(__file__).parents[3] / "examples/street/node.toml"


@pytest.mark.parametrize("verb", [["check"], ["rules", "check"], ["plan", "check"], ["plan", "show"]])
@pytest.mark.parametrize("token", ["/not/on/this/machine", "${NOT_IN_THIS_ENVIRONMENT}/token"])
def test_whoever_only_looks_needs_no_token(
    verb: list[str], token: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "node.toml").write_text(STREET.read_text().replace("/etc/lamplighter/token", token))
    for beside in ("rules.toml", "plan.toml"):
        (tmp_path / beside).write_text(STREET.with_name(beside).read_text())
    assert main([*verb, "--config", str(tmp_path / "node.toml")]) == 0
    said = capsys.readouterr()
    assert said.out
    assert ("the node needs its token to start" in said.err) == (verb == ["check"])


def test_the_node_itself_does_not_start_without_its_token(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(NODE.replace('token = "x"', 'token_file = "/not/on/this/machine"'))
    assert main(["run", "--config", str(config)]) == EXIT_CONFIG
    assert "/not/on/this/machine cannot be read: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 12))])
def test_a_damaged_card_is_named_and_what_can_be_read_is_printed(
    config: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """Whatever lies in outbox.db: an answer or a reason, no traceback."""
    now_us = round(time.time()) * 1_000_000
    samples = [
        Sample("lamp-001", now_us - n, Clock(1, synced=True), {"dim_level": n + 0.5, "t": "x" * 200}) for n in range(60)
    ]
    asyncio.run(keep(config.parent / "data", *samples))
    path = config.parent / "data" / "outbox.db"
    rng = random.Random(seed)
    with path.open("r+b") as file:
        for _ in range(1 + seed % 4):
            file.seek(512 * rng.randrange(0 if seed % 3 == 0 else 1, path.stat().st_size // 512))
            file.write(rng.choice((bytes(512), b"\xff" * 512, rng.randbytes(512), rng.randbytes(40))))
    for verb in (["history"], ["plan", "show"], ["rules", "explain", "lamp-001"], ["rules", "replay"]):
        code = main([*verb, "--config", str(config)])
        said = capsys.readouterr()
        assert code in (0, EXIT_FAILED)
        assert "Traceback" not in said.err
        if code == EXIT_FAILED and verb == ["history"]:
            assert f"{path} is damaged" in said.err
            assert "start the node anew" in said.err
