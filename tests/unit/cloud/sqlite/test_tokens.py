"""Tokens in SQLite: shown once, stored as a digest, refused as soon as they are revoked, also by another process."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from cloud.app import application
from cloud.cli import main
from cloud.log.contract import Unavailable
from cloud.metrics import Metrics
from cloud.sqlite.errors import FULL_BYTES, may_pass, why
from cloud.sqlite.tokens import CHECK_S, TOKENS, SqliteTokens, tokens_of
from cloud.store import opened
from support.cloud_batches import Ticking


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


def test_while_another_program_holds_the_file_what_was_known_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = Seconds()
    with closing(SqliteTokens(tmp_path, seconds)) as server, closing(SqliteTokens(tmp_path, seconds)) as fresh:
        token = server.create("node", "cab-1", "", 1)
        grant = server.grant(token)
        assert grant is not None
        with closing(sqlite3.connect(tmp_path / TOKENS, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            seconds.now_s += CHECK_S
            for _ in range(20):
                assert server.grant(token) == grant
                assert server.valid(grant)
                assert server.stripped() == frozenset()
                with pytest.raises(Unavailable, match=TOKENS):
                    server.grant("lamp_none_none")
            assert len(caplog.records) == 1, "it is asked once in CHECK_S, for each time all else waits"
            with pytest.raises(Unavailable, match="locked"):
                fresh.grant(token)  # which has known nothing yet
            with pytest.raises(Unavailable) as held:
                SqliteTokens(tmp_path)
            passing = may_pass(held.value)
            assert passing is not None
            assert "another program holds" in why(passing, 2 * FULL_BYTES)["en"]
        seconds.now_s += CHECK_S
        assert server.grant("lamp_none_none") is None
        assert server.revoke(grant.id, 2)
        assert server.stripped() == {"cab-1"}
        assert fresh.grant(token) is None


def test_a_damaged_file_is_told_as_what_it_is_and_no_rebuild_is_promised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tokens_of(tmp_path) as tokens:
        tokens.create("reader", None, "", 1)
    (tmp_path / TOKENS).write_bytes(b"\x00garbled" * 1_000)
    with pytest.raises(Unavailable) as found:
        SqliteTokens(tmp_path)
    passing = may_pass(found.value)
    assert passing is not None, "it waits: whoever moves it away need not start it anew"
    words = why(passing, 2 * FULL_BYTES)
    assert all("tokens.db" in text and "rebuild" not in text for text in words.values())
    assert "est endommagé" in words["fr"]
    assert main(["token", "list", "--data", str(tmp_path)]) == 1
    assert str(tmp_path / TOKENS) in capsys.readouterr().err
    (tmp_path / TOKENS).unlink()
    with tokens_of(tmp_path) as tokens:
        assert tokens.all() == []


async def test_one_that_is_damaged_meanwhile_is_no_fault_of_ours_and_no_end(tmp_path: Path) -> None:
    seconds = Seconds()
    now = Ticking()
    async with opened(tmp_path, now) as store:
        with closing(SqliteTokens(tmp_path, seconds)) as tokens:
            app = application(store, tokens, Metrics(), now)
            headers = {"Authorization": f"Bearer {tokens.create('reader', None, '', 1)}"}
            transport = httpx.ASGITransport(app=app.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
                assert (await client.get("/v1/nodes")).status_code == 200
                (tmp_path / TOKENS).write_bytes(b"\x00garbled" * 1_000)
                seconds.now_s += CHECK_S
                for _ in range(2):  # also between two looks
                    answer = await client.get("/v1/nodes")
                    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
                with pytest.raises(Unavailable, match=TOKENS):
                    await app.conditions()
