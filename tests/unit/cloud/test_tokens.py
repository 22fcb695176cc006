"""Tokens: shown once, stored as a digest, refused as soon as they are revoked."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.tokens import CHECK_S, Tokens, tokens_of


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


def test_refuses_whatever_else_is_given(tmp_path: Path) -> None:
    with tokens_of(tmp_path) as tokens:
        token = tokens.create("reader", None, "", 1)
        prefix, token_id, secret = token.split("_", 2)
        other = tokens.create("admin", None, "", 1).split("_", 2)
        for wrong in (
            "",
            "lamp",
            f"{prefix}_{token_id}",
            f"{prefix}_{token_id}_",
            f"{prefix}_{token_id}_{secret[:-1]}",
            f"{prefix}_{token_id}_{other[2]}",
            f"{prefix}_{other[1]}_{secret}",
            f"pump_{token_id}_{secret}",
            f"{token}{'A' * 100}",
            f"{prefix}_{token_id}_é",
        ):
            assert tokens.grant(wrong) is None, wrong


def test_the_file_holds_no_secret(tmp_path: Path) -> None:
    with tokens_of(tmp_path) as tokens:
        secret = tokens.create("reader", None, "", 1).split("_", 2)[2]
    held = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert secret.encode() not in held


def test_changes_by_another_process_are_seen_in_time(tmp_path: Path) -> None:
    seconds = Seconds()
    server, command = Tokens(tmp_path, seconds), Tokens(tmp_path)
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


@pytest.mark.parametrize(("role", "node"), [("node", None), ("reader", "cab-1")])
def test_only_the_role_node_has_a_node(tmp_path: Path, role: str, node: str | None) -> None:
    with tokens_of(tmp_path) as tokens, pytest.raises(ValueError, match="--node"):
        tokens.create(role, node, "", 1)
