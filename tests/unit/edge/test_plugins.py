"""Protocols that installed packages bring: one that is broken is its own line's misfortune, told with the reason."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers import registry
from drivers.errors import Misconfigured
from edge.cli import EXIT_CONFIG, main
from edge.config import Config, load

NODE = """
[node]
id = "cab-1"
data_dir = "data"
profile_dirs = ["models"]

[cloud]
url = "https://city.example"
token = "secret"

[[line]]
name = "north"
protocol = "modbus"
host = "gateway"

[[line]]
name = "meters"
protocol = "knx"
head = "/dev/ttyUSB1"

[[device]]
id = "lamp-1"
profile = "lx-1"
line = "north"
address = { unit = 1 }

[[device]]
id = "meter-1"
profile = "acme"
line = "meters"
address = { group = "1/2/3" }
"""
PROFILE = """
kind = "meter"
driver = "knx"
model = "Acme"
source = ["sheet"]

[knx]
fast = true

[point.energy]
type = "float"
unit = "kW.h"
at = { dpt = "13.013" }

[point.state]
type = "text"
at = { dpt = "1.1", choices = { 0 = "off", 1 = "on" } }
"""
WHOLE = """
import msgspec
from drivers.contract import ProtocolKind
class Line(msgspec.Struct, kw_only=True):
    head: str
class Address(msgspec.Struct, kw_only=True):
    group: str
class Whole(msgspec.Struct, kw_only=True):
    fast: bool = False
class Access(msgspec.Struct, kw_only=True):
    dpt: str
    choices: dict[str, str] = {}
def _open(*_):
    raise SystemExit(3)
parts = dict(name="knx", Line=Line, Address=Address, Access=Access, Whole=Whole, open=_open,
             polled=lambda p: frozenset(p.points), check=lambda p: (), fits=lambda p, a: ())
"""
SOUND = WHOLE + "PROTOCOL = ProtocolKind(**parts)\n"


def _with(change: str) -> str:
    return f"{WHOLE}PROTOCOL = ProtocolKind(**(parts | dict({change})))\n"


BROKEN = {
    "no Python": ("def open(:\n", "SyntaxError: "),
    "a NUL": ("x = 1\0\n", "contain null bytes"),  # a SyntaxError, or a ValueError before Python 3.11.4
    "no library": ("import xknx_that_nobody_has\n", "ModuleNotFoundError: No module named 'xknx_that_nobody_has'"),
    "an end": ("import sys\nsys.exit('licence expired')\n", "SystemExit: licence expired"),
    "an error": ("1 / 0\n", "ZeroDivisionError: division by zero"),
    "an error of no known kind": ("class Odd(BaseException): pass\nraise Odd('x')\n", "Odd: x"),
    "recursion": ("def f(): f()\nf()\n", "RecursionError: "),
    "no such name": ("x = 1\n", "AttributeError: "),
    "another thing": ("PROTOCOL = 'knx'\n", "is a str, not a ProtocolKind"),
    "a part that is missing": (WHOLE + "del parts['check']\nPROTOCOL = ProtocolKind(**parts)\n", "TypeError: "),
    "no struct": (_with("Line=dict"), "has a Line that is no msgspec.Struct"),
    "what no table holds": (
        _with("Line=msgspec.defstruct('L', [('head', bytes)])"),
        "has in its Line head as Bytes, which no table can hold",
    ),
    "no function": (_with("check=None"), "has check = None, which cannot be called"),
    "a check that raises": (_with("check=lambda p: 1 / 0"), "cannot judge the profile acme: ZeroDivisionError"),
    "points that are none": (_with("polled=lambda p: frozenset(['x'])"), "polled names what is no point"),
    "polled that raises": (_with("polled=lambda: ()"), "cannot judge the profile acme: TypeError"),
    "claims that raise": (_with("claims=lambda s, a: 1 / 0"), "cannot say what its lines share: ZeroDivisionError"),
    "on_line that raises": (_with("on_line=lambda s, a: 1 / 0"), "cannot judge an address of acme: ZeroDivisionError"),
    "fits that raises": (_with("fits=lambda p, a: 1 / 0"), "cannot judge an address of acme: ZeroDivisionError"),
}

Installed = Callable[[str], Path]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """A package with a driver, and a site that uses it beside one of ours; the path of its node.toml."""
    info = tmp_path / "site" / "lamplighter_knx-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lamplighter-knx\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lamplighter.drivers]\nknx = knx_of_a_test:PROTOCOL\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def put(source: str) -> Path:
        (tmp_path / "site" / "knx_of_a_test.py").write_text(source)
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "acme.toml").write_text(PROFILE)
        (tmp_path / "node.toml").write_text(NODE)
        return tmp_path / "node.toml"

    registry.forget()
    sys.modules.pop("knx_of_a_test", None)
    yield put
    sys.modules.pop("knx_of_a_test", None)
    registry.forget()


def test_a_sound_one_is_used(installed: Installed) -> None:
    config = load(installed(SOUND), {})
    assert not config.doubts
    assert config.lines[1].settings.head == "/dev/ttyUSB1"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_takes_its_own_line_out(
    installed: Installed, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, why = BROKEN[name]
    file = installed(source)
    config = load(file, {})
    assert [d.key for d in config.doubts] == ["line[1].protocol"]
    assert why in config.doubts[0].text
    assert "the driver knx " in config.doubts[0].text
    assert main(["check", "--config", str(file)]) == EXIT_CONFIG
    shown = capsys.readouterr()
    assert why in shown.err
    assert "the node would run without" in shown.err
    modbus, knx = config.lines
    assert modbus.settings.host == "gateway", "the others stand"
    with pytest.raises(Misconfigured, match="the driver knx "):
        _open(config)
    assert knx.kind.broken


def _open(config: Config) -> None:
    line = config.lines[1]
    line.kind.open(line.name, line.settings, line.attachments, lambda: (0, None), None)  # type: ignore[arg-type]


def test_the_city_sees_the_same_devices_and_points_meanwhile(installed: Installed) -> None:
    file = installed(SOUND)
    whole = load(file, {}).roster
    registry.take_out("knx", "is out for a test")
    assert load(file, {}).roster == whole


def test_what_is_wrong_elsewhere_is_still_told(installed: Installed) -> None:
    from edge.config import ConfigError

    file = installed("1 / 0")
    file.write_text(NODE.replace('profile = "lx-1"', 'profile = "lx-2"'))
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert {p.key for p in caught.value.problems} == {"device[0].profile", "line[1].protocol"}
