from __future__ import annotations

import random

import pytest

from edge.visit.codes import KEY, Codes
from wire.codes import AHEAD, BEHIND, code, node_secret, person_secret, token_digest

TOKEN = "lamp_0123456789_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
OTHER = "lamp_0123456789_" + "B" * 42 + "A"


def given(counter: int, name: str = "M. Dupont", token: str = TOKEN) -> str:
    digest = token_digest(token)
    assert digest is not None
    return code(person_secret(node_secret(digest), name), counter)


class Card:
    """A node's card, and the codes of the node that has it."""

    def __init__(self, token: str = TOKEN) -> None:
        self.kept: dict[str, bytes] = {}
        self.codes = Codes(token, self.kept)

    def restart(self, token: str = TOKEN) -> None:
        self.codes = Codes(token, self.kept)

    def use(self, counter: int, name: str = "M. Dupont") -> bool:
        found = self.codes.find(name, given(counter, name))
        if found is not None:
            assert found == counter
            self.kept.update({k: v for k, v in self.codes.using(found).items() if v is not None})
        return found is not None


def test_a_code_is_good_once_also_after_a_restart() -> None:
    card = Card()
    assert card.use(1)
    assert not card.use(1)
    card.restart()
    assert not card.use(1)
    assert card.use(2)


def test_codes_are_used_in_whatever_order_their_technicians_come() -> None:
    card = Card()
    assert card.use(6, "Léa")
    card.restart()
    assert card.use(5, "M. Dupont")
    assert not card.use(5, "M. Dupont")
    assert not card.use(6, "Léa")


def test_a_code_is_for_one_name_and_one_node() -> None:
    card = Card()
    assert card.codes.find("Léa", given(1)) is None
    assert card.codes.find("m dupont", given(1)) == 1
    assert card.codes.find("M. Dupont", given(1, token=OTHER)) is None


def test_how_far_ahead_and_behind() -> None:
    card = Card()
    assert not card.use(AHEAD + 1)
    assert card.use(AHEAD)
    assert card.use(AHEAD - BEHIND)
    assert not card.use(AHEAD - BEHIND - 1)
    assert not card.use(2 * AHEAD + 1)


@pytest.mark.parametrize("text", ["", "1234567", "123456789", "abcdefgh", "١٢٣٤٥٦٧٨", "12345678\x00"])
def test_what_is_no_code(text: str) -> None:
    assert Card().codes.find("M. Dupont", text) is None


def test_spaces_in_a_code_do_not_count() -> None:
    digits = given(1)
    assert Card().codes.find("M. Dupont", f" {digits[:4]} {digits[4:]}\n") == 1


def test_a_new_token_begins_anew_and_ends_the_codes_of_the_old_one() -> None:
    card = Card()
    assert card.use(50)
    card.restart(OTHER)
    assert card.codes.find("M. Dupont", given(51)) is None
    assert card.codes.find("M. Dupont", given(1, token=OTHER)) == 1


def test_a_node_without_a_token_of_ours_has_no_codes() -> None:
    codes = Codes("of another make", {})
    assert not codes.possible
    assert codes.find("M. Dupont", given(1)) is None


def test_what_cannot_be_read_does_not_stop_a_node() -> None:
    assert Codes(TOKEN, {KEY: b"\xc1"}).find("M. Dupont", given(1)) == 1


@pytest.mark.parametrize("seed", range(3))
def test_against_a_set_of_all_that_was_used(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.visit.codes.code", lambda _, n: f"{n:08}")  # HOTP itself is tried above
    rng, card, used, top = random.Random(seed), Card(), set[int](), 0
    for _ in range(200):
        counter = max(1, top + rng.randint(-BEHIND - 5, 5 if rng.random() < 0.9 else AHEAD + 5))
        wanted = counter not in used and top - BEHIND <= counter <= top + AHEAD
        found = card.codes.find("M. Dupont", f"{counter:08}")
        assert (found == counter) == wanted
        if found is not None:
            card.kept.update({k: v for k, v in card.codes.using(found).items() if v is not None})
            used.add(found)
            top = max(used)
        if rng.random() < 0.1:
            card.restart()
    assert len(used) > 50
    assert all(card.codes.find("M. Dupont", f"{n:08}") is None for n in used)
