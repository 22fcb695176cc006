"""Cursors: what a reader has had decides where it goes on, and when it must be told of a hole."""

from __future__ import annotations

import pytest

from cloud.log.contract import Reach
from cloud.log.cursor import Cursor, Origins, RankPlace, Start, parse, start

ORIGINS = Origins(generation=50, previous=40, shared_through=7)


def ahead(late: int, live: int, urgent: int, generation: int = 50) -> Cursor:
    return Cursor(generation, late, ahead=(RankPlace(live), RankPlace(urgent)))


@pytest.mark.parametrize("text", ["50.3", "50.3.0", "50.3.12", "50.3-3-4", "50.3.1-7_2-9", "50.3-3_1-3_4"])
def test_round_trip(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2.3.4",
        "a.1",
        "1.-1",
        "1.",
        "1.2 ",
        "٣.1",
        "1." + "9" * 20,
        "1.9223372036854775808",
        "9223372036854775808.1",
        "50.3-4-5_9223372036854775808",
        "50.3-4",
        "50.3-4-5-6",
        "50.3-2-9",
        "50.3-9-4",
        "50.3-4.1-5",
        "50.3-4_1_1-5",
        "50.3--5",
        "50-4-5",
        "-1-2",
    ],
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        parse(text)


@pytest.mark.parametrize(
    ("cursor", "reach", "expected"),
    [
        (Cursor(50, 9), Reach(0, 10), Start(9)),
        (Cursor(50, 10), Reach(0, 10), Start(10)),
        (Cursor(50, 9, 3), Reach(0, 10), Start(8, 4)),
        (Cursor(50, 0), Reach(0, 0), Start(0)),
        (Cursor(50, 11), Reach(2, 10), Start(2, reset="unknown")),
        (Cursor(50, 5), Reach(5, 10), Start(5)),
        (Cursor(50, 4), Reach(5, 10), Start(5, reset="expired")),
        (Cursor(50, 5, 1), Reach(5, 10), Start(5, reset="expired")),
        (ahead(2, 4, 9), Reach(0, 10), Start(2, ahead=(RankPlace(4), RankPlace(9)))),
        (ahead(2, 4, 11), Reach(1, 10), Start(1, reset="unknown")),
        (ahead(2, 4, 9), Reach(6, 10), Start(6, reset="expired", ahead=(RankPlace(6), RankPlace(9)))),
        (ahead(2, 4, 9, 40), Reach(0, 10), Start(2, reset="generation", ahead=(RankPlace(4), RankPlace(7)))),
        (ahead(2, 4, 9, 30), Reach(1, 10), Start(1, reset="generation", ahead=(RankPlace(1), RankPlace(1)))),
        (Cursor(40, 3), Reach(0, 10), Start(3, reset="generation")),
        (Cursor(40, 9), Reach(0, 10), Start(7, reset="generation")),
        (Cursor(40, 3), Reach(5, 10), Start(5, reset="generation")),
        (Cursor(30, 3), Reach(0, 10), Start(0, reset="generation")),
        (Cursor(60, 3), Reach(0, 10), Start(0, reset="generation")),
    ],
)
def test_where_a_reader_goes_on(cursor: Cursor, reach: Reach, expected: Start) -> None:
    assert start(cursor, ORIGINS, reach) == expected
