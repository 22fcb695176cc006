"""The alarm book, example by example. Times are seconds in the tests and microseconds in the book."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from edge.alarms.acts import MAX_SHELF_S, Refusal
from edge.alarms.book import MAX_CLEARED, AlarmBook
from edge.alarms.causes import MAX_NAMED, Suppression
from edge.alarms.own import FLOOD
from edge.alarms.raised import MAX_PACKED_BYTES, Raised
from wire import codec
from wire.contents import Contents
from wire.entries import Alarm
from wire.orders import AlarmAct

US = 1_000_000
T = 1_800_000_000  # a time in 2027, in seconds
LINE_DOWN = (Suppression(rules=frozenset({"silent"}), devices=frozenset({"lamp-1", "lamp-2"})),)


class Book:
    """The book with seconds since T; what is told is checked to travel."""

    def __init__(self, **more: Any) -> None:
        numbers = count(1)
        given: dict[str, Any] = {"node": "cab-1", "draw_id": lambda: f"a{next(numbers)}", "dead_time_s": 10.0, **more}
        self.book = AlarmBook(**given)

    def raise_(self, device: str, rule: str, at: float, boot: int | None = None, **more: Any) -> list[Alarm]:
        fields: dict[str, Any] = {"severity": "high", **more}
        return self._told(self.book.raise_(Raised(device=device, rule=rule, time_us=us(at), **fields), boot))

    def leave(self, device: str, rule: str, at: float, boot: int | None = None) -> list[Alarm]:
        return self._told(self.book.returned(device, rule, {"level": 0}, us(at), boot))

    def act(self, alarm: str, what: str, at: float, until: float | None = None, boot: int | None = None) -> list[Alarm]:
        act = AlarmAct(
            id="o1",
            by="nadia",
            issued_us=us(at),
            expires_us=us(at + 60),
            alarm=alarm,
            act=what,  # type: ignore[arg-type] - one of three
            until_us=None if until is None else us(until),
        )
        return self._told(self.book.act(act, us(at), boot))

    def to(self, at: float, boot: int | None = None) -> list[Alarm]:
        return self._told(self.book.advance(us(at), boot))

    @property
    def due(self) -> float | None:
        due = self.book.due_us()
        return None if due is None else seconds(due)

    def states(self) -> dict[str, str]:
        return {f"{a.device}/{a.rule}": a.state for a in self.book.standing()}

    def _told(self, told: list[Alarm]) -> list[Alarm]:
        if told:
            row = codec.decode_row(codec.encode_row(Contents.of(told)))
            assert [p.entry for p in row] == told, "it goes up as it is"
        return told


def us(at: float) -> int:
    return round((T + at) * US)


def seconds(at_us: int) -> float:
    return at_us / US - T


def said(told: list[Alarm]) -> list[tuple[str, str]]:
    return [(a.id, a.state) for a in told]


def test_it_is_raised_acknowledged_and_cleared() -> None:
    book = Book()
    (raised,) = book.raise_("bin-1", "full", 0, respond_within_s=3600, values={"level": 95}, text={"fr": "pleine"})
    assert (raised.id, raised.state, raised.active, raised.acknowledged) == ("a1", "raised", True, False)
    assert (seconds(raised.raised_us), raised.respond_by_us) == (0, us(3600))
    assert (raised.values, raised.text) == ({"level": 95}, {"fr": "pleine"})
    assert book.raise_("bin-1", "full", 5) == [], "it was said before"
    (seen,) = book.act("a1", "acknowledge", 20)
    assert (seen.state, seen.acknowledged, seen.by, seconds(seen.time_us)) == ("acknowledged", True, "nadia", 20)
    assert book.act("a1", "acknowledge", 21) == [], "done before"
    assert book.leave("bin-1", "full", 60) == []
    assert book.due == 70
    (cleared,) = book.to(75)
    assert (cleared.state, cleared.active, seconds(cleared.time_us)) == ("cleared", False, 60), "when it went, not now"
    assert cleared.values == {"level": 0}
    assert book.states() == {}
    assert book.due is None
    assert book.act("a1", "acknowledge", 80) == [], "what is over needs nobody"
    assert said(book.raise_("bin-1", "full", 90)) == [("a2", "raised")]


def test_one_that_returned_waits_for_someone_to_look() -> None:
    book = Book()
    book.raise_("bin-1", "full", 0, respond_within_s=3600)
    book.leave("bin-1", "full", 60)
    assert said(book.to(70)) == [("a1", "returned")]
    (raised,) = book.raise_("bin-1", "full", 500, respond_within_s=3600)
    assert (raised.id, raised.state, seconds(raised.raised_us)) == ("a1", "raised", 0)
    assert raised.respond_by_us == us(3600), "coming and going buys no time"
    book.leave("bin-1", "full", 600)
    book.to(610)
    assert said(book.act("a1", "acknowledge", 700)) == [("a1", "cleared")]
    assert book.states() == {}


def test_what_flutters_is_told_once() -> None:
    book = Book()
    told = book.raise_("door", "open", 0)
    for at in range(1, 100, 2):
        told += book.leave("door", "open", at) + book.to(at + 1) + book.raise_("door", "open", at + 1)
    assert said(told) == [("a1", "raised")]
    book.leave("door", "open", 200)
    assert said(book.raise_("door", "open", 210)) == [("a1", "returned"), ("a1", "raised")], "away for the dead time"


def test_what_comes_back_after_the_dead_time_is_new_although_nobody_looked_at_the_clock_meanwhile() -> None:
    book = Book()
    book.raise_("door", "open", 0)
    book.act("a1", "acknowledge", 1)
    book.leave("door", "open", 10)
    assert said(book.raise_("door", "open", 20)) == [("a1", "cleared"), ("a2", "raised")]


def test_nobody_in_time_is_escalated_once() -> None:
    book = Book()
    book.raise_("bin-1", "full", 0, respond_within_s=3600, severity="medium")
    assert book.due == 2700
    assert book.to(2699) == []
    (escalated,) = book.to(2700)
    assert (escalated.state, escalated.escalated, escalated.severity) == ("raised", True, "medium")
    assert book.due is None
    book.leave("bin-1", "full", 2800)
    book.to(2810)
    assert [a.escalated for a in book.raise_("bin-1", "full", 2900)] == [True], "and not once more"
    assert book.due is None


def test_one_that_is_gone_is_not_escalated_until_it_is_back() -> None:
    book = Book()
    book.raise_("bin-1", "full", 0, respond_within_s=100)
    book.leave("bin-1", "full", 70)
    assert said(book.to(90)) == [("a1", "returned")]
    told = book.raise_("bin-1", "full", 95)
    assert [(a.state, a.escalated) for a in told] == [("raised", False), ("raised", True)]


def test_one_that_has_just_left_is_not_escalated_when_another_is() -> None:
    book = Book()
    book.raise_("bin-1", "full", 0, respond_within_s=100)
    book.raise_("bin-2", "full", 1, respond_within_s=100)
    book.leave("bin-1", "full", 70)
    assert said(book.to(76)) == [("a2", "raised")]


@pytest.mark.parametrize("what", ["acknowledge", "shelve"])
def test_an_acknowledged_or_shelved_one_is_not_escalated(what: str) -> None:
    book = Book()
    book.raise_("bin-1", "full", 0, respond_within_s=100)
    book.act("a1", what, 50, until=500 if what == "shelve" else None)
    assert book.to(99) == []


def test_a_shelved_one_is_silent_and_comes_back_as_its_condition_is() -> None:
    book = Book()
    book.raise_("lamp-1", "dark", 0, respond_within_s=100)
    (shelved,) = book.act("a1", "shelve", 10, until=1000)
    assert (shelved.state, shelved.until_us, shelved.by) == ("shelved", us(1000), "nadia")
    assert book.act("a1", "shelve", 11, until=1000) == []
    assert said(book.act("a1", "shelve", 11, until=1200)) == [("a1", "shelved")]
    for at in range(20, 900, 40):
        assert book.leave("lamp-1", "dark", at) + book.to(at + 20) + book.raise_("lamp-1", "dark", at + 30) == []
    told = book.to(1200)
    assert [(a.state, a.escalated, a.until_us) for a in told] == [("raised", False, None), ("raised", True, None)]
    book.act("a1", "shelve", 1300, until=2000)
    book.leave("lamp-1", "dark", 1400)
    (back,) = book.act("a1", "unshelve", 1500)
    assert (back.state, back.active, back.by) == ("returned", False, "nadia")
    assert book.act("a1", "unshelve", 1501) == []


def test_a_shelved_one_that_was_acknowledged_is_cleared_at_its_end_or_new_when_it_comes_again() -> None:
    book = Book()
    book.raise_("lamp-1", "dark", 0, respond_within_s=100)
    book.act("a1", "acknowledge", 5)
    book.act("a1", "shelve", 10, until=1000)
    book.leave("lamp-1", "dark", 20)
    assert book.raise_("lamp-1", "dark", 900, respond_within_s=300) == [], "silent"
    (back,) = book.to(1000)
    assert (back.id, back.state, back.acknowledged) == ("a1", "raised", False), "nobody has seen this one"
    assert (seconds(back.raised_us), back.respond_by_us) == (900, us(1200))
    book.act("a1", "acknowledge", 1001)
    book.act("a1", "shelve", 1002, until=2000)
    book.leave("lamp-1", "dark", 1100)
    assert said(book.to(2000)) == [("a1", "cleared")]


def test_a_shelf_that_ends_a_moment_after_the_condition_left_waits_the_dead_time() -> None:
    book = Book()
    book.raise_("lamp-1", "dark", 0)
    book.act("a1", "acknowledge", 5)
    book.act("a1", "shelve", 10, until=100)
    book.leave("lamp-1", "dark", 95)
    (back,) = book.to(100)
    assert (back.state, back.active) == ("acknowledged", False)
    assert book.raise_("lamp-1", "dark", 104) == []
    book.leave("lamp-1", "dark", 105)
    assert said(book.to(115)) == [("a1", "cleared")]


@pytest.mark.parametrize(
    ("alarm", "what", "until", "why"),
    [
        ("a9", "acknowledge", None, "no alarm a9 stands"),
        ("a9", "unshelve", None, "no alarm a9 stands"),
        ("a1", "shelve", None, "until when"),
        ("a1", "shelve", 10, "is past"),
        ("a1", "shelve", 12 + MAX_SHELF_S, "not for 7.0"),
        ("a1", "shelve", 10 + 10 * 86_400, "not for 10.0"),
    ],
)
def test_what_cannot_be_done_is_refused_with_words_and_changes_nothing(
    alarm: str, what: str, until: float | None, why: str
) -> None:
    book = Book()
    book.raise_("lamp-1", "dark", 0)
    before = book.book.standing()
    with pytest.raises(Refusal, match=why) as caught:
        book.act(alarm, what, 11, until)
    assert set(caught.value.text) == {"en", "fr"}
    assert caught.value.why == caught.value.text["en"]
    assert book.book.standing() == before


def test_a_cleared_one_cannot_be_shelved_and_is_remembered_for_a_while() -> None:
    book = Book()
    for n in range(MAX_CLEARED + 1):
        at = 100 * n
        book.raise_("lamp-1", "dark", at)
        book.act(f"a{n + 1}", "acknowledge", at)
        book.leave("lamp-1", "dark", at)
        book.to(at + 10)
    at = 100 * (MAX_CLEARED + 1)
    with pytest.raises(Refusal, match="cleared already"):
        book.act(f"a{MAX_CLEARED + 1}", "shelve", at, until=at + 100)
    assert book.act("a2", "acknowledge", at) == []
    with pytest.raises(Refusal, match="stands on this node"):
        book.act("a1", "acknowledge", at)


def test_a_cause_suppresses_what_comes_after_it_and_what_was_before_it() -> None:
    book = Book()
    book.raise_("lamp-1", "silent", 0, respond_within_s=100)
    told = book.raise_("line-1", "down", 5, suppresses=LINE_DOWN)
    assert said(told) == [("a2", "raised"), ("a1", "suppressed")]
    assert told[1].cause == "a2"
    assert said(book.raise_("lamp-2", "silent", 6, respond_within_s=600)) == [("a3", "suppressed")]
    assert said(book.raise_("lamp-3", "silent", 7)) == [("a4", "raised")], "on another line"
    assert said(book.raise_("lamp-2", "door", 7)) == [("a5", "raised")], "another rule"
    assert book.to(99) == [], "not escalated either"
    book.leave("line-1", "down", 200)
    told = book.to(210)
    assert said(told) == [("a2", "returned"), ("a1", "raised"), ("a1", "raised"), ("a3", "raised")]
    assert [a.escalated for a in told] == [False, False, True, False], "its deadline counts from its own detection"
    assert {a.cause for a in told} == {""}
    assert told[3].respond_by_us == us(606)


def test_a_consequence_that_returns_is_cleared_and_needs_nobody() -> None:
    book = Book()
    book.raise_("line-1", "down", 0, suppresses=LINE_DOWN)
    book.raise_("lamp-1", "silent", 1)
    assert book.leave("lamp-1", "silent", 20) == []
    assert book.raise_("lamp-1", "silent", 25) == []
    book.leave("lamp-1", "silent", 30)
    (cleared,) = book.to(40)
    assert (cleared.id, cleared.state, cleared.cause) == ("a2", "cleared", "a1")


def test_a_cause_that_flutters_does_not_make_its_consequences_flutter() -> None:
    book = Book()
    book.raise_("line-1", "down", 0, suppresses=LINE_DOWN)
    book.raise_("lamp-1", "silent", 1)
    book.act("a1", "shelve", 2, until=1000)
    told: list[Alarm] = []
    for at in range(10, 900, 10):
        told += book.leave("line-1", "down", at) + book.leave("lamp-1", "silent", at + 1)
        told += book.raise_("lamp-1", "silent", at + 2) + book.to(at + 8)
        told += book.raise_("line-1", "down", at + 9, suppresses=LINE_DOWN)
    assert told == []
    book.leave("line-1", "down", 905)
    assert book.due == 915, "also while its cause is shelved"
    assert said(book.to(915)) == [("a2", "raised")]


def test_a_cause_that_is_taken_off_its_shelf_after_it_has_left_explains_nothing_more() -> None:
    book = Book()
    book.raise_("line-1", "down", 0, suppresses=LINE_DOWN)
    book.raise_("lamp-1", "silent", 1)
    book.act("a1", "shelve", 2, until=1000)
    book.leave("line-1", "down", 20)
    assert said(book.act("a1", "unshelve", 22)) == [("a1", "returned"), ("a2", "raised")]


def test_an_acknowledged_consequence_comes_back_acknowledged() -> None:
    book = Book()
    book.raise_("lamp-1", "silent", 0)
    book.act("a1", "acknowledge", 1)
    book.raise_("line-1", "down", 5, suppresses=LINE_DOWN)
    assert book.states()["lamp-1/silent"] == "suppressed"
    book.leave("line-1", "down", 20)
    book.to(30)
    assert book.states()["lamp-1/silent"] == "acknowledged"


def test_a_second_cause_takes_over_and_says_so() -> None:
    book = Book()
    book.raise_("line-1", "down", 0, suppresses=LINE_DOWN)
    book.raise_("lamp-1", "silent", 1)
    assert said(book.raise_("cab-1", "phase", 2, suppresses=(Suppression(frozenset({"silent"})),))) == [
        ("a3", "raised")
    ]
    book.leave("line-1", "down", 20)
    told = book.to(30)
    assert said(told) == [("a1", "returned"), ("a2", "suppressed")]
    assert told[1].cause == "a3"


def test_a_chain_hangs_on_its_root_and_a_ring_is_cut() -> None:
    book = Book()
    rules = {"a": "b", "b": "c", "c": "a"}
    for at, name in enumerate("cba"):
        book.raise_("x", name, at, suppresses=(Suppression(frozenset({rules[name]})),))
    assert book.states() == {"x/c": "suppressed", "x/b": "raised", "x/a": "suppressed"}
    book.leave("x", "b", 20)
    book.to(30)
    assert book.states() == {"x/c": "raised", "x/b": "returned", "x/a": "suppressed"}
    alone = Book()
    assert said(alone.raise_("x", "a", 0, suppresses=(Suppression(),))) == [("a1", "raised")], "never by itself"


def test_when_the_first_of_a_ring_ends_the_next_one_explains_all_and_no_chain_grows() -> None:
    book = Book()
    for n in range(20):
        book.raise_(f"d{n:02}", "r", n, suppresses=(Suppression(),))
    book.leave("d00", "r", 30)
    told = book.to(40)
    assert said(told)[:2] == [("a1", "returned"), ("a2", "raised")]
    assert [(a.state, a.cause) for a in told[2:]] == [("suppressed", "a2")] * 18


def test_a_cause_that_names_the_device_counts_first() -> None:
    book = Book()
    book.raise_("cab-1", "phase", 0, suppresses=(Suppression(rules=frozenset({"silent"})),))
    book.raise_("line-1", "down", 1, suppresses=LINE_DOWN)
    (told,) = book.raise_("lamp-1", "silent", 2)
    assert told.cause == "a2"


def test_a_rule_that_explains_too_much_is_a_clear_error_and_nothing_has_changed() -> None:
    book = Book()
    many = (Suppression(devices=frozenset(map(str, range(MAX_NAMED + 1)))),)
    with pytest.raises(ValueError, match="leave devices away"):
        book.raise_("x", "a", 0, suppresses=many)
    assert book.states() == {}


def test_a_flood_is_one_alarm_that_counts_and_what_waits_comes_later_worst_first() -> None:
    book = Book(limit=4)
    for n in range(3):
        book.raise_(f"d{n}", "r", n)
    (flood,) = book.raise_("d3", "r", 3, respond_within_s=100)
    assert (flood.device, flood.rule, flood.severity, flood.values["put_aside"]) == ("cab-1", FLOOD, "urgent", 1)
    assert set(flood.text) == {"en", "fr"}
    assert book.raise_("d3", "r", 4) == [], "it waits already"
    assert said(book.raise_("d4", "r", 4, severity="urgent")) == [("a5", "raised")], "they have room of their own"
    assert said(book.raise_("d5", "r", 5, severity="urgent")) == [("a4", "raised")], "the flood has doubled"
    assert book.raise_("d6", "r", 6, severity="low") == []
    book.leave("d6", "r", 7)
    for n, alarm in enumerate(["a1", "a2"]):
        book.act(alarm, "acknowledge", 10)
        book.leave(f"d{n}", "r", 20)
    told = book.to(90)
    assert [(a.device, a.state) for a in told[:3]] == [("d0", "cleared"), ("d1", "cleared"), ("d5", "raised")]
    book.act("a3", "acknowledge", 91)
    book.leave("d2", "r", 91)
    told = book.to(101)
    assert [(a.device, a.state, a.escalated) for a in told] == [
        ("d2", "cleared", False),
        ("d3", "raised", False),
        ("d3", "raised", True),
    ], "its deadline has counted while it waited"
    assert seconds(told[1].raised_us) == 3
    assert seconds(told[1].time_us) == 101
    (over,) = book.to(111)
    assert (over.rule, over.state, over.values["waiting"], over.values["put_aside"]) == (FLOOD, "returned", 0, 3)


def test_what_waits_and_is_said_again_as_urgent_is_told_once() -> None:
    book = Book(limit=4)
    for n in range(4):
        book.raise_(f"d{n}", "r", n)
    assert [a.device for a in book.raise_("d3", "r", 5, severity="urgent")] == ["d3"]
    book.leave("d0", "r", 6)
    book.act("a1", "acknowledge", 6)
    assert [(a.device, a.state) for a in book.to(20)] == [("d0", "cleared"), ("cab-1", "returned")]


def test_after_a_restart_in_a_flood_the_count_goes_on_and_nothing_waits() -> None:
    book = Book(limit=1)
    book.raise_("d0", "r", 0, severity="urgent")
    for n in range(1, 4):
        book.raise_(f"d{n}", "r", n)
    again = Book(limit=1, kept=book.book.standing(), draw_id=lambda: "b1")
    assert again.raise_("d0", "r", 5) == [], "what holds is said again"
    (counted,) = again.raise_("d1", "r", 5)
    assert (counted.rule, counted.values["put_aside"]) == (FLOOD, 4)


def test_a_rule_that_is_gone_leaves_no_alarm() -> None:
    book = Book(limit=2)
    book.raise_("d0", "old", 0, severity="urgent")
    book.raise_("d0", "new", 0, severity="urgent")
    book.raise_("d1", "old", 0)
    book.act("a1", "acknowledge", 1)
    book.book.forget(lambda _, rule: rule == "old", us(10), None)
    told = book.to(20)
    assert [(a.rule, a.state) for a in told] == [("old", "cleared"), (FLOOD, "returned")], "nor one that waited"
    assert book.states() == {"d0/new": "raised", f"cab-1/{FLOOD}": "returned"}


def test_a_clock_fix_moves_what_was_estimated_and_deadlines_keep_their_length() -> None:
    book = Book()
    book.raise_("bin-0", "full", 0, respond_within_s=100)
    (raised,) = book.raise_("bin-1", "full", 0, boot=7, respond_within_s=100)
    assert raised.boot == 7
    book.raise_("bin-2", "full", 0, boot=7)
    act = AlarmAct(
        id="o", by="x", issued_us=us(5_000), expires_us=us(6_000), alarm="a3", act="shelve", until_us=us(5_200)
    )
    (shelved,) = book.book.act(act, us(10), 7)
    assert shelved.until_us == us(210), "as long as was meant, not until a time that this clock does not know"
    assert book.book.act(act, us(11), 7) == []
    book.book.shift(us(4_990) - us(0), 7)
    fixed = {a.device: a for a in book.book.standing()}
    assert (fixed["bin-0"].raised_us, fixed["bin-0"].respond_by_us) == (us(0), us(100)), "it was true before"
    assert (fixed["bin-1"].raised_us, fixed["bin-1"].respond_by_us) == (us(4_990), us(5_090))
    assert (fixed["bin-2"].until_us, fixed["bin-2"].boot) == (us(5_200), None)


def test_a_clock_fix_moves_what_waits_too() -> None:
    book = Book(limit=1)
    book.raise_("bin-1", "full", 0, boot=7, severity="urgent")
    book.raise_("bin-2", "full", 5, boot=7, respond_within_s=100)
    book.act("a1", "acknowledge", 6, boot=7)
    book.book.shift(us(1_000) - us(0), 7)
    book.leave("bin-1", "full", 1_010)
    raised = next(a for a in book.to(1_020) if a.device == "bin-2")
    assert (seconds(raised.raised_us), raised.respond_by_us, raised.boot) == (1_005, us(1_105), None)


def test_what_is_too_large_to_be_told_is_told_with_less() -> None:
    book = Book()
    (alarm,) = book.raise_("d", "r", 0, values={str(n): "x" * 4096 for n in range(20)}, detail="d" * 5000)
    assert alarm.values == {}
    assert alarm.detail.startswith("(20 values left out")
    assert len(alarm.detail) == 2_000
    (alarm,) = book.raise_("d", "s", 0, values={str(n): n for n in range(257)}, text={"fr": "t" * 3000})
    assert (alarm.values, len(alarm.text["fr"])) == ({}, 2_000)
    assert MAX_PACKED_BYTES < 65_536


@pytest.mark.parametrize("wrong", [{"dead_time_s": -1}, {"escalate_at": 0}, {"escalate_at": 1.1}, {"limit": 2_001}])
def test_settings_that_cannot_be_say_what_to_write(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="write"):
        Book(**wrong)


def test_a_ring_or_a_missing_cause_in_what_was_kept_is_undone() -> None:
    def kept(alarm: str, rule: str, cause: str) -> Alarm:
        return Alarm(
            id=alarm, device="x", rule=rule, severity="low", state="suppressed", raised_us=1, time_us=1, cause=cause
        )

    ring = [kept("k1", "a", "k2"), kept("k2", "b", "k1"), kept("k3", "c", "gone")]

    def both(_device: str, rule: str) -> tuple[Suppression, ...]:
        return (Suppression(frozenset("ab")),) if rule in "ab" else ()

    book = Book(kept=ring, suppresses=both)
    book.to(0)
    assert sorted(book.states().values()) == ["raised", "raised", "suppressed"]
