"""The bounds of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.outbox.database import MIN_LIMIT_BYTES, PAGE_BYTES, WAL_PAGES
from support.outbox import box


def test_a_cap_that_is_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(MIN_LIMIT_BYTES)):
        box(tmp_path, limit_bytes=MIN_LIMIT_BYTES - 1)
    assert 2 * WAL_PAGES * PAGE_BYTES <= MIN_LIMIT_BYTES
