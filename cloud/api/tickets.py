"""A ticket over HTTP: asked for with a token, brought to the feed by who can send no header."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from cloud.api.routes import READERS, Answer, Asked, Route, json_response
from cloud.entrance.tickets import Tickets
from cloud.times import text


class TicketMade(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket; `until` is the end of the time within which it opens a stream."""

    ticket: str
    until: str


class TicketOffice:
    """The route."""

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets

    def routes(self) -> list[Route]:
        """The rows of the table."""
        return [
            Route(
                method="POST",
                path="/v1/tickets",
                name="make_ticket",
                summary="A ticket with which a browser's EventSource opens the feed once, as `?ticket=`.",
                roles=READERS,
                handler=self._make,
                answers={201: Answer(what="The ticket.", body=TicketMade)},
                scoped=True,
            )
        ]

    async def _make(self, asked: Asked) -> Response:
        ticket, until_us = self._tickets.make(asked.token)
        return json_response(TicketMade(ticket=ticket, until=text(until_us)), 201)
