"""Given: the JSON that somebody has sent, read into a struct, with all that is wrong with it told at once.

Bounds: MAX_BYTES a body and BODY_S for it to arrive; MAX_AT_ONCE bodies are in hand at a time, MAX_OF_ONE of one token,
so that nobody keeps the others out by being slow; more are refused at once with 503, of one token with 429. Of keys
that there are not, the first MAX_STRANGE are told, each as far as MAX_SHOWN characters.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec
from starlette.requests import Request

from cloud.api.json_errors import MAX_SHOWN, in_words
from cloud.api.routes import JSON
from cloud.problem import Problem, bad_request, too_many, unavailable, wrong
from groundwork.nearest import near

MAX_BYTES: Final = 1 << 20
BODY_S: Final = 60.0
MAX_AT_ONCE: Final = 32
MAX_OF_ONE: Final = 16
MAX_STRANGE: Final = 20

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
            raise too_many(f"{count} requests with a body are in hand for this token; at most {MAX_OF_ONE}")
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
    whole = bytearray()  # not a list: pieces of one byte each would take forty times as much
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                if len(whole) + len(chunk) > MAX_BYTES:
                    raise Problem(413, "too-large", f"a body has at most {MAX_BYTES} bytes")
                whole += chunk
    except TimeoutError:
        raise Problem(408, "request-timeout", f"the body did not arrive within {BODY_S:.0f} s") from None
    return bytes(whole)


class Found(msgspec.Struct, frozen=True):
    """What of a body can be read, and all that is wrong with the rest."""

    made: dict[str, Any]
    problems: list[str]
    unread: frozenset[str]  # keys whose values cannot be read
    strange: bool  # it has keys that there are not: what seems to be missing may be one of them

    def knows(self, *names: str) -> bool:
        """Say whether all is known that was said under these keys."""
        if not self.unread.isdisjoint(names):
            return False
        return not self.strange or any(self.made.get(n) is not None for n in names)

    def whole(self, wanted: type[T]) -> T:
        """The struct.

        Raises:
            Problem: something is wrong; with every key that is.
        """
        if self.problems:
            raise wrong(400, "bad-request", self.problems)
        return wanted(**self.made)


def read(body: bytes, wanted: type[T]) -> T:
    """The struct that a body describes.

    Raises:
        Problem: it does not; with every key that is wrong.
    """
    return found_in(body, wanted).whole(wanted)


def found_in(body: bytes, wanted: type[msgspec.Struct]) -> Found:
    """What of a body can be read as a struct: what is right can be looked at further, though something is wrong.

    Raises:
        Problem: it is no object in JSON.
    """
    try:
        raw: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is no JSON: {error}") from error
    if not isinstance(raw, dict):
        raise bad_request("the body must be an object, in { }")
    return _found(cast("dict[str, Any]", raw), wanted, "")


def _found(given: dict[str, Any], wanted: type[msgspec.Struct], above: str) -> Found:
    """The same for an object; `above` is where it stands, with a dot, so that a key can be told from outside."""
    types = get_type_hints(wanted, include_extras=True)
    hints = {field.encode_name: types[field.name] for field in msgspec.structs.fields(wanted)}
    strange = [key for key in given if key not in hints]
    problems = [_unknown(key[:MAX_SHOWN], hints, above) for key in strange[:MAX_STRANGE]]
    if len(strange) > MAX_STRANGE:
        problems.append(f"and {len(strange) - MAX_STRANGE} more keys that there are not")
    made: dict[str, Any] = {}
    for field in msgspec.structs.fields(wanted):
        name, hint = field.encode_name, hints[field.encode_name]
        if name not in given:
            if field.required:
                problems.append(f"{above}{name} is missing")
            continue
        inner = _struct_in(hint)
        if inner is not None and isinstance(given[name], dict):
            within = _found(given[name], inner, f"{above}{name}.")
            problems += within.problems
            if not within.problems:
                made[field.name] = inner(**within.made)
            continue
        try:
            made[field.name] = msgspec.convert(given[name], hint)
        except (msgspec.ValidationError, RecursionError) as error:
            choices = get_args(hint) if get_origin(hint) is Literal else ()
            problems.append(in_words(f"{above}{name}", str(error), choices))
    unread = frozenset(hints.keys() & given.keys() - made.keys())
    return Found(made, problems, unread, bool(strange))


def _struct_in(hint: Any) -> type[msgspec.Struct] | None:
    """The struct that a key holds, where it holds one or null."""
    return next((a for a in get_args(hint) if isinstance(a, type) and issubclass(a, msgspec.Struct)), None)


def _unknown(key: str, known: dict[str, Any], above: str) -> str:
    meant = near(key, known)
    hint = f"did you mean {above}{meant}?" if meant else f"there are {', '.join(known)}"
    return f"there is no {above + key!r}; {hint}"
