"""Alarm steps in SQLite. Promises and bounds: `cloud.records.alarm_steps`.

A step is a row, and its event's id is in one row only. `said_us` is the time as it was said, `time_us` the corrected
one; `taken_us` is when it was taken. Which state a step has found is looked up when it is asked for: a step may be
taken after one that followed it, where a store is rebuilt.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from cloud.log.notices import Notice
from cloud.records.alarm_steps import (
    MAX_STEPS,
    PRUNED,
    SCANNED,
    AlarmStep,
    StepPlace,
    StepsAsked,
    noticed,
    said,
)
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import Writer
from wire.batch import Batch
from wire.entries import Alarm
from wire.time import Micros, Utc

_COLUMNS: Final = (
    "event, source, node, device, id, rule, severity, state, active, acknowledged, by_whom, note, boot, fixed, time_us"
)


def take(connection: sqlite3.Connection, batch: Batch, position: int, place: int, alarm: Alarm, now_us: Utc) -> None:
    """A step that a node has told, within the transaction that takes its batch."""
    seq = batch.first_seq + place
    event = f"{batch.node}/{batch.epoch}/{batch.lane.value}/{seq}"
    step = said(event, f"/nodes/{batch.node}", batch.node, alarm, "synced")
    offset_us = None if alarm.boot is None else _offset_us(connection, batch.node, alarm.boot)
    _put(connection, step, (position, seq), alarm.boot, offset_us, now_us)


def take_notice(connection: sqlite3.Connection, notice: Notice, position: int, now_us: Utc) -> None:
    """A step that the aggregator tells, within the transaction that takes its notice."""
    if (step := noticed(notice)) is not None:
        _put(connection, step, (position, 0), None, None, now_us)


def correct(connection: sqlite3.Connection, node: str, boot: int) -> None:
    """Bring the times of a boot to its clock fix, once that is among the fixes."""
    offset_us = _offset_us(connection, node, boot)
    if offset_us is not None:
        connection.execute(
            "UPDATE alarm_steps SET time_us = said_us + ?, fixed = 1 WHERE node = ? AND boot = ?",
            (offset_us, node, boot),
        )


def _put(
    connection: sqlite3.Connection,
    step: AlarmStep,
    at: tuple[int, int],
    boot: int | None,
    offset_us: Micros | None,
    now_us: Utc,
) -> None:
    time_us = step.time_us + (offset_us or Micros(0))
    connection.execute(
        f"INSERT OR IGNORE INTO alarm_steps ({_COLUMNS}, said_us, taken_us, position, seq)"  # noqa: S608  ours
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            step.event, step.source, step.node, step.device, step.id, step.rule, step.severity, step.state,
            step.active, step.acknowledged, step.by, step.note, boot, offset_us is not None, time_us, step.time_us,
            now_us, *at,
        ),
    )  # fmt: skip


def _offset_us(connection: sqlite3.Connection, node: str, boot: int) -> Micros | None:
    row = connection.execute(
        "SELECT offset_us FROM fixes JOIN nodes USING (node_no) WHERE name = ? AND boot = ?", (node, boot)
    ).fetchone()
    return None if row is None else Micros(row[0])


class SqliteReadAlarmSteps:
    """What is asked, also in processes that only read. Does not own its readers; who opens the store does."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def page(self, asked: StepsAsked) -> tuple[Sequence[AlarmStep], StepPlace | None]:
        """See `ReadAlarmSteps.page`."""
        return await self._readers.ask(lambda connection: _page(connection, asked))


class SqliteAlarmSteps(SqliteReadAlarmSteps):
    """Owns neither writer nor readers; `cloud.sqlite.store` does."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        super().__init__(readers)
        self._writer = writer

    async def prune(self, now_us: Utc, keep_us: Micros) -> int:
        """See `AlarmSteps.prune`."""

        def query(connection: sqlite3.Connection) -> list[int]:
            rows = connection.execute(
                "SELECT step_no FROM alarm_steps WHERE taken_us < ? ORDER BY taken_us LIMIT ?",
                (now_us - keep_us, PRUNED),
            ).fetchall()
            (low, high) = connection.execute(
                "SELECT (SELECT ifnull(min(step_no), 0) FROM alarm_steps),"
                " (SELECT ifnull(max(step_no), 0) FROM alarm_steps)"
            ).fetchone()
            if not rows and high - low >= MAX_STEPS:  # as good as their number: they go from the lowest on
                rows = connection.execute(
                    "SELECT step_no FROM alarm_steps WHERE step_no <= ? ORDER BY step_no LIMIT ?",
                    (high - MAX_STEPS, PRUNED),
                ).fetchall()
            return [no for (no,) in rows]

        gone = await self._readers.ask(query)
        if gone:
            await self._writer.do(
                lambda connection: connection.executemany(
                    "DELETE FROM alarm_steps WHERE step_no = ?", ((no,) for no in gone)
                )
            )
        return len(gone)


def _page(connection: sqlite3.Connection, asked: StepsAsked) -> tuple[list[AlarmStep], StepPlace | None]:
    where, values = "time_us >= ? AND time_us < ? AND position > ?", [asked.from_us, asked.to_us, asked.after]
    for column, value in (("node", asked.node), ("device", asked.device), ("id", asked.id)):
        if value is not None:
            where, values = f"{where} AND {column} = ?", [*values, value]
    if asked.cursor is not None:
        where, values = f"{where} AND (time_us, position, seq) > (?, ?, ?)", [*values, *asked.cursor]
    rows = connection.execute(
        f"SELECT position, seq, {_COLUMNS} FROM alarm_steps WHERE {where}"  # noqa: S608  ours
        " ORDER BY time_us, position, seq LIMIT ?",
        (*values, SCANNED + 1),
    )
    found: list[AlarmStep] = []
    last = asked.cursor
    for scanned, (position, seq, *row) in enumerate(rows):
        if scanned == SCANNED or len(found) == asked.limit:
            return found, last
        last = (row[-1], position, seq)
        if not asked.severities or row[6] in asked.severities:
            found.append(_step(connection, position, seq, row))
    return found, None


def _step(connection: sqlite3.Connection, position: int, seq: int, row: Sequence[object]) -> AlarmStep:
    event, source, node, device, name, rule, severity, state, active, acknowledged, by, note, boot, fixed, time_us = row
    before = connection.execute(
        "SELECT state FROM alarm_steps WHERE node = ? AND id = ? AND source = ? AND (position, seq) < (?, ?)"
        " ORDER BY position DESC, seq DESC LIMIT 1",
        (node, name, source, position, seq),
    ).fetchone()
    return AlarmStep(
        event=str(event), source=str(source), node=str(node), device=str(device), id=str(name), rule=str(rule),
        severity=severity, before=None if before is None else before[0], state=state,  # type: ignore[arg-type]
        active=bool(active), acknowledged=bool(acknowledged), time_us=Utc(time_us),  # type: ignore[arg-type]
        clock="synced" if boot is None else "corrected" if fixed else "estimated", by=str(by), note=str(note),
    )  # fmt: skip
