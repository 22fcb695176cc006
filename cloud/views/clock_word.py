"""Clock word: how a time came about, where a time is told."""

from __future__ import annotations

from typing import Literal

ClockWord = Literal["synced", "estimated", "corrected", "ahead"]
