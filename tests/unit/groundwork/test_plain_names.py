"""Which names look like what they are."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.plain_names import why_not_plain


@pytest.mark.parametrize("name", ["", "lamp-0341", "Quai n° 3", "Léa", "مصباح", "灯-7", "a b"])
def test_what_is_plain(name: str) -> None:
    assert why_not_plain(name) is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lamp\n1", "U+000A at character 5"),
        ("\x1b[2J", "U+001B at character 1"),
        ("Léa\x85", "U+0085 at character 4, which cannot be seen"),
        ("lamp\u202e1", "U+202E at character 5, which turns the direction"),
        ("a\u2066b", "U+2066"),
        ("la\u200bmp", "U+200B"),
        ("a\u2028b", "U+2028"),
        (" lamp", "begins or ends with a space"),
        ("lamp\u00a0", "begins or ends with a space"),
        ("Le\u0301a", "write 'Léa', with 3 characters"),
    ],
)
def test_what_is_not_is_told_with_what_is_right(name: str, told: str) -> None:
    why = why_not_plain(name)
    assert why is not None
    assert told in why


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_what_is_plain_stays_so_in_every_part_of_unicode(name: str) -> None:
    if why_not_plain(name) is None:
        assert unicodedata.normalize("NFC", name) == name == name.strip()
        assert not any(unicodedata.category(c) in {"Cc", "Zl", "Zp"} for c in name)
        assert not any(unicodedata.bidirectional(c) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI"} for c in name)
