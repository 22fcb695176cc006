"""Questions have options, defaults, and an end."""

from __future__ import annotations

import os
import pty
import termios
from io import StringIO

import pytest

from edge.verbs.questions import MAX_CHARS, TRIES, NotSaid, Questions


def asking(typed: str, *, terminal: bool = True) -> tuple[Questions, StringIO]:
    out = StringIO()
    return Questions(StringIO(typed), out, "en", terminal=terminal), out


def number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("write a number")
    return int(text)


def test_a_wrong_answer_is_asked_again_and_not_for_ever() -> None:
    questions, out = asking("x\n\n7\n")
    assert questions.ask("how many", "--many", number) == 7
    assert out.getvalue().count("how many: ") == 3
    assert "write a number" in out.getvalue()
    questions, out = asking("x\n" * 9)
    with pytest.raises(NotSaid, match="3 wrong answers") as error:
        questions.ask("how many", "--many", number)
    assert (error.value.option, out.getvalue().count("how many: ")) == (False, TRIES)


def test_enter_is_what_stands_in_brackets() -> None:
    questions, out = asking("\n\n")
    assert questions.ask("how many", "--many", number, default="3") == 3
    assert "how many [3]: " in out.getvalue()
    assert questions.whether("sure?", "--sure", given=None, default=False) is False


def test_what_was_given_is_not_asked() -> None:
    questions, out = asking("")
    assert questions.ask("how many", "--many", number, given="5") == 5
    assert questions.whether("sure?", "--sure", given=True, default=False) is True
    assert out.getvalue() == ""
    with pytest.raises(NotSaid, match="--many: write a number") as error:
        questions.ask("how many", "--many", number, given="x")
    assert error.value.option


def test_without_a_terminal_the_option_is_named() -> None:
    questions, out = asking("7\n", terminal=False)
    with pytest.raises(NotSaid, match="write --many") as error:
        questions.ask("how many", "--many", number)
    assert error.value.option
    assert questions.ask("how many", "--many", number, default="3") == 3
    questions.say("nobody reads this")
    assert out.getvalue() == ""


@pytest.mark.parametrize(("typed", "expected"), [("y", True), ("oui", True), ("N", False), ("maybe\nno", False)])
def test_yes_and_no_in_two_languages(typed: str, expected: bool) -> None:
    assert asking(f"{typed}\n")[0].whether("sure?", "--sure", given=None, default=not expected) is expected


def test_an_input_that_ends_and_one_that_does_not_end() -> None:
    with pytest.raises(NotSaid, match="has ended"):
        asking("")[0].ask("how many", "--many", number)
    questions, out = asking("9" * (3 * MAX_CHARS) + "\n7\n")
    assert questions.ask("how many", "--many", number) == 7
    assert f"at most {MAX_CHARS}" in out.getvalue()


def test_what_is_asked_obeys_no_terminal() -> None:
    questions, out = asking("1\n")
    questions.ask("take \x1b[2Jlamp", "--x", number)
    assert "\x1b" not in out.getvalue()


def test_a_secret_is_not_shown_and_the_terminal_is_left_as_it_was() -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"lamp_secret\n")
        with os.fdopen(os.dup(theirs)) as source:
            questions = Questions(source, StringIO(), "en", terminal=True)
            os.set_blocking(ours, False)
            os.read(ours, 100)  # what was echoed before anybody asked
            before = termios.tcgetattr(theirs)
            assert questions.secret("token") == "lamp_secret"
            assert termios.tcgetattr(theirs) == before
            with pytest.raises(BlockingIOError):
                os.read(ours, 100)
    finally:
        os.close(ours)
        os.close(theirs)
