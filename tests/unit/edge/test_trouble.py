"""Troubles as data: each code has its text, and health's reasons are made of them."""

from __future__ import annotations

import re
from typing import get_args

from edge.health import MAX_CAUSES, told
from edge.trouble import FAILED, TEXTS, Code, Trouble


def test_every_code_has_a_text_whose_parts_are_known() -> None:
    assert set(get_args(Code)) == TEXTS.keys() >= FAILED
    for code, text in TEXTS.items():
        parts = set(re.findall(r"\{(\w+)", text)) - {"why", "_why", "device", "line"}
        told = Trouble(code=code, why="w", device="d", line="l", numbers=dict.fromkeys(parts, 7.0)).text
        assert "{" not in told


def test_of_many_silent_devices_some_causes_are_told_and_the_rest_counted() -> None:
    silent = [Trouble(code="silent", device=f"lamp-{n}", why="no answer") for n in range(MAX_CAUSES + 3)]
    mute = [Trouble(code="silent", device="x")]
    texts = [t.text for t in told([*silent, *mute, Trouble(code="insecure")])]
    assert len(texts) == MAX_CAUSES + 2
    assert texts[0] == "device lamp-0: no answer"
    assert texts[-2] == "3 more devices like these"
