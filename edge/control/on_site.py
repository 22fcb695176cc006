"""On site: whoever is logged in on the node gives orders, at the level of the technician.

Who that is, the kernel says of the node's own socket (`edge.web.peers`), and whoever asks cannot: `by` of a request is
only whom they say that they act for. A request says what is to be done and for how long; the node draws the id, and
gives and judges the order by its own clock, also where that is an estimate. Everything that is wrong in a request is
told at once. Results go up like those of all other orders.

Bounds: MAX_BODY_BYTES a request; an order lasts MIN_FOR_S to MAX_FOR_S, DEFAULT_FOR_S where none is said; the card is
waited for CARD_S at most. How many orders may be open: `edge.control.order_records`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from drivers.contract import Now
from drivers.tables import Problem, parse, suggest
from edge.control.blinking import LONGEST_S, Blink
from edge.control.order_records import MAX_LAST_US, HowFar, NodeOrder
from wire.entries import Stage
from wire.orders import AlarmAct, Command, Relinquish
from wire.sample import Value
from wire.time import Utc, micros

MAX_BODY_BYTES: Final = 16 * 1024
MIN_FOR_S: Final = 10.0  # time is looked at every 5 s (`edge.acting.autonomy.LOOK_S`): what is shorter would end late
MAX_FOR_S: Final = MAX_LAST_US / 1e6  # 31 days
DEFAULT_FOR_S: Final = 7_200.0
BLINK_FOR_S: Final = 120.0
CARD_S: Final = 2.0
PREFIX: Final = "site-"  # of the ids that the node draws

ForS = Annotated[float, Meta(ge=MIN_FOR_S, le=MAX_FOR_S)]
Said = Annotated[str, Meta(min_length=1, max_length=200)]
For = Annotated[str, Meta(max_length=200)]  # whom they say that they act for


class CommandGiven(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="command"):
    """Let a point have a value for `for_s` seconds."""

    by: For = ""
    device: Said
    point: Said
    value: int | float | bool | Annotated[str, Meta(max_length=4096)]
    for_s: ForS = DEFAULT_FOR_S


class RelinquishGiven(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="relinquish"):
    """Take back what the technician holds."""

    by: For = ""
    device: Said
    point: Said


class BlinkGiven(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="blink"):
    """Let a point blink for `for_s` seconds, or until it is given back (`edge.control.blinking`)."""

    by: For = ""
    device: Said
    point: Said
    for_s: Annotated[float, Meta(ge=MIN_FOR_S, le=LONGEST_S)] = BLINK_FOR_S


class AlarmActGiven(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="order", tag="alarm_act"):
    """Acknowledge, shelve for `for_s` seconds, or unshelve an alarm, by its id."""

    by: For = ""
    alarm: Said
    act: Literal["acknowledge", "shelve", "unshelve"]
    for_s: ForS | None = None
    note: Annotated[str, Meta(max_length=2_000)] = ""

    def __post_init__(self) -> None:
        """Raise ValueError for what does not go together."""
        if self.act == "shelve" and self.for_s is None:
            raise ValueError("a shelved alarm must come back: write for_s, seconds, at most 7 days")
        if self.act != "shelve" and self.for_s is not None:
            raise ValueError(f"for_s is for shelve only; leave it out to {self.act}")


Given = CommandGiven | RelinquishGiven | BlinkGiven | AlarmActGiven
_GIVEN: Final[Mapping[str, type[Given]]] = {
    "command": CommandGiven,
    "relinquish": RelinquishGiven,
    "blink": BlinkGiven,
    "alarm_act": AlarmActGiven,
}


class OrderProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an order has come. `detail` is the reason or remark of its stage, in words."""

    id: str
    stage: Stage
    final: bool
    read_back: Value = None
    detail: str = ""


class BadRequest(Exception):
    """A request that is no order: all that is wrong with it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


def read(body: bytes) -> Given:
    """What a request asks for.

    Raises:
        BadRequest: it asks for nothing that can be done, in words.
    """
    try:
        table: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest([f"the body is not JSON: {error}"]) from error
    if not isinstance(table, dict):
        raise BadRequest(['the body must be an object, such as {"order": "relinquish", …}'])
    order = cast("dict[str, object]", table).get("order")
    kind = _GIVEN.get(order) if isinstance(order, str) else None
    if kind is None:
        hint = suggest(order[:64], _GIVEN) if isinstance(order, str) else f"; write one of {', '.join(_GIVEN)}"
        raise BadRequest([f"order: there is no such order{hint}"])
    problems: list[Problem] = []
    given = parse(cast("type[Any]", kind), cast("object", table), file="", key="", problems=problems)
    if problems:
        raise BadRequest([f"{p.key}: {p.text}" if p.key else p.text for p in problems])
    return cast("Given", given)


class OnSite:
    """Takes what is given at the cabinet."""

    def __init__(
        self,
        *,
        take: Callable[[NodeOrder], None],
        how_far: Callable[[str], HowFar | None],
        durable: Callable[[], Awaitable[object]],
        now: Now,
        draw_id: Callable[[], str],
    ) -> None:
        """`take` and `how_far` are the order desk's. What `durable` gives ends when all that was taken before is on
        the card."""
        self._take, self._how_far, self._durable, self._now, self._draw_id = take, how_far, durable, now, draw_id

    async def give(
        self, given: Given, taken: Callable[[OrderProgress], None] = lambda _: None, *, visit: str = ""
    ) -> OrderProgress:
        """Take an order; how far it is once it is on the card, or CARD_S later. `taken` is told at once how far it is:
        what it puts on the card goes there with the order. What blinks ends with the session of `visit`."""
        order = self._order(given, PREFIX + self._draw_id(), self._now()[0], visit)
        self._take(order)
        taken(self._told(order.id))
        try:
            async with asyncio.timeout(CARD_S):
                await self._durable()
        except TimeoutError:
            found = self._told(order.id)
            if found.final:
                return found
            return msgspec.structs.replace(found, detail="it waits for the card; nothing is done before it is on it")
        return self._told(order.id)

    def told(self, order_id: str) -> OrderProgress | None:
        """How far an order has come, whoever has given it; None for one that is not known."""
        found = self._how_far(order_id)
        if found is None:
            return None
        return OrderProgress(
            id=order_id, stage=found.stage, final=found.final, read_back=found.read_back, detail=found.detail
        )

    def _told(self, order_id: str) -> OrderProgress:
        detail = "too many orders are open or remembered here; try again later"
        return self.told(order_id) or OrderProgress(id=order_id, stage="refused", final=True, detail=detail)

    def _order(self, given: Given, order_id: str, now_us: Utc, visit: str) -> NodeOrder:
        match given:
            case CommandGiven():
                return Command(
                    id=order_id,
                    by=given.by,
                    issued_us=now_us,
                    expires_us=now_us + micros(given.for_s),
                    device=given.device,
                    point=given.point,
                    value=given.value,
                    level="technician",
                )
            case RelinquishGiven():
                return Relinquish(
                    id=order_id,
                    by=given.by,
                    issued_us=now_us,
                    expires_us=now_us + micros(DEFAULT_FOR_S),
                    device=given.device,
                    point=given.point,
                    level="technician",
                )
            case BlinkGiven():
                return Blink(
                    id=order_id,
                    by=given.by,
                    issued_us=now_us,
                    expires_us=now_us + micros(given.for_s),
                    device=given.device,
                    point=given.point,
                    visit=visit,
                )
            case AlarmActGiven():
                until_us = None if given.for_s is None else now_us + micros(given.for_s)
                return AlarmAct(
                    id=order_id,
                    by=given.by,
                    issued_us=now_us,
                    expires_us=until_us or now_us + micros(DEFAULT_FOR_S),
                    alarm=given.alarm,
                    act=given.act,
                    until_us=until_us,
                    note=given.note,
                )
