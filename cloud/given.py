"""Given: the JSON that somebody has sent, read into a struct, with all that is wrong with it told at once.

Bounds: MAX_BYTES a body and BODY_S for it to arrive; MAX_AT_ONCE bodies are in hand at a time, MAX_OF_ONE of one token,
so that nobody keeps the others out by being slow; more are refused at once with 503. Of keys that there are not, the
first MAX_STRANGE are told, each as far as MAX_SHOWN characters.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Final, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec
from starlette.requests import Request

from cloud.problem import Problem, bad_request, unavailable, wrong
from cloud.routes import JSON

MAX_BYTES: Final = 1 << 20
BODY_S: Final = 60.0
MAX_AT_ONCE: Final = 32
MAX_OF_ONE: Final = 16
MAX_STRANGE: Final = 20
MAX_SHOWN: Final = 50

T = TypeVar("T", bound=msgspec.Struct)


class Door:
    """Counts the bodies that are in hand. On the event loop."""

    def __init__(self) -> None:
        self._in_hand: Counter[str] = Counter()

    @contextmanager
    def open(self, token: str) -> Generator[None]:
        """Take one in hand, that came with a token of this id.

        Raises:
            Problem: there are too many.
        """
        if (count := self._in_hand.total()) >= MAX_AT_ONCE:
            raise unavailable(f"{count} requests with a body are in hand", 1)
        if (count := self._in_hand[token]) >= MAX_OF_ONE:
            raise unavailable(f"{count} requests with a body are in hand for this token", 1)
        self._in_hand[token] += 1
        try:
            yield
        finally:
            self._in_hand[token] -= 1
            if not self._in_hand[token]:
                del self._in_hand[token]


async def body_of(request: Request) -> bytes:
    """The whole body.

    Raises:
        Problem: it is no JSON by its type, too large, or too slow.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != JSON:
        raise Problem(415, "unsupported", f"the content type is {given or 'missing'}; send {JSON}")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BYTES:
                    raise Problem(413, "too-large", f"a body has at most {MAX_BYTES} bytes")
                chunks.append(chunk)
    except TimeoutError:
        raise Problem(408, "request-timeout", f"the body did not arrive within {BODY_S:.0f} s") from None
    return b"".join(chunks)


def read(body: bytes, wanted: type[T]) -> T:
    """The struct that a body describes.

    Raises:
        Problem: it does not; with every key that is wrong.
    """
    try:
        raw: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is no JSON: {error}") from error
    if not isinstance(raw, dict):
        raise bad_request("the body must be an object, in { }")
    given = cast("dict[str, Any]", raw)
    hints = get_type_hints(wanted, include_extras=True)
    strange = [key for key in given if key not in hints]
    problems = [_unknown(key[:MAX_SHOWN], hints) for key in strange[:MAX_STRANGE]]
    if len(strange) > MAX_STRANGE:
        problems.append(f"and {len(strange) - MAX_STRANGE} more keys that there are not")
    made: dict[str, Any] = {}
    for field in msgspec.structs.fields(wanted):
        if field.name in given:
            try:
                made[field.name] = msgspec.convert(given[field.name], hints[field.name])
            except (msgspec.ValidationError, RecursionError) as error:
                choices = get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else ()
                hint = f"; write one of {', '.join(choices)}" if choices else ""
                problems.append(f"{field.name}: {error}{hint}")
        elif field.required:
            problems.append(f"{field.name} is missing")
    if problems:
        raise wrong(400, "bad-request", problems)
    return wanted(**made)


def _unknown(key: str, known: dict[str, Any]) -> str:
    near = get_close_matches(key, known, n=1)
    return f"there is no {key!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")
