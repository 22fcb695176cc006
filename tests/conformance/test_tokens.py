"""One suite for every store of tokens: what each allows, until it is revoked or has ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloud.memory.tokens import MemoryTokens
from cloud.records.tokens import Grant, Tokens
from cloud.sqlite.tokens import SqliteTokens
from support.cloud_batches import START_US, Ticking
from support.cloud_records import KINDS
from wire.codes import token_digest


@pytest.fixture
def now() -> Ticking:
    return Ticking()


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path: Path, now: Ticking) -> Iterator[MemoryTokens | SqliteTokens]:
    """How they are made is each one's own; what they answer is the contract's."""
    if request.param == "memory":
        yield MemoryTokens(now)
    else:
        with closing(SqliteTokens(tmp_path, now=now)) as tokens:
            yield tokens


@pytest.fixture
def tokens(made: MemoryTokens | SqliteTokens) -> Tokens:
    return made


def looked(tokens: Tokens, token: str) -> Grant:
    grant = tokens.look(token)
    assert grant is not None
    return grant


def test_a_token_is_known_by_all_of_it(made: MemoryTokens | SqliteTokens, tokens: Tokens) -> None:
    node, admin = made.create("node", "cab-1", "", 5), made.create("admin", None, "room", 6)
    grant = looked(tokens, node)
    assert grant == Grant(id=grant.id, role="node", node="cab-1", name="", created_us=5, revoked_us=None)
    assert (looked(tokens, admin).role, looked(tokens, admin).name) == ("admin", "room")
    assert tokens.valid(grant)
    prefix, token_id, secret = node.split("_", 2)
    other = admin.split("_", 2)
    for wrong in (
        "",
        prefix,
        f"{prefix}_{token_id}",
        f"{prefix}_{token_id}_",
        f"{prefix}_{token_id}_{secret[:-1]}",
        f"{prefix}_{token_id}_{other[2]}",
        f"{prefix}_{other[1]}_{secret}",
        f"pump_{token_id}_{secret}",
        f"{node}{'A' * 100}",
        f"{prefix}_{token_id}_é",
        f"{prefix}_none_{secret}",
    ):
        assert tokens.look(wrong) is None, wrong


def test_what_was_revoked_is_looked_at_and_not_valid(made: MemoryTokens | SqliteTokens, tokens: Tokens) -> None:
    token, other = made.create("reader", None, "", 1), made.create("reader", None, "", 1)
    before = looked(tokens, token)
    assert made.revoke(before.id, 2)
    assert looked(tokens, token).revoked_us == 2, "it is told why"
    assert not tokens.valid(before), "also by what was granted before"
    assert tokens.valid(looked(tokens, other))
    assert not tokens.valid(Grant(id="none", role="admin", node=None, name="", created_us=1, revoked_us=None))


def test_a_token_ends_when_it_was_said_to(made: MemoryTokens | SqliteTokens, tokens: Tokens, now: Ticking) -> None:
    token = made.create("reader", None, "", START_US, until_us=START_US + 2_000_000)
    grant = looked(tokens, token)
    assert grant.until_us == START_US + 2_000_000
    now.tick(1)
    assert tokens.valid(grant)
    now.tick(1)
    assert not tokens.valid(grant)
    assert looked(tokens, token) == grant


def test_a_node_is_stripped_when_none_of_its_tokens_is_left(
    made: MemoryTokens | SqliteTokens, tokens: Tokens, now: Ticking
) -> None:
    names = [looked(tokens, made.create("node", "cab-1", "", 1)).id for _ in range(2)]
    made.create("node", "cab-2", "", START_US, until_us=START_US + 1)
    assert made.revoke(looked(tokens, made.create("reader", None, "", 1)).id, 2)
    now.tick(1)
    assert tokens.stripped() == frozenset(), "nor by a token that has ended"
    for name, stripped in zip(names, (set[str](), {"cab-1"}), strict=True):
        made.revoke(name, 2)
        assert tokens.stripped() == stripped
    made.create("node", "cab-1", "", 3)
    assert tokens.stripped() == frozenset()


def test_a_node_s_tokens_come_the_newest_first_with_what_they_are_checked_by(
    made: MemoryTokens | SqliteTokens, tokens: Tokens
) -> None:
    ids = [looked(tokens, made.create("node", "cab-1", "", at)).id for at in (1, 3, 2)]
    made.create("node", "cab-2", "", 4)
    assert made.revoke(ids[1], 5)
    held = tokens.of_node("cab-1")
    assert [grant.id for grant, _ in held] == [ids[1], ids[2], ids[0]]
    assert held[0][0].revoked_us == 5
    assert len({digest for _, digest in held}) == 3
    assert tokens.of_node("cab-9") == []


def test_both_ends_work_out_the_same_from_a_token(tmp_path: Path) -> None:
    with closing(SqliteTokens(tmp_path)) as tokens:
        token = tokens.create("node", "cab-1", "", 1)
        assert [digest for _, digest in tokens.of_node("cab-1")] == [token_digest(token)]
