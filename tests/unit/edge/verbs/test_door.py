"""What hangs inside the door: an address that a phone can open, and a code that says the same."""

from __future__ import annotations

import argparse
import re
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import segno

from edge.config import load
from edge.verbs import door
from edge.verbs.door import QUIET, label

NODE = """
[node]
id = "cab-17"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "x"

[site]
lon = 5.04
lat = 47.32
time_zone = "Europe/Paris"
name = "rue <Liberté> 17"
"""
SERVED = '\n[health]\nlisten = "0.0.0.0:8470"\nnames = ["10.0.0.5", "cab-17.local"]\n'
SVG = "{http://www.w3.org/2000/svg}"


def type_in(folder: Path, *words: str, health: str = SERVED, locale: str = "C") -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    door.add(parser.add_subparsers(dest="verb"))
    (folder / "node.toml").write_text(NODE + health)
    args = parser.parse_args(["door", *words, "--config", str(folder / "node.toml")])
    out, err = StringIO(), StringIO()
    code = door.run(load(args.config, {}, secrets=False), args, locale=locale, out=out, err=err)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("health", "url"),
    [
        (SERVED, "http://cab-17.local:8470/"),
        ('\n[health]\nlisten = "0.0.0.0:80"\nnames = ["10.0.0.5"]\n', "http://10.0.0.5/"),
        ('\n[health]\nlisten = "10.0.0.7:8080"\n', "http://10.0.0.7:8080/"),
        ('\n[health]\nlisten = "[::]:8470"\nnames = ["fd00::5"]\n', "http://[fd00::5]:8470/"),
    ],
)
def test_the_address_is_one_that_a_phone_can_open(tmp_path: Path, health: str, url: str) -> None:
    code, out, err = type_in(tmp_path, health=health)
    assert (code, err, out.splitlines()[-1]) == (0, "", f"cab-17: {url}")


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ("", "phones cannot open the page"),
        ('\n[health]\nlisten = "0.0.0.0:8470"\n', "health.names of node.toml is empty"),
    ],
)
def test_without_one_it_says_what_to_write(tmp_path: Path, health: str, said: str) -> None:
    code, out, err = type_in(tmp_path, "--svg", str(tmp_path / "a.svg"), health=health)
    assert (code, out, said in err) == (1, "", True)
    assert not (tmp_path / "a.svg").exists()
    assert "écrivez" in type_in(tmp_path, health=health, locale="fr_FR")[2]
    assert type_in(tmp_path, "--url", "http://10.0.0.9/", health=health)[1].endswith("cab-17: http://10.0.0.9/\n")


def test_the_code_on_the_terminal_is_that_of_the_address(tmp_path: Path) -> None:
    *rows, _ = type_in(tmp_path)[1].splitlines()
    light = {" ": (False, False), "█": (True, True), "▀": (True, False), "▄": (False, True)}
    drawn = [[light[c][half] for c in row] for row in rows for half in (0, 1)]
    wanted = segno.make_qr("http://cab-17.local:8470/", error="m").matrix
    inner = [row[QUIET : QUIET + len(wanted)] for row in drawn[QUIET : QUIET + len(wanted)]]
    assert [[not cell for cell in row] for row in inner] == [[bool(m) for m in row] for row in wanted]


def test_the_label_is_a6_and_says_it_in_both_languages(tmp_path: Path) -> None:
    code, out, _ = type_in(tmp_path, "--svg", str(tmp_path / "door.svg"))
    assert (code, "print it at 100 %" in out) == (0, True)
    root = ET.fromstring((tmp_path / "door.svg").read_text())
    assert (root.get("width"), root.get("height")) == ("105mm", "148mm")
    said = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert {"cab-17", "rue <Liberté> 17", "http://cab-17.local:8470/"} <= set(said)
    assert any("armoire" in text for text in said)
    assert any("cabinet" in text for text in said)


def test_the_code_of_the_label_is_that_of_the_address() -> None:
    url = "http://cab-17.local:8470/"
    (code,) = [e for e in ET.fromstring(label("cab-17", "", url)).iter(f"{SVG}svg") if e.get("x")]
    (path,) = code.iter(f"{SVG}path")
    wanted = segno.make_qr(url, error="m").matrix
    dark = {(x + QUIET, y + QUIET) for y, row in enumerate(wanted) for x, m in enumerate(row) if m}
    assert {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path.get("d", ""))} == dark
    assert code.get("viewBox") == f"0 0 {len(wanted) + 2 * QUIET} {len(wanted) + 2 * QUIET}"


def test_long_names_are_made_to_fit() -> None:
    texts = list(ET.fromstring(label("n" * 64, "w" * 200, "http://x/")).iter(f"{SVG}text"))
    for text in texts:
        assert float(text.get("font-size", "99")) * door._EM * len(text.text or "") <= 91.5


def test_a_label_is_never_written_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "door.svg").write_text("mine")
    code, _, err = type_in(tmp_path, "--svg", str(tmp_path / "door.svg"))
    assert (code, "is there already" in err, (tmp_path / "door.svg").read_text()) == (1, True, "mine")
    assert type_in(tmp_path, "--svg", str(tmp_path / "no/door.svg"))[0] == 1
    assert type_in(tmp_path, "--url", "http://x/" + "y" * 300)[0] == 1
