"""How many examples hypothesis draws where a test needs more than the default."""

from __future__ import annotations

import os

FAST = os.environ.get("HYPOTHESIS_PROFILE") == "fast"
FAST_PART = 10


def many(examples: int) -> int:
    """`max_examples` of a test: with `scripts/test --fast` a tenth, at least 10. The whole suite draws them all."""
    return max(10, examples // FAST_PART) if FAST else examples
