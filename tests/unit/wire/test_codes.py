from __future__ import annotations

import hashlib

import pytest

from wire.codes import DIGITS, MAX_NAME_CHARS, code, node_secret, person_secret, spelled, token_digest

SECRET = bytes(range(32))
TOKEN = "lamp_0123456789_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def test_codes_are_frozen_for_nodes_that_are_not_updated_for_years() -> None:
    """Worked out with openssl's HMAC and nothing of ours."""
    node = node_secret(hashlib.sha256(SECRET).digest())
    assert node.hex() == "d3d8eaf34365736b3c1b7fe5e07315d56b055096218173b5741eb24e7820b9d6"
    person = person_secret(node, "M. Dupont")
    assert [code(person, n) for n in (1, 2, 2**40)] == ["01205488", "05146479", "74066231"]


def test_codes_are_those_of_rfc_4226_to_eight_digits() -> None:
    """Appendix D: its truncated values of counters 0 to 4, modulo 10^8."""
    values = [1284755224, 1094287082, 137359152, 1726969429, 1640338314]
    assert [code(b"12345678901234567890", n) for n in range(5)] == [f"{v % 10**DIGITS:08}" for v in values]


def test_what_the_aggregator_keeps_of_a_token_is_worked_out_from_it() -> None:
    assert token_digest(TOKEN) == hashlib.sha256(SECRET).digest()


@pytest.mark.parametrize("token", ["", "x", "lamp_1_short", TOKEN + "A", "other_0123456789_" + "A" * 43])
def test_a_token_of_another_kind_has_none(token: str) -> None:
    assert token_digest(token) is None


@pytest.mark.parametrize("name", ["m dupont", "M.DUPONT", " m.  dupont ", "M. Dupónt", "\uff2d \uff24upont"])
def test_names_are_the_same_however_they_are_typed(name: str) -> None:
    assert spelled(name) == spelled("M. Dupont")


@pytest.mark.parametrize("name", ["", " .-", "a\nb", "a\u202eb", "x" * (MAX_NAME_CHARS + 1)])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        spelled(name)
