"""Mishaps: what stands between a library's callback and everything that may go wrong in it.

What one sender sends may cost one reading, never the callback: an exception there would keep a publish in the receive
window for ever, or end a scanner. Bugs are logged once for each kind of exception, with their traceback.
"""

from __future__ import annotations

import logging
from asyncio import Future, get_running_loop
from collections.abc import Sequence

from drivers.contract import Deliver, Receipt
from drivers.errors import NotStored
from wire.sample import Sample


class Unreadable(Exception):
    """What a known device sent does not say what its profile promises, and why."""


class LineMishaps:
    """For one line; `what` names what is read there, such as a payload."""

    def __init__(self, what: str, log: logging.Logger) -> None:
        self._what = what
        self._log = log
        self._said: set[tuple[str, type[Exception]]] = set()

    def why(self, error: Exception) -> str:
        """What the bad reading says. An error that is not Unreadable is a bug of ours or of a library."""
        if isinstance(error, Unreadable):
            return str(error)
        text = f"reading the {self._what} failed"
        self._log_once(text, error)
        return f"{text} ({type(error).__name__})"

    def handed(self, deliver: Deliver, samples: Sequence[Sample], receipt: Receipt | None = None) -> Future[None]:
        """What `deliver` returns. It should not raise; where it does, the samples are not stored."""
        try:
            return deliver(samples, receipt)
        except Exception as error:  # noqa: BLE001 -- it is logged
            text = "the node takes nothing"
            self._log_once(text, error)
            refused: Future[None] = get_running_loop().create_future()
            refused.set_exception(NotStored(f"{text} ({type(error).__name__})"))
            refused.exception()  # looked at, should nobody wait for it
            return refused

    def _log_once(self, text: str, error: Exception) -> None:
        if (text, type(error)) not in self._said:
            self._said.add((text, type(error)))
            self._log.error("%s", text, exc_info=error)
