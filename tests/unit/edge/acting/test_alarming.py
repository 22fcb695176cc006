from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import pytest

from edge.acting.alarming import Alarming
from edge.alarms.raised import Raised
from edge.control.order_contract import Declined
from wire.entries import Alarm, ClockFix, Entry
from wire.orders import AlarmAct
from wire.sample import Clock

S = 1_000_000


class Told:
    def __init__(self, kept: Mapping[str, bytes] | None = None) -> None:
        self.kept: dict[str, bytes] = dict(kept or {})
        self.puts: list[tuple[tuple[Entry, ...], Mapping[str, bytes | None]]] = []
        self.now_us, self.clock = 1_000 * S, Clock(3, synced=False)
        self.alarming = Alarming(
            node="cab",
            kept=self.kept,
            suppresses=lambda _d, _r: (),
            draw_id=lambda: f"a{len(self.puts)}",
            now=lambda: (self.now_us, self.clock),
            put=self.put,
        )

    def put(self, *entries: Entry, kept: Mapping[str, bytes | None]) -> None:
        self.puts.append((entries, kept))
        for key, body in kept.items():
            self.kept.pop(key, None)
            if body is not None:
                self.kept[key] = body

    def raise_(self, device: str = "bin-1", **values: float) -> None:
        self.alarming.raise_(
            Raised(device=device, rule="full", severity="high", time_us=self.now_us, respond_within_s=60, values=values)
        )


def test_what_is_told_is_kept_in_the_same_put() -> None:
    told = Told()
    told.raise_()
    ((alarm,), kept) = told.puts[0]
    assert isinstance(alarm, Alarm)
    assert kept == {"alarm/a0": msgspec.msgpack.encode(alarm)}
    assert alarm.boot == 3, "the time is an estimate"
    told.raise_()
    assert len(told.puts) == 1, "nothing new"


def test_in_a_new_run_all_that_stand_are_told_again_as_they_are() -> None:
    told = Told()
    told.alarming.tell_again()
    assert told.puts == []
    told.raise_("bin-1")
    told.raise_("bin-2")
    standing = told.alarming.standing()
    told.alarming.tell_again()
    assert told.puts[-1] == (tuple(standing), {})


def test_what_is_cleared_is_kept_no_more() -> None:
    told = Told()
    told.raise_()
    act = AlarmAct(id="o", by="m", issued_us=0, expires_us=9, alarm="a0", act="acknowledge")
    alarms, kept = told.alarming.act(act)
    assert [a.state for a in alarms] == ["acknowledged"]
    assert list(kept) == ["alarm/a0"]
    told.alarming.returned("bin-1", "full", {}, told.now_us)
    due_us = told.alarming.due_us()
    assert due_us == told.now_us + 10 * S
    told.now_us += 10 * S
    told.alarming.advance()
    assert told.kept == {}
    assert told.alarming.standing() == ()
    assert told.alarming.due_us() is None


def test_an_act_that_cannot_be_done_is_declined_in_words() -> None:
    act = AlarmAct(id="o", by="m", issued_us=0, expires_us=9, alarm="x", act="acknowledge")
    with pytest.raises(Declined, match="x"):
        Told().alarming.act(act)


def test_it_goes_on_from_what_was_kept_the_oldest_first() -> None:
    told = Told()
    told.raise_("bin-1", level=math.inf)
    told.now_us += S
    told.raise_("bin-2")
    again = Told(dict(reversed(told.kept.items())))
    assert [a.device for a in again.alarming.standing()] == ["bin-1", "bin-2"]
    assert again.alarming.standing()[0].values == {"level": math.inf}
    again.raise_("bin-1")
    assert again.puts == []


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81\xa1a\x01", msgspec.msgpack.encode({"id": 3})])
def test_what_is_kept_and_no_alarm_is_told_and_thrown_away(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    told.raise_()
    again = Told({"alarm/zz": body} | told.kept)
    assert [a.device for a in again.alarming.standing()] == ["bin-1"]
    assert list(again.kept) == ["alarm/a0"]
    assert "alarm/zz was kept and cannot be read" in caplog.text


def test_when_true_time_is_found_what_is_kept_moves_and_nothing_is_told() -> None:
    told = Told()
    told.raise_()
    told.clock = Clock(3, synced=True)
    told.alarming.corrected(ClockFix(boot=3, offset_us=500 * S, error_us=1))
    (entries, kept) = told.puts[-1]
    assert entries == ()
    body = kept["alarm/a0"]
    assert body is not None
    alarm = msgspec.msgpack.decode(body, type=Alarm)
    assert (alarm.raised_us, alarm.respond_by_us, alarm.boot) == (1_500 * S, 1_560 * S, None)


def test_a_fix_with_nothing_standing_is_no_commit() -> None:
    told = Told()
    told.alarming.corrected(ClockFix(boot=3, offset_us=1, error_us=1))
    assert told.puts == []


def test_alarms_of_what_is_gone_return() -> None:
    told = Told()
    told.raise_("bin-1")
    told.raise_("bin-2")
    told.alarming.forget(lambda device, _rule: device == "bin-1")
    assert {a.device: a.active for a in told.alarming.standing()} == {"bin-1": False, "bin-2": True}
