"""Idempotency over HTTP: a request's key, and its answer as it goes out (`cloud.records.keys`)."""

from __future__ import annotations

from hashlib import blake2b

from starlette.responses import Response

from cloud.api.routes import JSON, Asked
from cloud.problem import bad_request
from cloud.records.keys import HEADER, MAX_KEY_CHARS, Answered, Keyed


def keyed(asked: Asked, body: bytes) -> Keyed:
    """The key of a request.

    Raises:
        Problem: it has none, or one that is none.
    """
    given = asked.request.headers.get(HEADER, "").strip()
    if len(given) > 1 and given[0] == given[-1] == '"':  # a Structured Field string, as the draft has it
        given = given[1:-1]
    if not given:
        raise bad_request(
            f"{HEADER} is missing: draw one (a UUID) for each thing to be done, and send it again with it"
        )
    if len(given) > MAX_KEY_CHARS:
        raise bad_request(f"{HEADER} has {len(given)} characters; at most {MAX_KEY_CHARS}")
    assert asked.grant is not None
    url = asked.request.url
    digest = blake2b(f"{asked.request.method} {url.path}?{url.query}\n".encode() + body, digest_size=16).digest()
    return Keyed(f"{asked.grant.id} {given}", digest)


def response(answer: Answered) -> Response:
    """As it goes out."""
    return Response(answer.body, answer.status, {"Cache-Control": "no-store"}, JSON)
