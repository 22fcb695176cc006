"""Tokens in SQLite: shown once, stored as a digest, refused as soon as they are revoked, also by another process."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cloud.sqlite.tokens import CHECK_S, SqliteTokens, tokens_of


class Seconds:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_grants_what_was_made(tmp_path: Path) -> None:
    with tokens_of(tmp_path / "new") as tokens:
        node = tokens.create("node", "cab-1", "", 5)
        reader = tokens.create("reader", None, "control room", 6)
        grant = tokens.grant(node)
        assert grant is not None
        assert (grant.role, grant.node, grant.created_us) == ("node", "cab-1", 5)
        assert [g.name for g in tokens.all()] == ["", "control room"]
        assert len({node, reader}) == 2
        assert (tmp_path / "new" / "tokens.db").stat().st_mode & 0o077 == 0


def test_the_file_holds_no_secret(tmp_path: Path) -> None:
    with tokens_of(tmp_path) as tokens:
        secret = tokens.create("reader", None, "", 1).split("_", 2)[2]
    held = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert secret.encode() not in held


def test_changes_by_another_process_are_seen_in_time(tmp_path: Path) -> None:
    seconds = Seconds()
    server, command = SqliteTokens(tmp_path, seconds), SqliteTokens(tmp_path)
    assert server.grant("lamp_none_none") is None
    token = command.create("reader", None, "", 1)
    grant = server.grant(token)  # made a moment ago: known at once
    assert grant is not None
    assert command.revoke(grant.id, 2)
    assert not command.revoke(grant.id, 3)
    seconds.now_s += CHECK_S
    assert server.grant(token) is None
    assert not server.valid(grant)
    server.close()
    command.close()


def test_a_token_that_has_ended_grants_nothing_and_none_is_made_ended(tmp_path: Path) -> None:
    now_us = 10
    with closing(SqliteTokens(tmp_path, now=lambda: now_us)) as tokens:
        token = tokens.create("reader", None, "", 10, until_us=20)
        assert tokens.grant(token) is not None
        now_us = 20
        assert tokens.grant(token) is None
        with pytest.raises(ValueError, match="has ended already"):
            tokens.create("reader", None, "", 20, until_us=20)


def test_a_file_made_before_tokens_had_ends_is_read(tmp_path: Path) -> None:
    with tokens_of(tmp_path) as tokens:
        token = tokens.create("reader", None, "", 1)
    older = sqlite3.connect(tmp_path / "tokens.db")
    older.execute("ALTER TABLE tokens DROP COLUMN until_us")
    older.close()
    with tokens_of(tmp_path) as tokens:
        grant = tokens.grant(token)
        assert grant is not None
        assert grant.until_us is None
        assert tokens.grant(tokens.create("reader", None, "", 1, until_us=2**60)) is not None


def test_a_file_that_others_could_read_is_told_and_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tokens_of(tmp_path):
        pass
    (tmp_path / "tokens.db").chmod(0o644)
    with tokens_of(tmp_path):
        pass
    with tokens_of(tmp_path):
        pass
    assert caplog.text.count("could be read by others") == 1
    assert (tmp_path / "tokens.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("role", "node"), [("node", None), ("reader", "cab-1")])
def test_only_the_role_node_has_a_node(tmp_path: Path, role: str, node: str | None) -> None:
    with tokens_of(tmp_path) as tokens, pytest.raises(ValueError, match="--node"):
        tokens.create(role, node, "", 1)
