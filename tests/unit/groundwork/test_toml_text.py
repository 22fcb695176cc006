"""TOML within bounds: what a file or bundle may hold, and what is said of one that may not be read."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.tables import Problem, read
from groundwork.toml_text import MAX_DEPTH, MAX_PARTS, BadToml, tables_of

ROOT = Path(__file__).parents[3]
LIMIT = 1 << 20

BAD = {
    "a NUL": (b'kind = "lamp"\nmodel = "a\0b"\n', "NUL character (at line 2)"),
    "an escaped NUL": (b'[mqtt]\ntopic = "a\\u0000b"\n', "mqtt.topic: has a NUL character"),
    "an escaped NUL in a list": (b'[node]\nprofile_dirs = ["a", "\\u0000"]\n', "node.profile_dirs[1]: has a NUL"),
    "a NUL in a name": (b'[point]\n"a\\u0000" = 1\n', "point.a?: has a NUL"),
    "lists without end": (b"a = 1\nb = " + b"[" * 100_000, "nested deeper than 16 (at line 2)"),
    "tables without end": (b"a = " + b"{a=" * 100_000, "nested deeper than 16 (at line 1)"),
    "lists that do end": (b"a = " + b"[" * 20_000 + b"]" * 20_000, "nested deeper than 16"),
    "tables made by dots": (b"a = " + b"{b.c.d.e.f = " * 10 + b"1" + b"}" * 10, "nested deeper than 16"),
    "a dotted key": (b"\n" + b"a." * 40_000 + b"a = 1\n", "more than 16 parts with dots (at line 2)"),
    "a dotted table": (b"[" + b"a ." * 40_000 + b"a]\n", "more than 16 parts"),
    "a dotted key of quoted parts": (b"\"b\" . 'c'." * 20 + b"a = 1\n", "more than 16 parts"),
    "a dotted key behind strings": (
        b'a = """\n"\\"""" # "\nb = \'\'\'\'x\'\'\'\'\nc = "#\\"\\\\" # \'\n' + b"a." * 99 + b"a = 1\n",
        "more than 16 parts with dots (at line 5)",
    ),
    "a long key": (b"k" * 300_000 + b" = 1\n", "has a key of 300000 characters"),
    "not UTF-8": (b"kind = 'r\xe9verb\xe8re'\n", "is not UTF-8 (byte 9)"),
    "UTF-16": ("kind = 'lamp'\n".encode("utf-16"), "is not UTF-8 (byte 0)"),
    "too large": (b"# " + b"x" * LIMIT, "larger than 1048576 bytes"),
    "a number of many digits": (b"a = " + b"9" * 5_000, "is not TOML: "),
    "a number of many hexadecimal digits": (
        b"a = [0x" + b"f" * 5_000 + b"]",
        "a[0]: is a whole number of more than 64",
    ),
    "no end of a string": (b'a = "x\nb = 1\n', "is not TOML: "),
    "no TOML": (b"kind: lamp\n", "is not TOML: "),
    "a date that is none": (b"a = 2026-02-31\n", "is not TOML: "),
}


@pytest.mark.parametrize("name", BAD)
def test_what_may_not_be_read_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    data, told = BAD[name]
    with pytest.raises(BadToml) as error:
        tables_of(data, limit_bytes=LIMIT)
    assert told in str(error.value)
    assert len(str(error.value)) < 300
    problems: list[Problem] = []
    (tmp_path / "lamp.toml").write_bytes(data)
    assert read(tmp_path / "lamp.toml", problems) is None
    assert [p.file for p in problems] == [str(tmp_path / "lamp.toml")]


def test_a_text_is_bounded_by_its_bytes() -> None:
    assert tables_of("a = 'é'", limit_bytes=8) == {"a": "é"}
    with pytest.raises(BadToml, match="larger than 7 bytes"):
        tables_of("a = 'é'", limit_bytes=7)
    with pytest.raises(BadToml, match="not UTF-8"):
        tables_of("a = '\ud800'", limit_bytes=70)


def test_what_registers_may_hold_can_be_written() -> None:
    assert tables_of("a = 18446744073709551615\nb = -9223372036854775808", limit_bytes=LIMIT) == {
        "a": 2**64 - 1,
        "b": -(2**63),
    }


def test_a_file_that_begins_with_a_byte_order_mark_is_read() -> None:
    assert tables_of(b"\xef\xbb\xbfa = 1\r\n", limit_bytes=LIMIT) == {"a": 1}


@pytest.mark.parametrize("path", [*ROOT.glob("drivers/profiles/*.toml"), *ROOT.glob("examples/**/*.toml")], ids=str)
def test_what_is_shipped_reads_as_before(path: Path) -> None:
    assert tables_of(path.read_bytes(), limit_bytes=LIMIT) == tomllib.loads(path.read_text())


PIECES = [
    "a",
    "b.c",
    "=",
    " = ",
    "\n",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    ".",
    '"',
    "'",
    '"""',
    "'''",
    "\\",
    "#",
    "1",
    "1.5",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_is_read_as_tomllib_does_or_refused(text: str) -> None:
    try:
        expected = tomllib.loads(text)
    except (ValueError, RecursionError):
        with pytest.raises(BadToml):
            tables_of(text, limit_bytes=LIMIT)
        return
    assert tables_of(text, limit_bytes=LIMIT) == expected


MANY = ".".join("a" * MAX_PARTS)


@pytest.mark.parametrize(
    "text",
    [
        f"{MANY} = 1",
        'x = "' + "a.b" * 10_000 + '"',
        'x = ["' + "a.b" * 10_000 + '"]',
        'x = """\n' + f"{MANY}.q = 1\n" * 50 + '""""" # ' + "a." * 50 + "\ny.z = 1",
        "x = [" + "1.5, " * 10_000 + "]",
        "# " + "a." * 2_000 + "\nx = 1979-05-27T07:32:00.123Z",
        "x = " + "[" * MAX_DEPTH + "]" * MAX_DEPTH,
    ],
)
def test_what_is_within_the_bounds_is_read(text: str) -> None:
    assert tables_of(text, limit_bytes=LIMIT) == tomllib.loads(text)


def depth_of(value: object) -> int:
    return 1 + max(map(depth_of, value.values()), default=0) if isinstance(value, dict) else 0


@given(st.text(alphabet="ab.=\"'\\#[]{},\n 1", max_size=60))
@settings(deadline=None)
def test_nothing_hides_a_key_that_the_parser_sees(text: str) -> None:
    """Whatever stands before: where the parser gets as far as a long key, it is refused."""
    hidden = f"{text}\n{MANY}.a = 1\n"
    try:
        found = tomllib.loads(hidden)
    except tomllib.TOMLDecodeError:
        return
    if depth_of(found) > MAX_PARTS:
        with pytest.raises(BadToml, match=r"has a key of more than|nested deeper"):
            tables_of(hidden, limit_bytes=LIMIT)
