"""`identify` as it is typed: pasted frames, what is wrong with the question, and lines that nobody else has."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest

from edge.cli import parser
from edge.config import Config, load
from edge.identify.finding import Finding, GuessedValue, Scale
from edge.identify.looking import Found, LookReport
from edge.identify.words import finding, progress, told
from edge.verbs import identify
from support import strangers

NODE = """
[node]
id = "cab-1"
data_dir = "data"
[cloud]
url = "http://127.0.0.1:9"
token = "secret"
[[line]]
name = "north"
protocol = "modbus"
host = "127.0.0.1"
port = 1
[[line]]
name = "south"
protocol = "modbus"
serial = "/dev/nothing-here"
[[line]]
name = "air"
protocol = "ble"
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    return load(tmp_path / "node.toml")


def typed(
    config: Config, *words: str, locale: str = "en_GB.UTF-8", transport: httpx.BaseTransport | None = None
) -> tuple[int, str, str]:
    args = parser().parse_args(["identify", "--config", "node.toml", *words])
    out, err = io.StringIO(), io.StringIO()
    code = identify.run(config, args, locale=locale, out=out, err=err, transport=transport)
    return code, out.getvalue(), err.getvalue()


def test_a_pasted_frame_needs_no_node_and_no_line(config: Config) -> None:
    data = "".join(f"{strangers.LX1['holding', i]:04X} " for i in range(20))
    code, out, err = typed(config, "--frame", f"07 03 28 {data}")
    assert (code, err) == (0, "")
    assert out.startswith("lx-1 fits: 18 of 18 points\n")
    code, out, err = typed(config, "--frame", strangers.SPEAKING["bn-1"][1].payloads[0].decode(), locale="fr_FR")
    assert (code, err) == (0, "")
    assert out.startswith("bn-1 convient : 6 points sur 6\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what to look at"),
        (["--unit", "7"], "write --line: there are north, south"),
        (["--unit", "7", "--line", "nroth"], 'there is no line "nroth" (did you mean "north"?)'),
        (["--topic", "#"], "no line speaks mqtt"),
        (["--unit", "256", "--line", "north"], "`int` <= 255"),
        (["--unit", "7", "--line", "north", "--sweep"], "--sweep goes with a serial line"),
        (["--frame", "xyz"], "a frame is written in hexadecimal"),
        (["--frame", "00"], "no profile fits this frame"),
        (["--unit", "7", "--line", "north"], "127.0.0.1:1 cannot be opened"),
        (["--unit", "7", "--line", "south"], "/dev/nothing-here cannot be opened"),
        (["--unit", "7", "--line", "south", "--sweep"], "/dev/nothing-here cannot be opened"),
    ],
)
def test_what_cannot_be_looked_at_is_told_with_what_to_write(config: Config, words: list[str], said: str) -> None:
    code, out, err = typed(config, *words)
    assert (code, out) == (1, "")
    assert said in err


SWAPPED = Finding(
    profile="eastron-sdm630", driver="modbus", bits=50, fits=17, points=18, sure=True, address={"unit": 7},
    kind="order", changes={"order": "CDAB"}, changed=tuple(f"voltage_l{n}" for n in range(1, 8)),
    written={"order": "ABCD"},
    shown=(GuessedValue("voltage_l1", 231.4, "V", 2e-38),), absent=("energy_total",), wrong=("mode",),
    scales=(Scale("frequency", 500.0, "Hz", 50.0, 0.1, 0.01),),
)  # fmt: skip


def test_the_key_to_write_is_told_in_both_languages() -> None:
    assert list(finding(SWAPPED, "en")) == [
        "eastron-sdm630 fits: 17 of 18 points",
        "voltage_l1 231.4 V",
        (
            'CDAB gives 231.4 V, ABCD gives 2e-38 V (voltage_l1): write order = "CDAB" in the `at` of voltage_l1,'
            " voltage_l2, voltage_l3, voltage_l4 and 3 more"
        ),
        "frequency would be 500 Hz; 50 Hz is usual: write scale = 0.01 in its `at`",
        "the device does not have energy_total",
        "doubtful: mode",
    ]
    french = list(finding(SWAPPED, "fr"))
    assert len(french) == 6
    assert french[2].startswith('CDAB donne 231.4 V, ABCD donne 2e-38 V (voltage_l1) : écrivez order = "CDAB"')


def test_all_that_is_to_be_said_of_what_was_found_has_words_in_both_languages() -> None:
    report = LookReport(
        line="north", protocol="modbus", profiles=9, settings={"baud": 19200, "parity": "E"},
        found=(
            Found(address={"unit": 7}, findings=(SWAPPED,), notes={"two_devices": 3}),
            Found(address={"unit": 8}, known=("lamp-1", "lamp-2"), notes={"any_unit": 40}),
            Found(address={"unit": 9}, notes={"garbled": 2}),
            Found(address={"mac": "C6"}, rssi=-60, notes={"name": "SP-1"}),
        ),
    )  # fmt: skip
    english, french = list(told(report, "en")), list(told(report, "fr"))
    assert len(english) == len(french)
    assert '  write: profile = "eastron-sdm630", line = "north", address = { unit = 7 }' in english
    assert 'the line speaks with baud = 19200, parity = "E": write that in its [[line]]' in english
    assert "mac C6 (-60 dBm)" in english
    assert [n for n, (a, b) in enumerate(zip(english, french, strict=True)) if a == b] == [1, 4, 10, 14, 16]


def test_progress_is_words() -> None:
    assert progress("scanning", {"unit": 7, "found": 2, "done": 1, "of": 247}, "fr") == "unité 7 : 2 trouvés jusqu'ici"
    assert progress("strange", {}, "en") == "strange"


@pytest.mark.parametrize(
    ("locale", "said"),
    [
        ("en", "lamp-9 (line north): not heard since the start 31 s ago: bad:no answer within 1 s\n"),
        ("fr", "lamp-9 (ligne north) : pas entendu depuis le démarrage il y a 31 s : bad:no answer within 1 s\n"),
    ],
)
def test_devices_that_were_never_heard_are_told_before_the_door_is_closed(
    config: Config, locale: str, said: str
) -> None:
    one = {"device": "lamp-9", "line": "north", "for_s": 31.4, "why": "bad:no answer within 1 s"}

    def node(unheard: list[object]) -> httpx.MockTransport:
        return httpx.MockTransport(lambda _request: httpx.Response(200, json={"unheard": unheard}))

    assert typed(config, locale=locale, transport=node([one])) == (1, said, "")
    code, out, _ = typed(config, locale=locale, transport=node([]))
    assert code == 0
    assert out
    assert "{" not in out
