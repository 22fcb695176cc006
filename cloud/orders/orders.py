"""Orders as they are given over HTTP: commands, relinquishes, bundles.

What is asked for is checked against what is known of the devices, all problems are told together, and what is taken is
durable before the answer (`cloud.sqlite.orders`), and goes to nodes that have a downlink at once. A request says who it
is by its `Idempotency-Key`, and is answered again, not done again, when it comes again. The answer names a cursor of
the feed from which on all is told that happens to the orders.

Bounds: a body as in `cloud.api.json_body`; MAX_GROUP_DEVICES orders a request (`cloud.orders.checks`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response

from cloud.api.area_params import missing
from cloud.api.idempotency import keyed, response
from cloud.api.json_body import MAX_BYTES, BodiesInHand, body_of, found_in
from cloud.api.routes import ORDERERS, Answer, Asked, Param, Route, out_of_scope, problem_answers
from cloud.metrics import Metrics
from cloud.orders.checks import (
    MAX_GROUP_DEVICES,
    MAX_UNKNOWN,
    Draft,
    Draw,
    Given,
    Wrongs,
    aimed_at,
    author,
    drafts_of,
    end_of,
    names_in,
    permitted,
)
from cloud.orders.downlink import Downlink
from cloud.orders.presence import Presence, Present
from cloud.orders.requests import BundleGiven, CommandGiven, RelinquishGiven
from cloud.orders.seen import AreaMeant, OrdersTaken, issued
from cloud.problem import wrong
from cloud.records.areas import ReadAreas
from cloud.records.keys import HEADER, KEPT_US, MAX_KEY_CHARS, Answered, Keyed
from cloud.records.orders import MAX_OPEN, OrderStore
from cloud.times import DAY_US, SECOND_US, Now
from cloud.views.contract import KnownDevice, TargetsAsked, Views
from groundwork.nearest import did_you_mean, nearest
from groundwork.toml_text import BadToml, tables_of
from wire.orders import MAX_BUNDLE_BYTES, Bundle
from wire.time import Micros, Utc

BUNDLE_LIFE_US: Final = Micros(7 * DAY_US)  # where nothing else is said

KEY: Final = Param(
    name=HEADER,
    at="header",
    what=f"Drawn for each thing to be done, up to {MAX_KEY_CHARS} characters; kept {KEPT_US // SECOND_US // 3_600} h.",
    required=True,
)
REFUSED: Final = problem_answers(
    s400="The body is not what it should be; `problems` says all that is wrong.",
    s404="It is for something that is not known; `detail` names the nearest there is.",
    s408="The body did not arrive in time.",
    s413=f"A body has at most {MAX_BYTES} bytes.",
    s415="The body is no JSON by its type.",
    s422="It cannot be done, `problems` says why; or the key was used for another request.",
    s429=f"A node has {MAX_OPEN} open orders.",
)
_TAKEN: Final = {202: Answer(what="Taken, durable; how it ends is told later.", body=OrdersTaken)}


def drawn() -> str:
    """A name that nobody has drawn before."""
    return secrets.token_hex(12)


class Orders:
    """The routes of those who give orders."""

    def __init__(
        self,
        *,
        store: OrderStore,
        views: Views,
        areas: ReadAreas,
        downlink: Downlink,
        presence: Presence,
        cursor: Callable[[], str],
        metrics: Metrics,
        now: Now,
        draw: Draw = drawn,
    ) -> None:
        """`cursor` is the end of the feed: what is taken later stands after it."""
        self._store = store
        self._views = views
        self._areas = areas
        self._downlink = downlink
        self._presence = presence
        self._cursor = cursor
        self._metrics = metrics
        self._now = now
        self._draw = draw
        self._reading = (
            asyncio.Lock()
        )  # a text takes up to a second of the processor; who waits is in the door's bounds
        self.door = BodiesInHand()  # one for all that is given, acts on alarms among it

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="POST",
                path="/v1/commands",
                name="command",
                summary="Let a point of devices have a value, until it expires: one order a device.",
                roles=ORDERERS,
                handler=self._command,
                params=(KEY,),
                scoped=True,
                takes=CommandGiven,
                answers={**_TAKEN, **REFUSED},
            ),
            Route(
                method="POST",
                path="/v1/relinquish",
                name="relinquish",
                summary="Take back what a level holds of a point of devices: one order a device.",
                roles=ORDERERS,
                handler=self._relinquish,
                params=(KEY,),
                scoped=True,
                takes=RelinquishGiven,
                answers={**_TAKEN, **REFUSED},
            ),
            Route(
                method="POST",
                path="/v1/bundles",
                name="bundle",
                summary="A versioned plan or set of rules for nodes: one order a node.",
                roles=ORDERERS,
                handler=self._bundle,
                params=(KEY,),
                takes=BundleGiven,
                answers={**_TAKEN, **REFUSED},
            ),
        ]

    async def take(self, drafts: Sequence[Draft], key: Keyed, meant: tuple[AreaMeant, ...] = ()) -> Response:
        """Keep orders, send them to who is there, and answer, with what the areas and groups were that they are for."""
        present = {node: self._presence.of(node) for node in {d.node for d in drafts}}
        # Beside the loop: ten thousand orders are some megabytes.
        answer = await asyncio.to_thread(_answer, drafts, present, self._cursor(), meant)

        def committed() -> None:
            self._metrics.ordered(str(drafts[0].order.__struct_config__.tag), len(drafts))
            self._downlink.wake({d.node for d in drafts})

        return response(await self._store.take(drafts, key, answer, self._now(), committed))

    def given(self, asked: Asked, on_behalf: str, wrongs: Wrongs) -> Given:
        """Who gives orders, for whom, and when."""
        return Given(
            by=author(asked.by, on_behalf, wrongs), now_us=self._now(), group=f"g-{self._draw()}", draw=self._draw
        )

    async def allow(self, asked: Asked, targets: Sequence[KnownDevice], now_us: Utc) -> None:
        """Let a token with a scope have its devices only.

        Raises:
            Problem: some are none of its own.
        """
        assert asked.grant is not None
        if (scope := asked.grant.scope) is None:
            return
        within = await self._areas.within(scope.areas, scope.groups, now_us)
        outside = [target.id for target in targets if not permitted(scope, within, target)]
        if outside:
            more = f" and {len(outside) - MAX_UNKNOWN} more" if len(outside) > MAX_UNKNOWN else ""
            raise out_of_scope(f"outside of this token's scope: {', '.join(outside[:MAX_UNKNOWN])}{more}")

    async def _command(self, asked: Asked) -> Response:
        return await self._aimed(asked, CommandGiven)

    async def _relinquish(self, asked: Asked) -> Response:
        return await self._aimed(asked, RelinquishGiven)

    async def _aimed(self, asked: Asked, kind: type[CommandGiven | RelinquishGiven]) -> Response:
        with self.door.open(asked.token):
            body = await body_of(asked.request)
            key = keyed(asked, body)
            if (before := await self._store.answered(key)) is not None:
                return response(before)
            found, wrongs = found_in(body, kind), Wrongs()
            by = self.given(asked, found.made.get("on_behalf", ""), wrongs)
            given = _aimed_given(found.made, kind)
            names = ("expires", "expires_in_s")
            expires_us = by.now_us
            if found.knows(*names):
                expires_us = end_of(given.expires, given.expires_in_s, names, by.now_us, wrongs)
            aim = aimed_at(given, wrongs) if found.knows("device", "devices", "group", "area") else None
            aim = aim and await self._within(aim, *names_in(given), by.now_us, wrongs)
            drafts: list[Draft] = []
            if aim is not None:
                targets = await self._views.targets(aim, MAX_GROUP_DEVICES)
                await self.allow(asked, targets, by.now_us)
                await self._unknown(aim, {t.id for t in targets}, wrongs)
                if "point" in found.made:
                    drafts = await asyncio.to_thread(drafts_of, given, targets, expires_us, by, wrongs)
            _refuse(found.problems, wrongs)
            return await self.take(drafts, key, _meant(aim))

    async def _within(
        self, aim: TargetsAsked, areas: Sequence[str], groups: Sequence[str], now_us: Utc, wrongs: Wrongs
    ) -> TargetsAsked | None:
        """With what the area and the group mean now: who they are is settled here, whatever they become later."""
        if not areas and not groups:
            return aim
        within = await self._areas.within(areas, groups, now_us)
        wrongs.unknown += await missing(self._areas, within)
        return None if within.missing else msgspec.structs.replace(aim, within=within)

    async def _unknown(self, aim: TargetsAsked, found: set[str], wrongs: Wrongs) -> None:
        if aim.devices is None:
            if not found:
                said = [f"has {f} {v!r}" for f in ("kind", "profile", "tag", "node") if (v := getattr(aim, f))]
                held = () if aim.within is None else aim.within.held
                said += [f"is in {kind} {name!r}" for kind, name, _ in held]
                wrongs.unknown.append(f"group: no device in any roster {' and '.join(said)}")
            return
        missing = [d for d in aim.devices if d not in found]
        for device in missing[:MAX_UNKNOWN]:
            near = await self._views.near(device)
            wrongs.unknown.append(f"there is no device {device[:100]!r}{did_you_mean(near)}")
        if len(missing) > MAX_UNKNOWN:
            wrongs.unknown.append(f"and {len(missing) - MAX_UNKNOWN} more devices that are not known")

    async def _bundle(self, asked: Asked) -> Response:
        with self.door.open(asked.token):
            body = await body_of(asked.request)
            key = keyed(asked, body)
            if (before := await self._store.answered(key)) is not None:
                return response(before)
            found, wrongs = found_in(body, BundleGiven), Wrongs()
            by = self.given(asked, found.made.get("on_behalf", ""), wrongs)
            fields: dict[str, Any] = {"kind": "plan", "version": "", "text": "", **found.made}  # refused without these
            given = BundleGiven(**fields)
            names = ("expires", "expires_in_s")
            expires_us = by.now_us
            if found.knows(*names):
                expires_us = end_of(given.expires, given.expires_in_s, names, by.now_us, wrongs, BUNDLE_LIFE_US)
            nodes: list[str] = []
            if found.knows("node", "nodes", "all"):
                nodes = await asyncio.to_thread(_nodes, given, await self._views.names(), wrongs)
            async with self._reading:
                if (why := await asyncio.to_thread(unreadable, given.text)) is not None:
                    wrongs.problems.append(f"text: {why}")  # no node would take it
            _refuse(found.problems, wrongs)
            drafts = [
                Draft(
                    Bundle(
                        id=f"o-{by.draw()}",
                        group=by.group,
                        by=by.by,
                        issued_us=by.now_us,
                        expires_us=expires_us,
                        kind=given.kind,
                        version=given.version,
                        text=given.text,
                    ),
                    node,
                )
                for node in nodes
            ]
            return await self.take(drafts, key)


def unreadable(text: str) -> str | None:
    """Why no node reads a bundle's text as TOML; None where all do."""
    try:
        tables_of(text, limit_bytes=MAX_BUNDLE_BYTES)
    except BadToml as error:
        return str(error)
    return None


def _meant(aim: TargetsAsked | None) -> tuple[AreaMeant, ...]:
    within = None if aim is None else aim.within
    return () if within is None else tuple(AreaMeant(what=k, id=n, revision=r) for k, n, r in within.held)


def _answer(
    drafts: Sequence[Draft], present: Mapping[str, Present], cursor: str, meant: tuple[AreaMeant, ...]
) -> Answered:
    orders = tuple(issued(d, present[d.node]) for d in drafts)
    taken = OrdersTaken(group=drafts[0].order.group, cursor=cursor, meant=meant, orders=orders)
    return Answered(202, msgspec.json.encode(taken))


def _aimed_given(made: Mapping[str, Any], kind: type[CommandGiven | RelinquishGiven]) -> CommandGiven | RelinquishGiven:
    """What of a request could be read, so that it can be looked at; it is refused where that is not all.

    A command without its value is looked at as a relinquish: that there is the point, and that it can be written.
    """
    looked_at = kind if "value" in made else RelinquishGiven
    fields: dict[str, Any] = {"point": "", **made}
    return looked_at(**fields)


def _nodes(given: BundleGiven, known: Sequence[str], wrongs: Wrongs) -> list[str]:
    """The nodes that a bundle is for."""
    said = [n for n, v in (("node", given.node), ("nodes", given.nodes), ("all", given.all or None)) if v is not None]
    if len(said) != 1:
        wrongs.problems.append(f"write one of node, nodes and all: true, not {' and '.join(said) or 'none of them'}")
        return []
    if given.all:
        if not known:
            wrongs.unknown.append("no node was ever heard")
        return list(known)
    wanted = dict.fromkeys(given.nodes or (given.node or "",))
    heard = set(known)
    missing = [n for n in wanted if n not in heard]
    for node in missing[:MAX_UNKNOWN]:
        hint = did_you_mean(nearest(node, known))
        wrongs.unknown.append(f"no node {node[:100]!r} was ever heard{hint}")
    if len(missing) > MAX_UNKNOWN:
        wrongs.unknown.append(f"and {len(missing) - MAX_UNKNOWN} more nodes that were never heard")
    return list(wanted)


def _refuse(unread: Sequence[str], wrongs: Wrongs) -> None:
    """Refuse what cannot be read, is for nothing that is known, or cannot be done, with all that is wrong."""
    if unread:
        raise wrong(400, "bad-request", [*unread, *wrongs.unknown, *wrongs.problems])
    if wrongs.unknown:
        raise wrong(404, "not-found", [*wrongs.unknown, *wrongs.problems])
    if wrongs.problems:
        raise wrong(422, "not-possible", wrongs.problems)
