"""The pages on a bad day, on a phone: each trouble is said in plain words of both languages, with what to do about it,
and nothing on the page is cut off or too small. The nodes are real, their cards prepared."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from edge.web.home import ROWS
from support.full_card import LIMIT_BYTES, damage, of_a_day
from support.node_process import COUNTERS, NodeProcess, wait_for
from support.phone import log_in, looking, plain, usable, words
from support.visits import TOKEN

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

# Not imported: it changes what it imports.
TIMELESS = [sys.executable, Path(__file__).parents[1] / "support" / "timeless_node.py"]
MANY = 400
WIDE = 285_000  # a quarter of an hour's: a day of it fills more than eight tenths of LIMIT_BYTES


def many(n: int) -> str:
    """So many devices, each polled once a second."""
    lines = "".join(f'[[line]]\nname = "l{i}"\nprotocol = "fake"\n' for i in range(6))
    device = '[[device]]\nid = "c-{i:03}"\nprofile = "counter"\nline = "l{line}"\naddress = {{}}\npoll_s = 1\n'
    return lines + "".join(device.format(i=i, line=i % 6) for i in range(n))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, NodeProcess]]:
    """One for each of the days below, started beside each other."""
    where = Path(tmp_path_factory.mktemp("troubles"))
    of_a_day(where / "full" / "data", "c-1", wide=WIDE)
    of_a_day(where / "damaged" / "data", "c-1", wide=4_000)
    damage(where / "damaged" / "data")
    found = {
        "full": NodeProcess(where / "full", COUNTERS, limit_bytes=LIMIT_BYTES),
        "damaged": NodeProcess(where / "damaged", COUNTERS, trusted=False, token=TOKEN, command=TIMELESS),
        "loaded": NodeProcess(where / "loaded", many(MANY)),
    }
    try:
        for node in found.values():
            wait_for(lambda node=node: node.health()["counters"]["samples_committed"] > 3, "it keeps readings", 60)
        yield found
    finally:
        for node in found.values():
            node.actor.kill()


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "fr",
            (
                "La file vers la ville est pleine à",
                "modem, antenne, carte SIM",
                "le plus ancien : 24 h",
                "Pas de liaison depuis le démarrage, il y a",
            ),
        ),
        (
            "en",
            ("The queue to the city is", "modem, antenna, SIM card", "oldest 24 h", "Not connected since the start"),
        ),
    ],
)
def test_a_card_nearly_full_after_a_day_without_the_city(
    chromium: Browser, nodes: Mapping[str, NodeProcess], language: str, said: tuple[str, ...]
) -> None:
    with looking(chromium, nodes["full"].ready(), language=language) as page:
        page.goto("/")
        text = words(page.locator("main").inner_text())
        assert [s for s in said if s not in text] == []
        assert page.locator(".way.broken").count() == 1
        usable(page)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "fr",
            (
                "La carte mémoire est défaillante",
                "Ce qui se lisait encore est sauvé",
                "L’horloge de l’armoire n’est pas à l’heure",
            ),
        ),
        ("en", ("The memory card is failing", "What could be read of it is saved", "The cabinet's clock is not set")),
    ],
)
def test_a_damaged_card_and_a_clock_that_nobody_has_set(
    chromium: Browser, nodes: Mapping[str, NodeProcess], language: str, said: tuple[str, ...]
) -> None:
    with looking(chromium, nodes["damaged"].ready(), language=language) as page:
        page.goto("/")
        text = words(page.locator("main").inner_text())
        assert [s for s in said if s not in text] == []
        usable(page)


def test_who_guesses_is_told_when_to_try_again(chromium: Browser, nodes: Mapping[str, NodeProcess]) -> None:
    """Ten wrong codes; the last of them on a page."""
    url = nodes["damaged"].ready().removesuffix("/health")
    given = {"name": "Jeanne Martin", "code": "00000000"}
    seen = [httpx.post(f"{url}/session", json=given).status_code for _ in range(7)]
    assert seen[0] == 401
    assert set(seen) <= {401, 429}
    with looking(chromium, url) as page:
        page.goto("/devices/c-1")
        late: list[str] = []
        for n in range(3):
            log_in(page, "Jeanne Martin", f"{n:08}")
            said = plain(page, ".message")
            assert "Ce code est faux" in said or "Trop de codes faux" in said
            late += [said] if "Trop" in said else []
        assert late
        assert all(re.search(r"Réessayez dans \d+:\d\d\.", h) for h in late)
        usable(page)
        assert page.input_value("input[name=name]") == "Jeanne Martin", "nobody writes it twice with gloves on"
        while page.locator(".message .left").count() == 0:
            log_in(page, "Jeanne Martin", "00000000")
        expect(page.locator(".message")).to_be_hidden(timeout=60_000)  # counted down, and gone with what was said


def test_a_node_with_all_hands_full_answers_all_the_same(chromium: Browser, nodes: Mapping[str, NodeProcess]) -> None:
    node = nodes["loaded"]
    before = node.health()["counters"]
    for language, total in (("fr", f"{MANY} appareils"), ("en", f"{MANY} devices")):
        with looking(chromium, node.ready(), language=language) as page:
            page.goto("/")
            assert page.locator(".row").count() == ROWS
            assert plain(page, "#devices") == total
            page.locator(".pages a[href*=page]").last.click()
            page.wait_for_url(f"**page={ceil(MANY / ROWS)}**")
            page.locator(".row").last.click()
            page.wait_for_url("**/devices/c-*")
            assert plain(page, ".value") != "–"
            usable(page)
    after = node.health()["counters"]
    assert after["polls"] > before["polls"]
    assert after["polls_missed"] == before["polls_missed"], "who looks takes no poll"
