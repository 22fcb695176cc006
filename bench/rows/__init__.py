"""The rows of the benchmark. Each module has WHAT, a line that says what it measures, and

    def run(stand: Stand) -> Iterator[Figure]

which yields a figure as soon as it has it. A figure whose peer is absent says so in its note; one whose input is not
found again in the store is not yielded: BenchError is raised instead.
"""

from __future__ import annotations

NAMES = (
    "wire",
    "card",
    "mqtt",
    "modbus",
    "rule",
    "order",
    "ingest",
    "backlog",
    "feed",
    "memory",
    "queries",
    "city",
    "idle",
    "pages",
)
