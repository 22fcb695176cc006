"""Questions: what a command asks whoever types, on a terminal or by its options.

Each question has an option. Where there is no terminal, one that was left out and has no default is an error that names
it. A wrong answer is told with why, and asked again.

Bounds: TRIES answers a question; an answer has MAX_CHARS.
"""

from __future__ import annotations

import termios
from collections.abc import Callable
from typing import Final, TextIO, TypeVar

from edge.verbs.asking import Language, Words
from groundwork.terminal import shown

TRIES: Final = 3
MAX_CHARS: Final = 4_096
_YES: Final = frozenset({"y", "yes", "o", "oui", "1"})
_NO: Final = frozenset({"n", "no", "non", "0"})
_WORDS: Final[Words] = {
    "en": {
        "needed": "this has to be said: write {}",
        "empty": "something has to be written here",
        "yes or no": "write y or n",
        "yes": "[Y/n]",
        "no": "[y/N]",
        "tries": "{} wrong answers; nothing was written",
        "ended": "the input has ended; nothing was written",
        "long": "an answer has at most {} characters",
    },
    "fr": {
        "needed": "ceci doit être dit : écrivez {}",
        "empty": "il faut écrire quelque chose ici",
        "yes or no": "écrivez o ou n",
        "yes": "[O/n]",
        "no": "[o/N]",
        "tries": "{} réponses fausses ; rien n’a été écrit",
        "ended": "l’entrée est finie ; rien n’a été écrit",
        "long": "une réponse a au plus {} caractères",
    },
}
T = TypeVar("T")


class NotSaid(Exception):
    """There is no answer to go on with, in words. `option`: it has to be given on the command line."""

    def __init__(self, text: str, *, option: bool = False) -> None:
        super().__init__(text)
        self.option = option


class Questions:
    """Asks on `source` and `out`, where `terminal` says that somebody is there; else only what was given counts."""

    def __init__(self, source: TextIO, out: TextIO, language: Language, *, terminal: bool) -> None:
        self._source, self._out, self.terminal = source, out, terminal
        self.words = _WORDS[language]

    def say(self, text: str = "") -> None:
        """A line, where somebody is there to read it."""
        if self.terminal:
            self._out.write(f"{shown(text)}\n")
            self._out.flush()

    def ask(
        self, text: str, option: str, read: Callable[[str], T], *, given: str | None = None, default: str | None = None
    ) -> T:
        """What was given or is answered, as `read` takes it; `read` raises ValueError with why it does not. An empty
        answer is the default.

        Raises:
            NotSaid: too often wrong, or nobody is there to ask.
        """
        if given is not None or not self.terminal:
            answer = given if given is not None else default
            if answer is None:
                raise NotSaid(self.words["needed"].format(option), option=True)
            try:
                return read(answer)
            except ValueError as error:
                raise NotSaid(f"{option}: {error}", option=True) from error
        prompt = f"{text} [{default}]" if default else text
        for _ in range(TRIES):
            try:
                answer = self._line(f"{prompt}: ") or default
                if answer is None:
                    raise ValueError(self.words["empty"])  # noqa: TRY301 - told like all else that is wrong
                return read(answer)
            except ValueError as error:
                self.say(f"  {error}")
        raise NotSaid(self.words["tries"].format(TRIES))

    def whether(self, text: str, option: str, *, given: bool | None, default: bool) -> bool:
        """Yes or no; without a terminal the default.

        Raises:
            NotSaid.
        """
        if given is not None or not self.terminal:
            return default if given is None else given

        def read(answer: str) -> bool:
            word = answer.lower()
            if word not in _YES | _NO:
                raise ValueError(self.words["yes or no"])
            return word in _YES

        hint = self.words["yes" if default else "no"]
        for _ in range(TRIES):
            answer = self._line(f"{text} {hint}: ")
            try:
                return default if not answer else read(answer)
            except ValueError as error:
                self.say(f"  {error}")
        raise NotSaid(f"{option}: {self.words['tries'].format(TRIES)}")

    def secret(self, text: str) -> str:
        """A line that is not shown while it is typed; empty where nothing was.

        Raises:
            NotSaid: the input has ended. ValueError: it is too long.
        """
        try:
            number = self._source.fileno()
            before = termios.tcgetattr(number)
        except (OSError, termios.error):  # no terminal at all: a test's
            return self._line(f"{text}: ")
        silent = [*before]
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(number, termios.TCSADRAIN, silent)
        try:
            return self._line(f"{text}: ")
        finally:
            termios.tcsetattr(number, termios.TCSADRAIN, before)
            self._out.write("\n")

    def _line(self, prompt: str) -> str:
        self._out.write(shown(prompt))
        self._out.flush()
        line = self._source.readline(MAX_CHARS + 1)
        if not line:
            raise NotSaid(self.words["ended"])
        if len(line) > MAX_CHARS:
            while not line.endswith("\n") and (line := self._source.readline(MAX_CHARS)):
                pass
            raise ValueError(self.words["long"].format(MAX_CHARS))
        return line.strip()
