"""What others have named is shown, not obeyed."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.terminal import Formatter, guard, shown, shown_in, shown_lines


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("lamp 1 – rue de la Liberté 🏮", "lamp 1 – rue de la Liberté 🏮"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
        ("a\nINFO forged", "a\\nINFO forged"),
        ("a\r\tb", "a\\r\\tb"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("lamp\u202e1-pmal\u2066", "lamp\\u202e1-pmal\\u2066"),
        ("a\u2028b\u200bc\ufeff", "a\\u2028b\\u200bc\\ufeff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_text_is_one_line_that_orders_nothing(text: str, seen: str) -> None:
    assert shown(text) == seen


@given(st.text(alphabet=st.characters()))
def test_whatever_it_is_it_can_be_printed_and_stays_once_it_is_shown(text: str) -> None:
    once = shown(text)
    once.encode()
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in once)
    assert shown(once) == once
    assert len(once) <= 6 * len(text)


def test_lines_of_ours_stay() -> None:
    assert shown_lines("a\nb\x1b") == "a\nb\\x1b"


def test_all_texts_in_an_answer() -> None:
    assert shown_in({"a\n": ["\x1b", 1, None, {"b": "\x07"}]}) == {"a\\n": ["\\x1b", 1, None, {"b": "\\x07"}]}


def test_a_log_has_a_line_a_message() -> None:
    stream = io.StringIO()
    log = logging.getLogger("lamplighter.test_terminal")
    log.propagate = False
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter("%(levelname)s %(message)s"))
    log.addHandler(handler)
    log.warning("node %s", "cab\nERROR forged\x1b[2J")
    try:
        int("\x1b]0;owned\x07\u202e")
    except ValueError as error:
        log.exception("it failed", exc_info=ValueError(str(error) + "\x1b]0;owned\x07"))
    log.removeHandler(handler)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "WARNING node cab\\nERROR forged\\x1b[2J"
    assert lines[1] == "ERROR it failed"
    assert lines[-1].startswith("ValueError: ")
    assert lines[-1].endswith("\\x1b]0;owned\\x07")


def test_the_net_lets_colours_and_lines_of_ours_through(capsys: pytest.CaptureFixture[str]) -> None:
    with guard():
        print("\x1b[31mred\x1b[0m\x1b]0;owned\x07")
        sys.stderr.write("\r[##] 40 %\x1b[2J\n")
    told = capsys.readouterr()
    assert told.out == "\x1b[31mred\x1b[0m\\x1b]0;owned\\x07\n"
    assert told.err == "\r[##] 40 %\\x1b[2J\n"
