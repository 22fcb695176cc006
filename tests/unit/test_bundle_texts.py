"""A bundle's text is TOML at both ends or at none: what the aggregator takes, no node refuses as unreadable."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.orders.orders import unreadable
from edge.acting.bundles import Bundles, Ground
from edge.config import SiteTable
from edge.control.order_contract import Declined
from groundwork.toml_text import MAX_DEPTH, MAX_KEY_CHARS, MAX_PARTS
from wire.device import Roster
from wire.orders import MAX_BUNDLE_BYTES, Bundle

NODE = Bundles(
    Ground(site=SiteTable(lon=5.041, lat=47.322, time_zone="Europe/Paris"), roster=Roster(profiles={}, devices=()))
)
PIECES = ["a", "b.c", "=", "\n", "[", "]", "[[", "{", "}", ",", '"', "'", '"""', "\\", "#", "1", "\0", "\\u0000", "é"]
PIECES += [".".join("a" * n) for n in (MAX_PARTS, MAX_PARTS + 1)] + [
    "k" * n for n in (MAX_KEY_CHARS, MAX_KEY_CHARS + 1)
]
PIECES += ["[" * n + "]" * n for n in (MAX_DEPTH, MAX_DEPTH + 1)] + [
    "0x" + "f" * 16,
    "0x" + "f" * 17,
    "\ufeff",
    "\ud800",
]
KINDS: tuple[Literal["plan", "rules"], ...] = ("plan", "rules")


def refused(kind: Literal["plan", "rules"], text: str) -> str | None:
    """What the node says of the whole text, beside what it says of keys."""
    bundle = Bundle(id="b", by="m", issued_us=0, expires_us=9, kind=kind, version="7", text=text)
    try:
        NODE.plan_of(bundle) if kind == "plan" else NODE.rules_of(bundle)
    except Declined as declined:
        return str(declined)
    return None


def check(kind: Literal["plan", "rules"], text: str) -> str | None:
    above, here = unreadable(text), refused(kind, text)
    if above is not None:
        assert here == f"{kind} 7: {above}"
    elif here is not None:  # its words are read, and told by key
        assert "is not TOML" not in here
        assert "larger than" not in here
    return above


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(deadline=None)
def test_both_ends_read_the_same_texts_and_say_the_same_of_the_others(
    kind: Literal["plan", "rules"], text: str
) -> None:
    check(kind, text)
    check(kind, f"a = {text}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("letter", ["x", "é"])
def test_both_ends_read_as_many_bytes(kind: Literal["plan", "rules"], letter: str) -> None:
    most = "#" + letter * ((MAX_BUNDLE_BYTES - 2) // len(letter.encode()))
    assert check(kind, most) is None
    assert f"larger than {MAX_BUNDLE_BYTES} bytes" in (check(kind, most + 3 * letter) or "")
