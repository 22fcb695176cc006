"""Technicians at a cabinet whose clock and card stand still until they are told otherwise: for unit tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count

from edge.visit.guesses import Guesses
from edge.visit.visiting import Visiting
from wire.codes import code, node_secret, person_secret, token_digest
from wire.entries import Entry, Visit
from wire.sample import Clock

TOKEN = "lamp_0123456789_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
NOW_US = 1_795_000_000_000_000


def code_for(name: str, counter: int, token: str = TOKEN) -> str:
    """As the aggregator makes it."""
    digest = token_digest(token)
    assert digest is not None
    return code(person_secret(node_secret(digest), name), counter)


class Cabinet:
    """What is durable, and a node on it that can be started again."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token
        self.told: list[Visit] = []  # durable
        self.kept: dict[str, bytes] = {}
        self.clock = Clock(7, synced=True)
        self.passed_s = 0.0
        self.hangs = False
        self._waiting: list[tuple[tuple[Entry, ...], Mapping[str, bytes | None], asyncio.Future[None]]] = []
        self._numbers = count()
        self.visiting = self.start()

    def start(self) -> Visiting:
        """A node begins; what was not durable is gone, and so is its memory."""
        self._waiting.clear()
        self.visiting = Visiting(
            token=self.token,
            kept=dict(self.kept),
            now=lambda: (NOW_US + round(self.passed_s * 1e6), self.clock),
            put=self.insist,
            insist=self.insist,
            draw_id=lambda: f"v{next(self._numbers)}",
            monotonic=lambda: self.passed_s,
            guesses=Guesses(lambda: self.passed_s, self._sleep),
        )
        return self.visiting

    def insist(self, *entries: Entry, kept: Mapping[str, bytes | None]) -> asyncio.Future[None]:
        """As `edge.outbox.group_commit` does."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, kept, done))
        if not self.hangs:
            self.commit()
        return done

    def commit(self) -> None:
        """All that waits becomes durable at once."""
        waiting, self._waiting = self._waiting, []
        for entries, kept, done in waiting:
            self.told += [e for e in entries if isinstance(e, Visit)]
            for key, body in kept.items():
                if body is None:
                    self.kept.pop(key, None)
                else:
                    self.kept[key] = body
            done.set_result(None)

    async def _sleep(self, seconds: float) -> None:
        self.passed_s += seconds

    def said(self) -> list[tuple[str, str, str]]:
        """Who did what, and the detail."""
        return [(v.by, v.act, v.detail) for v in self.told]
