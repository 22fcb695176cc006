"""The order desk: what comes down is checked, takes its place, and ends with exactly one final result.

An order is taken in the order of its arrival. What is accepted is on the card before any device is told, and an
actuator waits for that. An order that is sent again changes nothing: its final result is told again, at most every
RETELL_US. An order that has ended, that was given before the one that holds its place now, or whose end nobody can
judge, is never applied. How long orders are known: `edge.control.order_records`.

An order from afar is judged by trusted time. One that is given at the cabinet is given and judged by one clock, the
node's own: so it is taken also where that clock is an estimate. What was taken ends by the monotonic clock, whatever
the others are set to meanwhile.

A bundle is written on the card before it is tried, and tried apart from the node (`try_first`) before the node lives by
it: where the node ended while it did so, that bundle has failed, and is not tried again when it is sent again.

Bounds: those of `order_records`; beyond, orders are refused with that reason. An order may last MAX_LAST_US, and its
giver's clock may be ahead by AHEAD_US.
"""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from drivers.contract import Now
from drivers.errors import Misconfigured, Refused
from drivers.readings import allowed
from edge.control import order_words as words
from edge.control.arbitration import Held
from edge.control.arrays import Ended, Key, PriorityArrays
from edge.control.blinking import LEVEL, Blink, Blinking
from edge.control.giving_way import GivingWay
from edge.control.order_contract import Acts, Declined, Insist, TryFirst, Wake
from edge.control.order_records import (
    DAY_US,
    MAX_LAST_US,
    HowFar,
    Kept,
    NodeOrder,
    OrderRecord,
    PointOrder,
    Records,
)
from edge.control.trusted import TrustedTime
from wire.entries import Entry, Level, Result, Stage
from wire.orders import FINAL, AlarmAct, Bundle, Command, Relinquish
from wire.sample import Value, why_unstorable
from wire.time import Micros, Mono, Utc

log = logging.getLogger(__name__)

RETELL_US: Final = Micros(60_000_000)
AHEAD_US: Final = Micros(
    300_000_000
)  # an order from further in the future would hold its place against all that follow
FORGET_EVERY_US: Final = Micros(60_000_000)
FAR_LEVELS: Final[frozenset[Level]] = frozenset({"emergency", "hypervisor"})


class _Commit:
    """What goes onto the card together."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.kept: dict[str, bytes | None] = {}


class OrderBook:
    """Takes orders, and hears from the actuators how they go."""

    def __init__(
        self,
        *,
        control: PriorityArrays,
        acts: Acts,
        trusted: TrustedTime,
        now: Now,
        monotonic_us: Callable[[], Mono],
        insist: Insist,
        wake: Wake,
        freed: Callable[[Key, Ended | None], None] = lambda _key, _ended: None,
        try_first: TryFirst | None = None,
        blinking: Blinking | None = None,
    ) -> None:
        """`freed` is called with values that have ended, after that has been put on its way to the card. Without
        `try_first` bundles are taken at once."""
        self._try_first = try_first
        self._blinking = blinking or Blinking(control, {}, monotonic_us, lambda _visit: True)
        self._control, self._acts, self._trusted, self._now = control, acts, trusted, now
        self._monotonic_us, self._insist, self._wake, self._freed = monotonic_us, insist, wake, freed
        self._records = Records()
        self._giving_way = GivingWay()
        self._forget_us = 0
        self.counts: dict[Stage, int] = dict.fromkeys(("accepted", *FINAL), 0)

    # ---- in ----------------------------------------------------------------------------------------------------

    def take(self, order: NodeOrder, *, on_site: bool = False) -> None:
        """An order has come; `on_site` says that it was given at the cabinet itself, by the node's own clock."""
        if (known := self._records.get(order.id)) is not None:
            self._again(known)
            return
        try:
            left_us = self._check(order, on_site=on_site)
        except Declined as declined:
            self._end_at_once(order, "refused", str(declined))
            return
        if left_us <= 0:
            self._end_at_once(order, "expired", "it had ended before it came")
        elif isinstance(order, Bundle) and self._try_first is not None:
            self._try_bundle(order, self._try_first)
        elif isinstance(order, AlarmAct | Bundle):
            self._act(order, on_site=on_site)
        elif not on_site and self._records.outdated(order):
            # On site nothing can overtake, while a clock that was mended may have gone back since the last order.
            self._end_at_once(order, "superseded", "a later order of this level came before it")
        elif isinstance(order, Relinquish):
            self._relinquish(order, left_us, on_site=on_site)
        else:
            self._hold(order, left_us, on_site=on_site)

    def how_far(self, order_id: str) -> HowFar | None:
        """How far an order has come; None for one that is not known."""
        return self._records.how_far(order_id)

    def _check(self, order: NodeOrder, *, on_site: bool) -> Micros:
        """How long it lasts from now, in microseconds.

        Raises:
            Declined: with what speaks against it.
        """
        if not order.id:
            raise Declined("it has no id; write one that no other order has")
        now_us = self._now()[0] if on_site else self._trusted.now_us()
        if now_us is None:
            raise Declined("clock unknown: nobody can say here whether it has ended")
        if order.expires_us > now_us + MAX_LAST_US:
            raise Declined(f"it would last longer than {MAX_LAST_US // DAY_US} days")
        if order.issued_us > now_us + AHEAD_US:
            raise Declined(
                f"it was given {(order.issued_us - now_us) // 1_000_000} s from now; look at the clock there"
            )
        if self._records.full:
            raise Declined(self._records.why_full())
        if isinstance(order, PointOrder):
            if (order.device, order.point) not in self._control.points:
                raise Declined(f"this node has no writable point {order.point} of {order.device}")
            if not on_site and order.level not in FAR_LEVELS:
                raise Declined(f"the level {order.level} is for whoever stands at the cabinet")
        if isinstance(order, Command):
            if (why := why_unstorable(order.value)) is not None:
                raise Declined(f"the value cannot be kept: {why}")
            try:
                allowed(self._control.points[order.device, order.point], order.value)
            except (Refused, Misconfigured) as error:
                raise Declined(str(error)) from error
        if isinstance(order, Blink) and (why := self._blinking.why_not((order.device, order.point))):
            raise Declined(why)
        return order.expires_us - now_us

    def _until_us(self, order: Command | Blink, left_us: Micros) -> Utc | None:
        """The end of an order that was given here, as UTC: None where nobody knows the time. It could be any hour on
        an estimated clock, and after a reboot with a true one the value would be held until then."""
        if self._now()[1].synced:
            return order.expires_us
        now_us = self._trusted.now_us()
        return None if now_us is None else now_us + left_us

    def _hold(self, order: Command | Blink, left_us: Micros, *, on_site: bool) -> None:
        key = (order.device, order.point)
        value = self._blinking.begin(order) if isinstance(order, Blink) else order.value
        held = Held(
            value=allowed(self._control.points[key], value),
            by=order.by,
            order=order.id,
            ends_us=self._monotonic_us() + left_us,
            until_us=self._until_us(order, left_us) if on_site else order.expires_us,
            blinks=isinstance(order, Blink),
        )
        before, kept = self._control.hold(key, order.level, held)
        said = words.on_site(order, left_us) if on_site else ""
        waits = words.waits(self._control, key, order.level, self._monotonic_us())
        self._accept(order, before, kept, f"by order {order.id}", "; ".join(filter(None, (said, waits))))

    def _relinquish(self, order: Relinquish, left_us: Micros, *, on_site: bool) -> None:
        key = (order.device, order.point)
        before, kept = self._control.release(key, order.level)
        self._giving_way.add(key, order, Mono(self._monotonic_us() + left_us))
        said = f"taken back at the cabinet by {order.by}" if on_site else ""
        self._accept(order, before, kept, f"taken back by order {order.id}", said)

    def _accept(self, order: PointOrder, before: Held | None, kept: Kept, instead: str, said: str) -> None:
        commit = _Commit()
        commit.kept |= kept
        if before is not None and (older := self._records.open(before.order)) is not None:
            self._final(commit, older, "superseded", instead)
        commit.kept |= self._records.take(order, self._monotonic_us())
        commit.entries.append(self._result(order, "accepted", said))
        self.counts["accepted"] += 1
        self._wake((order.device, order.point), self._put(commit))

    def _try_bundle(self, order: Bundle, try_first: TryFirst) -> None:
        commit = _Commit()
        commit.kept |= self._records.take(order, self._monotonic_us())
        commit.entries.append(self._result(order, "accepted"))
        self.counts["accepted"] += 1

        def done(why: str | None) -> None:
            if self._records.open(order.id) is None:
                return
            if why is None:
                self._act(order)
            else:
                self._end_at_once(order, "failed", why)

        try_first(order, self._put(commit), done)

    def _act(self, order: AlarmAct | Bundle, *, on_site: bool = False) -> None:
        commit, detail = _Commit(), ""
        try:
            if isinstance(order, AlarmAct):
                alarms, kept = self._acts.act(order)
                commit.entries += alarms
                detail = f"{order.act} at the cabinet by {order.by}: {order.alarm}" if on_site else ""
            else:
                kept, detail = self._acts.adopt(order)
        except Declined as declined:
            self._end_at_once(order, "refused", str(declined))
            return
        except Exception as error:  # a bug of ours: the order must end all the same, and the downlink go on
            log.exception("order %s could not be done", order.id)
            self._end_at_once(order, "failed", f"a fault of the node: {type(error).__name__}: {error}")
            return
        commit.kept |= kept
        self._final(commit, order, "verified", detail)
        self._put(commit)

    def _end_at_once(self, order: NodeOrder, stage: Stage, detail: str) -> None:
        commit = _Commit()
        self._final(commit, order, stage, detail)
        self._put(commit)

    def _again(self, known: OrderRecord) -> None:
        """It was sent again: perhaps its result has not arrived."""
        mono_us = self._monotonic_us()
        if known.result is not None and mono_us - known.told_us >= RETELL_US:
            known.told_us = mono_us
            self._insist(known.result, kept={})

    # ---- what the actuators tell -------------------------------------------------------------------------------

    def applied(self, key: Key, level: Level, held: Held) -> None:
        """See `edge.control.actuators.Told`."""
        del key, level
        order = self._records.open(held.order)
        if order is not None and (kept := self._records.applied(order.id)):
            self._insist(self._result(order, "applied"), kept=kept)

    def settled(self, key: Key, level: Level | None, held: Held | None, read_back: Value) -> bool:
        """See `edge.control.actuators.Told`. True where something else is due by now (`due_us`)."""
        commit = _Commit()
        if self._control.top(key) == (None if held is None else (level, held)):
            detail = "nothing else is held: it is left as it is" if held is None else f"now {level} {held.by}".rstrip()
            for order in self._giving_way.pop(key):
                self._final_if_open(commit, order.id, "verified", detail, read_back)
        if held is not None:
            self._final_if_open(commit, held.order, "verified", "", read_back)
        self._put(commit)
        return self._blinking.settled(key, held)

    def failed(self, key: Key, level: Level, held: Held, why: str, read_back: Value) -> bool:
        """See `actuators.Told`. An order that has failed lets its place go; one that was verified before holds, but
        where it blinks."""
        commit = _Commit()
        for order in self._giving_way.pop(key):
            self._final_if_open(commit, order.id, "failed", why, read_back)
        may_go = self._records.open(held.order) is not None or self._blinking.blinks(key, held.order)
        let_go = may_go and self._control.array(key).held(level) == held
        if let_go:
            commit.kept |= self._control.release(key, level)[1]
        self._final_if_open(commit, held.order, "failed", why, read_back)
        self._put(commit)
        return let_go

    # ---- time ----------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Let go of what has ended, and forget ids that nobody will send again."""
        commit = _Commit()
        ended, kept = self._control.expire(self._monotonic_us())
        commit.kept |= kept
        for each in ended:
            waits = words.waits(self._control, each.key, each.level, self._monotonic_us())
            detail = "; ".join(filter(None, ("it ended before it was verified", waits.removeprefix("it waits: "))))
            self._final_if_open(commit, each.held.order, "expired", detail, None)
        now_us = self._trusted.now_us()
        for order in self._giving_way.over(self._monotonic_us(), now_us):
            self._final_if_open(commit, order.id, "expired", "it ended before what is below was verified", None)
        if now_us is not None and self._monotonic_us() >= self._forget_us:
            self._forget_us = self._monotonic_us() + FORGET_EVERY_US
            commit.kept |= self._records.forget(now_us, self._monotonic_us())
        turned, left = self._blinking.advance()
        for key in left:
            self._end_blink(commit, key, "its technician's session had ended before it was verified")
        self._put(commit)
        for each in ended:  # after it was put: who is told now may put something else in its place
            self._freed(each.key, each)
            self._wake(each.key)
        for key in (*turned, *left):
            self._wake(key)

    def due_us(self) -> Mono | None:
        """When something ends or is turned over next, in monotonic time."""
        return min((due for d in (self._control, self._blinking) if (due := d.due_us()) is not None), default=None)

    def end_blinking(self) -> list[Key]:
        """The node stops: what blinks is given back. The points."""
        commit, keys = _Commit(), self._blinking.keys
        for key in keys:
            self._end_blink(commit, key, "the node stopped before it was verified")
        self._put(commit)
        for key in keys:
            self._wake(key)  # the card is not waited for: nothing of it is there
        return keys

    def _end_blink(self, commit: _Commit, key: Key, why: str) -> None:
        if (held := self._control.release(key, LEVEL)[0]) is not None:
            self._final_if_open(commit, held.order, "expired", why, None)

    def restore(self, kept: Mapping[str, bytes], dropped: Iterable[Ended]) -> None:
        """Take back what was known before a restart; `dropped` are the values that could not be held on to.

        What is held is then to be looked at by the actuators, which ask a device first: the caller wakes them when its
        line is open. What `PriorityArrays.restore` said to keep goes into the same commit.
        """
        commit = _Commit()
        commit.kept |= self._records.restore(kept, self._monotonic_us())
        lost = {d.held.order for d in dropped}
        for order in self._records.all_open():
            if isinstance(order, AlarmAct):
                continue  # never open
            if isinstance(order, Bundle):
                self._final(commit, order, "failed", f"the node ended while it tried this {order.kind}: not taken")
                continue
            key = (order.device, order.point)
            held = self._control.array(key).held(order.level)
            if key not in self._control.points:
                self._final(commit, order, "failed", f"this node has no writable point {order.point} any more")
            elif isinstance(order, Relinquish):
                self._giving_way.add(key, order, None)
            elif isinstance(order, Blink):
                self._final(commit, order, "failed", "the node has started again: nothing blinks any more")
            elif held is None or held.order != order.id:
                detail = "it ended, or nobody could say whether it had, while the node was down"
                self._final(commit, order, "expired" if order.id in lost else "superseded", detail)
        self._put(commit)
        for key in self._giving_way.keys:
            self._wake(key)

    # ---- out ---------------------------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """Orders without a final result."""
        return self._records.opened

    def _put(self, commit: _Commit) -> Future[None] | None:
        return self._insist(*commit.entries, kept=commit.kept) if commit.entries or commit.kept else None

    def _final_if_open(self, commit: _Commit, order_id: str, stage: Stage, detail: str, read_back: Value) -> None:
        if (order := self._records.open(order_id)) is not None:
            self._final(commit, order, stage, detail, read_back)

    def _final(self, commit: _Commit, order: NodeOrder, stage: Stage, detail: str, read_back: Value = None) -> None:
        assert stage in FINAL
        result = self._result(order, stage, detail, read_back)
        self.counts[stage] += 1
        commit.entries.append(result)
        commit.kept |= self._records.finish(order, result, self._monotonic_us())

    def _result(self, order: NodeOrder, stage: Stage, detail: str = "", read_back: Value = None) -> Result:
        time_us, clock = self._now()
        aimed = isinstance(order, PointOrder)
        return Result(
            order=order.id,
            stage=stage,
            time_us=time_us,
            device=order.device if aimed else "",
            point=order.point if aimed else "",
            read_back=read_back,
            detail=detail[:2000],
            boot=None if clock.synced else clock.boot,
        )
