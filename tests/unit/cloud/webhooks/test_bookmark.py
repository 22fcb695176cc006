"""A bookmark is read as it was kept; one that is damaged says what to do."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cloud.webhooks.bookmark import Bookmark, read


def test_what_was_kept_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    assert read(path) is None
    path.write_bytes(msgspec.json.encode(Bookmark("7.41.3", "https://hooks.example.org/")))
    assert read(path) == Bookmark("7.41.3", "https://hooks.example.org/")


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"cursor": 1}', b'{"cursor": "1.2", "url": "x"' + b" " * 5_000 + b"}"]
)
def test_what_is_damaged_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged; delete it"):
        read(path)
