"""Probation: a bundle of the city with which the node ends again and again is put aside, and the one before is used.

A bundle is tried in a process of its own before it is taken (`trial`), but what it does with the samples, the history
and the sky of this node shows only when the node lives by it. So each start with a bundle is counted on the card before
anything of it is read, and the count is taken back when the node has lived for PROVEN_S, or ends because it was asked
to. Where MAX_ENDS lives in a row did not get so far, the bundle that was given last is put aside, and the count begins
anew: the bundle of its kind before it, else the node's own files, are followed. That is told by an alarm, which returns
when the city gives another bundle of that kind.

Whoever kills the node, or cuts its power, MAX_ENDS times within PROVEN_S each does the same: it is told, and the bundle
can be given again. Bounds: one bundle of each kind before, one count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from drivers.contract import Now
from drivers.errors import NotStored
from edge.acting.alarming import Alarming
from edge.acting.bundles import PREFIX
from edge.alarms.own import PLAN_ASIDE, RULES_ASIDE
from edge.alarms.raised import Raised
from edge.outbox.contract import Outbox
from wire.orders import Bundle
from wire.time import Utc

log = logging.getLogger(__name__)

Kind = Literal["plan", "rules"]
Kept = dict[str, bytes | None]

KINDS: Final[tuple[Kind, ...]] = ("plan", "rules")
MAX_ENDS: Final = 3
PROVEN_S: Final = 60.0
MAX_CHARS: Final = 2000  # of an alarm's detail
STARTS: Final = "probation/starts"
BEFORE: Final = "probation/before/"
ASIDE: Final = "probation/aside/"


class Aside(msgspec.Struct, frozen=True):
    """A bundle that was put aside."""

    version: str
    by: str

    def words(self, kind: Kind) -> str:
        """For the log and the alarm, which stays as it is where the one before is put aside too."""
        return (
            f"{kind} {self.version}, given by {self.by}: the node ended {MAX_ENDS} times within {PROVEN_S:.0f} s of its"
            f" start with it; put aside, and what was followed before it counts; give a mended one"
        )


def begin(kept: Mapping[str, bytes]) -> Kept:
    """What is to be on the card before a bundle is read: one start more, or a bundle less."""
    found = {kind: bundle for kind in KINDS if (bundle := _bundle(kept.get(PREFIX + kind))) is not None}
    if not found:
        return {STARTS: None} if STARTS in kept else {}
    starts = _starts(kept)
    changes: Kept = {}
    if starts >= MAX_ENDS:
        kind = max(found, key=lambda k: found[k].issued_us)
        body = kept.get(BEFORE + kind)
        before = _bundle(body)
        last = Aside(found[kind].version, found[kind].by)
        changes |= {
            PREFIX + kind: None if before is None else body,
            BEFORE + kind: None,
            ASIDE + kind: msgspec.msgpack.encode(last),
        }
        starts = 0
    return changes | {STARTS: msgspec.msgpack.encode(starts + 1)}


def aside(kept: Mapping[str, bytes]) -> dict[Kind, Aside]:
    """What was put aside, and not given anew since."""
    found: dict[Kind, Aside] = {}
    for kind in KINDS:
        try:
            found[kind] = msgspec.msgpack.decode(kept.get(ASIDE + kind, b""), type=Aside)
        except msgspec.DecodeError:
            continue
    return found


async def begun(outbox: Outbox) -> dict[str, bytes]:
    """What the node knows from before, once the card has noted that it begins with it."""
    kept = dict(await outbox.kept(""))
    changes = begin(kept)
    try:
        if changes:
            await outbox.append({}, (), changes)
    except NotStored as error:
        log.warning("this start with a bundle of the city cannot be counted: %s", error)
    for kind, one in aside({k: v for k, v in changes.items() if v is not None}).items():
        log.error("%s", one.words(kind))
    return {k: v for k, v in ({**kept, **changes}).items() if v is not None}


class Probation:
    """The bundles of one life of the node: call `look` now and then, `taken` for each new bundle and `end` for a wanted
    end."""

    def __init__(
        self,
        kept: Mapping[str, bytes],
        *,
        node: str,
        alarming: Alarming,
        now: Now,
        monotonic: Callable[[], float],
        put: Callable[..., object],
    ) -> None:
        """`kept` is what `begun` gave; `put` puts state into the next commit."""
        self._node, self._alarming, self._now, self._monotonic, self._put = node, alarming, now, monotonic, put
        self._bodies = {kind: body for kind in KINDS if (body := kept.get(PREFIX + kind)) is not None}
        self._aside = aside(kept)
        self._since_s = monotonic()
        self._counted = STARTS in kept

    def look(self) -> None:
        """Tell of what was put aside, and take the count back once the node has lived for long enough."""
        standing = {a.rule for a in self._alarming.standing() if a.device == self._node}
        for kind, one in self._aside.items():
            if _rule(kind) not in standing:
                self._alarming.raise_(_raised(self._node, kind, one, self._now()[0]))
        if self._monotonic() - self._since_s >= PROVEN_S:
            self.end()

    def end(self) -> None:
        """The node has proven that it can live with them, or ends as it was told to."""
        if self._counted:
            self._counted = False
            self._put(kept={STARTS: None})

    def took(self, bundle: Bundle) -> Kept:
        """It is lived by from now on, and this life is the first that may end of it: what is to be kept of that."""
        kind, body = bundle.kind, msgspec.msgpack.encode(bundle)
        before, self._bodies[kind] = self._bodies.get(kind), body
        self._since_s, self._counted = self._monotonic(), True
        if self._aside.pop(kind, None) is not None:
            self._alarming.returned(self._node, _rule(kind), {}, self._now()[0])
        return {PREFIX + kind: body, BEFORE + kind: before, ASIDE + kind: None, STARTS: msgspec.msgpack.encode(1)}


def _rule(kind: Kind) -> str:
    return PLAN_ASIDE if kind == "plan" else RULES_ASIDE


def _raised(node: str, kind: Kind, one: Aside, time_us: Utc) -> Raised:
    detail = one.words(kind)[:MAX_CHARS]
    if kind == "plan":
        en, fr = "The plan from the city ended the node", "Le plan de la ville arrêtait le nœud"
        text = {"en": f"{en}: it was put aside", "fr": f"{fr} : il a été écarté"}
        return Raised(device=node, rule=PLAN_ASIDE, severity="high", time_us=time_us, detail=detail, text=text)
    en, fr = "The rules from the city ended the node", "Les règles de la ville arrêtaient le nœud"
    text = {"en": f"{en}: they were put aside", "fr": f"{fr} : elles ont été écartées"}
    return Raised(device=node, rule=RULES_ASIDE, severity="high", time_us=time_us, detail=detail, text=text)


def _starts(kept: Mapping[str, bytes]) -> int:
    try:
        return msgspec.msgpack.decode(kept.get(STARTS, b""), type=int)
    except msgspec.DecodeError:
        return 0


def _bundle(body: bytes | None) -> Bundle | None:
    """The bundle; None where there is none, or none that can be read, which `bundles` tells."""
    try:
        return None if body is None else msgspec.msgpack.decode(body, type=Bundle)
    except msgspec.DecodeError:
        return None
