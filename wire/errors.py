"""What can be wrong with bytes that came from outside, named by what the reader does next.

BadInput
├── Malformed     these bytes will never be right: set them aside, say why, go on
├── Unsupported   well-formed, but of another version: say which versions are accepted
└── TooLarge      over a stated bound: the sender should send less at a time
"""

from __future__ import annotations


class BadInput(Exception):
    """Something from outside that cannot be taken. The text is meant for the one who sent it."""


class Malformed(BadInput):
    """The bytes are not what they claim to be, and never will be."""


class Unsupported(BadInput):
    """A version that this end does not speak; `accepts` names those it does."""

    def __init__(self, message: str, accepts: tuple[int, ...]) -> None:
        super().__init__(message)
        self.accepts = accepts


class TooLarge(BadInput):
    """Over one of the bounds that `wire.codec` states."""
