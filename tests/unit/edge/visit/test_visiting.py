from __future__ import annotations

import asyncio

import pytest

from edge.visit import visiting
from edge.visit.log import AGAIN, LOGGED_OUT, MAX_HERE_S, MAX_SAID, MORE, OVER, RESTARTED
from edge.visit.sessions import LASTS_S, MAX_SESSIONS, Session
from edge.visit.visiting import TurnedAway
from support.visits import NOW_US, Cabinet, code_for
from wire.sample import Clock

HERE, THERE = "192.0.2.7", "192.0.2.8"


async def come(cabinet: Cabinet, counter: int, name: str = "M. Dupont", address: str = HERE) -> Session:
    return await cabinet.visiting.begin(name, code_for(name, counter), address)


async def why(cabinet: Cabinet, counter: int, name: str = "M. Dupont", address: str = HERE) -> str:
    with pytest.raises(TurnedAway) as caught:
        await come(cabinet, counter, name, address)
    return caught.value.why


async def test_a_code_begins_a_session_and_a_visit_and_is_used() -> None:
    cabinet = Cabinet()
    session = await come(cabinet, 3)
    (began,) = cabinet.told
    assert (began.act, began.by, began.code, began.visit) == ("began", "M. Dupont", 3, session.visit)
    assert (began.time_us, began.until_us) == (NOW_US, NOW_US + round(LASTS_S * 1e6))
    assert cabinet.visiting.session(session.cookie, HERE) == session
    assert cabinet.visiting.session(session.cookie, THERE) is None, "the cookie is good from its own address only"
    assert cabinet.visiting.session("", HERE) is None
    assert await why(cabinet, 3) == "code"
    assert await why(cabinet, 3, address=THERE) == "code"


async def test_who_does_what_is_told_and_a_visit_ends_once() -> None:
    cabinet = Cabinet()
    session = await come(cabinet, 1)
    cabinet.visiting.log.acted(session.visit, "dim_level = 40", device="lamp-1", order="site-1")
    assert cabinet.visiting.here(session, 7_200.0) == 7_200.0
    cabinet.visiting.end(session)
    cabinet.visiting.end(session)
    cabinet.visiting.log.acted(session.visit, "too late")
    assert cabinet.said() == [
        ("M. Dupont", "began", ""),
        ("M. Dupont", "acted", "dim_level = 40"),
        ("M. Dupont", "here", ""),
        ("M. Dupont", "left", LOGGED_OUT),
    ]
    assert (cabinet.told[1].device, cabinet.told[1].order) == ("lamp-1", "site-1")
    assert cabinet.told[2].until_us == NOW_US + 7_200_000_000
    assert cabinet.visiting.session(session.cookie, HERE) is None
    assert [v.act for v in cabinet.visiting.log.said] == ["began", "acted", "here", "left"]
    assert not [k for k in cabinet.kept if k.startswith("visit/open")]


async def test_a_session_ends_by_time_and_so_does_its_visit() -> None:
    cabinet = Cabinet()
    session = await come(cabinet, 1)
    cabinet.passed_s += LASTS_S - 1
    cabinet.visiting.advance()
    assert cabinet.visiting.session(session.cookie, HERE) == session
    cabinet.passed_s += 2
    assert cabinet.visiting.session(session.cookie, HERE) is None
    cabinet.visiting.advance()
    assert cabinet.said()[1:] == [("M. Dupont", "left", OVER)]


async def test_who_says_until_when_is_there_until_then() -> None:
    cabinet = Cabinet()
    session = await come(cabinet, 1)
    assert cabinet.visiting.here(session, 60.0) == LASTS_S, "not for less than the session lasts"
    assert cabinet.visiting.here(session, 1e9) == MAX_HERE_S
    cabinet.passed_s += MAX_HERE_S - 1
    cabinet.visiting.advance()
    assert cabinet.visiting.session(session.cookie, HERE) is None
    assert [v.visit for v in cabinet.visiting.log.standing] == [session.visit]
    cabinet.passed_s += 2
    cabinet.visiting.advance()
    assert cabinet.said()[-1] == ("M. Dupont", "left", OVER)


async def test_two_technicians_at_once_and_each_ends_alone() -> None:
    cabinet = Cabinet()
    one, two = await asyncio.gather(come(cabinet, 2, "Léa"), come(cabinet, 1, "M. Dupont", THERE))
    cabinet.visiting.end(one)
    assert cabinet.visiting.session(two.cookie, THERE) == two
    assert [s.by for s in cabinet.visiting.log.standing] == ["M. Dupont"]


async def test_who_comes_again_ends_what_they_had() -> None:
    cabinet = Cabinet()
    first = await come(cabinet, 1)
    second = await come(cabinet, 2, "m dupont", THERE)
    assert cabinet.visiting.session(first.cookie, HERE) is None
    assert cabinet.visiting.session(second.cookie, THERE) == second
    assert cabinet.said() == [("M. Dupont", "began", ""), ("M. Dupont", "left", AGAIN), ("m dupont", "began", "")]


async def test_one_of_two_who_give_the_same_code_gets_a_session() -> None:
    cabinet = Cabinet()
    found = await asyncio.gather(come(cabinet, 1), come(cabinet, 1), come(cabinet, 1, address=THERE),
                                 return_exceptions=True)  # fmt: skip
    assert sum(isinstance(f, Session) for f in found) == 1
    assert [f.why for f in found if isinstance(f, TurnedAway)] == ["code", "code"]
    assert [v.act for v in cabinet.told] == ["began"]


async def test_no_more_sessions_than_there_is_room_for_and_the_code_stays_good() -> None:
    cabinet = Cabinet()
    held = [await come(cabinet, n + 1, f"t{n}") for n in range(MAX_SESSIONS)]
    assert await why(cabinet, 50) == "full"
    await come(cabinet, 51, "t0")  # who has one may begin another
    cabinet.visiting.end(held[1])
    assert (await come(cabinet, 50)).by == "M. Dupont"


async def test_ten_wrong_codes_then_the_right_one() -> None:
    cabinet = Cabinet()
    seen: list[str] = []
    for n in range(10):
        with pytest.raises(TurnedAway) as caught:
            await cabinet.visiting.begin("M. Dupont", f"{n:08}", f"192.0.2.{n}")
        seen.append(caught.value.why)
    assert seen == ["code"] * 5 + ["too_soon"] * 5, "from whatever address"
    assert cabinet.visiting.wrong == 5
    assert caught.value.retry_s is not None
    cabinet.passed_s += caught.value.retry_s
    assert (await come(cabinet, 1)).by == "M. Dupont"
    assert cabinet.visiting.wrong == 5


@pytest.mark.parametrize(("token", "name", "expected"), [("of-others", "M. Dupont", "no_codes"), (None, "...", "name")])
async def test_no_codes_for_no_token_and_no_name(token: str | None, name: str, expected: str) -> None:
    cabinet = Cabinet() if token is None else Cabinet(token)
    with pytest.raises(TurnedAway) as caught:
        await cabinet.visiting.begin(name, "12345678", HERE)
    assert caught.value.why == expected
    assert cabinet.visiting.wrong == 0


# ---- the card, and the end of a node


async def test_no_session_before_its_code_is_used_on_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visiting, "CARD_S", 0.01)
    cabinet = Cabinet()
    cabinet.hangs = True
    assert await why(cabinet, 1) == "card"
    assert await why(cabinet, 1) == "card", "the same code waits for the same commit"
    assert await why(cabinet, 1, address=THERE) == "code", "and for nobody else"
    assert cabinet.told == []
    cabinet.hangs = False
    cabinet.commit()
    cabinet.passed_s += 10
    assert (await come(cabinet, 1)).by == "M. Dupont"
    assert [v.act for v in cabinet.told] == ["began"]
    assert await why(cabinet, 1) == "code"


async def test_a_node_that_ends_before_the_commit_has_used_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visiting, "CARD_S", 0.01)
    cabinet = Cabinet()
    cabinet.hangs = True
    assert await why(cabinet, 1) == "card"
    cabinet.hangs = False
    cabinet.start()
    assert cabinet.told == []
    assert (await come(cabinet, 1)).by == "M. Dupont"


async def test_a_node_that_ends_after_it_tells_one_visit_whole() -> None:
    cabinet = Cabinet()
    session = await come(cabinet, 1)
    cabinet.start()
    cabinet.start()
    assert cabinet.said() == [("M. Dupont", "began", ""), ("M. Dupont", "left", RESTARTED)]
    assert cabinet.visiting.session(session.cookie, HERE) is None
    assert await why(cabinet, 1) == "code"


async def test_who_has_said_until_when_is_there_also_after_a_restart() -> None:
    cabinet = Cabinet()
    session = await come(cabinet, 1)
    cabinet.visiting.here(session, 7_200.0)
    cabinet.passed_s += 3_600
    cabinet.start()
    assert [(s.by, s.here) for s in cabinet.visiting.log.standing] == [("M. Dupont", True)]
    cabinet.passed_s += 3_601
    cabinet.visiting.advance()
    assert cabinet.said()[-1] == ("M. Dupont", "left", OVER)
    assert len(cabinet.told) == 3


async def test_who_has_said_until_when_is_gone_where_that_has_passed_while_the_node_was_off() -> None:
    cabinet = Cabinet()
    cabinet.visiting.here(await come(cabinet, 1), 7_200.0)
    cabinet.passed_s += 7_201
    cabinet.start()
    assert cabinet.said()[-1] == ("M. Dupont", "left", RESTARTED)


async def test_what_cannot_be_read_of_a_visit_is_taken_away() -> None:
    cabinet = Cabinet()
    cabinet.kept["visit/open/x"] = b"\xc1"
    cabinet.start()
    assert cabinet.visiting.log.standing == []
    assert "visit/open/x" not in cabinet.kept


async def test_visits_are_bounded_and_the_oldest_ends_with_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.visit.log.MAX_VISITS", 3)
    cabinet = Cabinet()
    sessions = [await come(cabinet, n, f"t{n}") for n in range(1, 5)]
    assert [s.by for s in cabinet.visiting.log.standing] == ["t2", "t3", "t4"]
    assert ("t1", "left", MORE) in cabinet.said()
    assert [cabinet.visiting.session(s.cookie, HERE) is not None for s in sessions] == [False, True, True, True]
    for _ in range(MAX_SAID):
        cabinet.visiting.log.acted(sessions[3].visit, "x")
    assert len(cabinet.visiting.log.said) == MAX_SAID


async def test_times_of_a_node_that_does_not_know_the_time_say_so() -> None:
    cabinet = Cabinet()
    cabinet.clock = Clock(9, synced=False)
    await come(cabinet, 1)
    assert cabinet.told[0].boot == 9
