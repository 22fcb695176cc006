"""The alarm about the store says what was missed before it was open, whatever else is wrong, until it was told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.alarms import trouble
from cloud.alarms.trouble import Missed, StoreWatch, stopped
from cloud.store import Store, opened
from groundwork.last_words import LastWords
from support.cloud_batches import Ticking
from wire.time import Utc

FULL = {"en": "the disk of the store is full", "fr": "le disque de l'agrégateur est plein"}


def said(store: Store) -> tuple[str, str, str]:
    """The state, and the words in English and French."""
    alarm = store.alarms.get(trouble.STORE)
    assert alarm is not None
    return alarm.state, alarm.text["en"], alarm.text["fr"]


async def test_what_was_missed_is_told_beside_a_disk_that_is_nearly_full_and_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        monkeypatch.setattr(trouble, "LEAST_FREE_BYTES", 1 << 62)
        missed = Missed(now(), FULL)
        now.tick(60)
        until_us = now()
        kept: list[bool] = []
        watch = StoreWatch(store, missed, lambda: kept.append(True))
        await watch.look(until_us)
        assert kept == [True]
        state, english, french = said(store)
        assert state == "raised"
        since, until = trouble.moment(missed.since_us), trouble.moment(until_us)
        assert english.startswith("the disk of the store is nearly full")
        assert f"; nothing could be taken from {since} to {until}: the disk of the store is full" in english
        assert french.startswith("le disque de l'agrégateur est presque plein")
        assert f" ; rien n'a pu être pris du {since} au {until} : le disque de l'agrégateur est plein" in french

        now.tick(60)
        await watch.look(now())
        assert said(store) == (state, english, french), "it ended when the store was open, not when it is looked at"

        monkeypatch.setattr(trouble, "LEAST_FREE_BYTES", 0)
        await watch.look(now())
        assert said(store)[1].startswith(f"nothing could be taken from {since} to {until}")
        await watch.look(now())
        assert said(store)[0] == "returned"
        assert said(store)[1].startswith("nothing could be taken"), "it stays to be read until it is acknowledged"


def test_what_processes_before_have_left_is_told_beside_what_was_missed_since() -> None:
    words = LastWords(
        time_us=5, late="writer: a transaction has taken 61 s", version="1", python="3", log=("b",), stacks=""
    )
    missed = Missed(Utc(9), FULL)
    assert stopped((), missed) is missed
    both = stopped((words,), missed)
    assert both is not None
    assert both.since_us == 5
    assert both.why["en"].startswith("the disk of the store is full; the aggregator did not go on (writer: a trans")
    assert both.why["fr"].startswith("le disque de l'agrégateur est plein ; l'agrégateur était bloqué (writer:")
    alone = stopped((words,), None)
    assert alone is not None
    assert alone.why["en"].endswith("was started again\nb")
