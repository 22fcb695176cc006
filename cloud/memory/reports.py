"""Alarms, results and the targets of orders, found by going over all that was said: for `cloud.memory.views`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cloud.views.contract import AlarmsAsked
from wire.entries import Alarm, Entry, Result


def alarms_in(
    said: Mapping[str, Iterable[Entry]], asked: AlarmsAsked
) -> tuple[list[tuple[str, Alarm]], tuple[str, str] | None]:
    """A page of alarms from what each node has reported, and the cursor of the next page."""
    found: list[tuple[str, Alarm]] = []
    for node in sorted(said):
        last = {e.id: e for e in said[node] if isinstance(e, Alarm)}
        for name in sorted(last):
            wanted = asked.node in {None, node} and asked.id in {None, name} and (node, name) > asked.after
            if wanted and asked.takes(last[name]):
                found.append((node, last[name]))
    page = found[: asked.limit]
    more = len(found) > asked.limit
    return page, (page[-1][0], page[-1][1].id) if more else None


def results_in(
    said: Iterable[tuple[tuple[int, int], str, Entry]], orders: Sequence[str]
) -> dict[str, list[tuple[str, Result]]]:
    """The stages of orders from what was reported at which (position, seq), by which node."""
    firsts: dict[tuple[str, str, str], tuple[tuple[int, int], Result]] = {}
    for at, node, entry in said:
        if isinstance(entry, Result) and entry.order in orders:
            key = (entry.order, node, entry.stage)
            if key not in firsts or at < firsts[key][0]:
                firsts[key] = (at, entry)
    found: dict[str, list[tuple[str, Result]]] = {}
    for (order, node, _), (_, result) in sorted(firsts.items(), key=lambda f: f[1][0]):
        found.setdefault(order, []).append((node, result))
    return found
