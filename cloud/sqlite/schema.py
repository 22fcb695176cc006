"""Schema: the tables of `store.db`, and how an older store gets those that it lacks.

Three parts: what only the log knows, what was given or decided here (orders, our own alarms, codes, areas), and the
views, which are built from the log and can be dropped at any time. A store of VERSION is read as it is, one of an older
version in KNOWN is brought up when it is opened; there is no way down.
"""

from __future__ import annotations

import sqlite3
from typing import Final

VERSION: Final = 8
KNOWN: Final = (0, 1, 2, 3, 4, 5, 6, 7)  # 0 is an empty file

# What only the log knows. Nothing of this can be built from anything else.
_LOG: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE nodes (node_no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE streams (
    stream_no INTEGER PRIMARY KEY, node_no INTEGER NOT NULL, epoch INTEGER NOT NULL, lane TEXT NOT NULL,
    first_heard_us INTEGER NOT NULL, last_heard_us INTEGER NOT NULL, through_seq INTEGER NOT NULL,
    digest BLOB NOT NULL, held_from INTEGER NOT NULL, head_seq INTEGER NOT NULL, samples INTEGER NOT NULL,
    readings INTEGER NOT NULL, from_us INTEGER, to_us INTEGER, UNIQUE (node_no, epoch, lane));
CREATE TABLE log (
    position INTEGER PRIMARY KEY, stream_no INTEGER, received_us INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX log_stream ON log (stream_no);
CREATE TABLE devices (
    node_no INTEGER NOT NULL, device_no INTEGER NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (node_no, device_no)) WITHOUT ROWID;
CREATE UNIQUE INDEX devices_id ON devices (id, node_no);
CREATE TABLE chunks (
    chunk_no INTEGER PRIMARY KEY, stream_no INTEGER NOT NULL, node_no INTEGER NOT NULL, device_no INTEGER NOT NULL,
    base INTEGER NOT NULL, span INTEGER NOT NULL, from_us INTEGER NOT NULL, to_us INTEGER NOT NULL,
    n INTEGER NOT NULL, last_position INTEGER NOT NULL, first_seq INTEGER NOT NULL, small INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE INDEX chunks_at ON chunks (node_no, device_no, base, span, from_us);
CREATE INDEX chunks_small ON chunks (stream_no, device_no, base) WHERE small = 1;
CREATE TABLE residue (
    position INTEGER PRIMARY KEY, stream_no INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    received_us INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE fresh (
    node_no INTEGER NOT NULL, device_no INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (node_no, device_no)) WITHOUT ROWID;
CREATE TABLE silence (node_no INTEGER PRIMARY KEY, told_us INTEGER NOT NULL);
"""

# What schema 3 has added to the log: what each run's first batch said of the one before it (`cloud.log.streams`).
_LOG_3: Final = """
ALTER TABLE streams ADD COLUMN said TEXT NOT NULL DEFAULT 'unsaid';
ALTER TABLE streams ADD COLUMN before_epoch INTEGER;
ALTER TABLE streams ADD COLUMN before_seq INTEGER;
ALTER TABLE streams ADD COLUMN before_digest BLOB;
ALTER TABLE streams ADD COLUMN heard_at INTEGER NOT NULL DEFAULT 0;
"""

# Orders, and the alarms that the aggregator itself owns: given or decided here, in no log to be built from.
_OURS: Final = """
CREATE TABLE orders (
    order_no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, grp TEXT NOT NULL, node TEXT NOT NULL, what TEXT NOT NULL,
    about TEXT NOT NULL, kind TEXT NOT NULL, issued_us INTEGER NOT NULL, expires_us INTEGER NOT NULL,
    stage TEXT NOT NULL, sent_us INTEGER, ended_us INTEGER, own_end TEXT,
    body BLOB NOT NULL);
CREATE INDEX orders_group ON orders (grp, order_no);
CREATE INDEX orders_node ON orders (node, order_no);
CREATE INDEX orders_open ON orders (node, order_no) WHERE ended_us IS NULL;
CREATE INDEX orders_acts ON orders (node, about) WHERE ended_us IS NULL AND what = 'alarm_act';
CREATE INDEX orders_due ON orders (expires_us) WHERE ended_us IS NULL;
CREATE INDEX orders_unsent ON orders (expires_us) WHERE ended_us IS NULL AND sent_us IS NULL;
CREATE INDEX orders_ended ON orders (ended_us) WHERE ended_us IS NOT NULL;
CREATE TABLE texts (grp TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (
    key TEXT PRIMARY KEY, digest BLOB NOT NULL, taken_us INTEGER NOT NULL, status INTEGER NOT NULL,
    body BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX requests_at ON requests (taken_us);
CREATE TABLE own_alarms (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
"""

# What schema 3 has added to them: runs that an operator has written off; when a node's card was last lost, and which
# alarms that it then no longer knew have been acknowledged here (`cloud.sqlite.card_losses`).
_OURS_3: Final = """
CREATE TABLE written_off (
    stream_no INTEGER PRIMARY KEY, by_whom TEXT NOT NULL, time_us INTEGER NOT NULL, note TEXT NOT NULL);
CREATE TABLE card_losses (node_no INTEGER PRIMARY KEY, position INTEGER NOT NULL, time_us INTEGER NOT NULL);
CREATE TABLE acknowledged (
    node_no INTEGER NOT NULL, id TEXT NOT NULL, by_whom TEXT NOT NULL, time_us INTEGER NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (node_no, id)) WITHOUT ROWID;
"""

# What is built from the log and can be dropped at any time.
_VIEWS: Final = """
CREATE TABLE spans (
    node_no INTEGER NOT NULL, base INTEGER NOT NULL, span INTEGER NOT NULL, from_us INTEGER NOT NULL,
    position INTEGER NOT NULL, to_us INTEGER NOT NULL, devices BLOB NOT NULL,
    PRIMARY KEY (node_no, base, span, from_us, position)) WITHOUT ROWID;
CREATE TABLE rosters (
    node_no INTEGER PRIMARY KEY, position INTEGER NOT NULL, digest TEXT NOT NULL, profiles BLOB NOT NULL);
CREATE TABLE rostered (
    node_no INTEGER NOT NULL, device_no INTEGER NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (node_no, device_no)) WITHOUT ROWID;
CREATE TABLE gaps (
    stream_no INTEGER NOT NULL, first_seq INTEGER NOT NULL, node_no INTEGER NOT NULL, position INTEGER NOT NULL,
    lost INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stream_no, first_seq)) WITHOUT ROWID;
CREATE INDEX gaps_node ON gaps (node_no, position);
CREATE TABLE alarms (
    node_no INTEGER NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, state TEXT NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (node_no, id)) WITHOUT ROWID;
CREATE TABLE health (
    node_no INTEGER PRIMARY KEY, position INTEGER NOT NULL, interval_s REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE fixes (
    node_no INTEGER NOT NULL, boot INTEGER NOT NULL, position INTEGER NOT NULL, offset_us INTEGER NOT NULL,
    error_us INTEGER NOT NULL, PRIMARY KEY (node_no, boot)) WITHOUT ROWID;
CREATE TABLE latest (
    node_no INTEGER NOT NULL, device_no INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (node_no, device_no)) WITHOUT ROWID;
"""

# The views that schema 2 has added.
_VIEWS_2: Final = """
CREATE TABLE results (
    id TEXT NOT NULL, node_no INTEGER NOT NULL, stage TEXT NOT NULL, position INTEGER NOT NULL, seq INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (id, node_no, stage)) WITHOUT ROWID;
CREATE INDEX results_at ON results (node_no, position);
CREATE INDEX gaps_at ON gaps (position);
CREATE INDEX alarms_id ON alarms (id);
CREATE INDEX alarms_standing ON alarms (node_no, id) WHERE state <> 'cleared';
"""
# What schema 3 has added to the views: whether an alarm's node does not know it any more.
_VIEWS_3: Final = """
ALTER TABLE alarms ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
"""
# What schema 4 has added: what operators have decided about devices that several nodes name, and the nodes whose tokens
# were all revoked. Truth.
_CLAIMS: Final = """
CREATE TABLE IF NOT EXISTS assignments (
    device TEXT PRIMARY KEY, node TEXT NOT NULL, by TEXT NOT NULL, time_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS barred (node TEXT PRIMARY KEY) WITHOUT ROWID;
"""
# What schema 5 has added: the codes of technicians that were given out, which are truth, and their visits, a view.
_OURS_5: Final = """
CREATE TABLE codes (
    code_no INTEGER PRIMARY KEY, node TEXT NOT NULL, token TEXT NOT NULL, counter INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE INDEX codes_node ON codes (node, code_no);
CREATE INDEX codes_token ON codes (token, counter);
"""
_VIEWS_5: Final = """
CREATE TABLE visits (
    node_no INTEGER NOT NULL, position INTEGER NOT NULL, seq INTEGER NOT NULL, act TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (node_no, position, seq)) WITHOUT ROWID;
"""
# What schema 6 has added: the versions of areas and groups, and the steps of alarms, which outlive the log.
_OURS_6: Final = """
CREATE TABLE areas (
    area_no INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
    from_us INTEGER NOT NULL, to_us INTEGER, by_whom TEXT NOT NULL, time_us INTEGER NOT NULL, withdrawn INTEGER,
    body BLOB);
CREATE UNIQUE INDEX areas_name ON areas (kind, name, revision);
CREATE TABLE alarm_steps (
    step_no INTEGER PRIMARY KEY, event TEXT NOT NULL UNIQUE, position INTEGER NOT NULL, seq INTEGER NOT NULL,
    source TEXT NOT NULL, node TEXT NOT NULL, device TEXT NOT NULL, id TEXT NOT NULL, rule TEXT NOT NULL,
    severity TEXT NOT NULL, state TEXT NOT NULL, active INTEGER NOT NULL, acknowledged INTEGER NOT NULL,
    by_whom TEXT NOT NULL, note TEXT NOT NULL, boot INTEGER, fixed INTEGER NOT NULL, said_us INTEGER NOT NULL,
    time_us INTEGER NOT NULL, taken_us INTEGER NOT NULL);
CREATE INDEX alarm_steps_at ON alarm_steps (time_us, position, seq);
CREATE INDEX alarm_steps_node ON alarm_steps (node, time_us);
CREATE INDEX alarm_steps_device ON alarm_steps (device, time_us);
CREATE INDEX alarm_steps_id ON alarm_steps (node, id, position, seq);
CREATE INDEX alarm_steps_boot ON alarm_steps (node, boot) WHERE boot IS NOT NULL;
CREATE INDEX alarm_steps_taken ON alarm_steps (taken_us);
"""
# And what of rosters cannot be meant as it is written, a view.
_VIEWS_6: Final = """
CREATE TABLE doubts (
    node_no INTEGER NOT NULL, whose TEXT NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL,
    PRIMARY KEY (node_no, whose, what)) WITHOUT ROWID;
"""
# What schema 7 has added: who decides what points are set to, and by what nodes live, views.
_VIEWS_7: Final = """
CREATE TABLE decided (
    node_no INTEGER NOT NULL, device TEXT NOT NULL, point TEXT NOT NULL, position INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (node_no, device, point)) WITHOUT ROWID;
CREATE TABLE lived_by (node_no INTEGER PRIMARY KEY, position INTEGER NOT NULL, body BLOB NOT NULL);
"""
# What schema 8 has added to the log: up to which position each stream's batches are in chunks (`cloud.sqlite.chunks`).
_CHUNKED_8: Final = """
CREATE TABLE IF NOT EXISTS chunked (stream_no INTEGER PRIMARY KEY, position INTEGER NOT NULL);
"""
# What schema 8 has added to the log: what each record holds (`cloud.log.outline`), of those taken from then on.
_LOG_8: Final = """
CREATE TABLE outlines (position INTEGER PRIMARY KEY, node_no INTEGER, holds INTEGER NOT NULL);
"""
VIEW_NAMES: Final = (
    "spans", "rosters", "rostered", "gaps", "alarms", "health", "fixes", "latest", "results", "visits", "doubts",
    "decided", "lived_by",
)  # fmt: skip


def bring_up(connection: sqlite3.Connection, version: int) -> None:
    """Make what a store of an older version lacks. Within a transaction.

    Nothing is built: no result was taken before version 2, and what was lost before it raises no alarm now.
    """
    made: list[str] = []
    if version < 1:
        made += (_LOG, _VIEWS)
    if version < 2:
        made += (_OURS, _VIEWS_2)
    if version < 3:
        made += (_LOG_3, _OURS_3, _VIEWS_3)
    if version < 5:
        made += (_OURS_5, _VIEWS_5)
    if version < 6:
        made += (_OURS_6, _VIEWS_6)
    if version < 7:
        made += (_VIEWS_7,)
    if version < 8:
        made.append(_LOG_8)
    for script in (*made, _CLAIMS, _CHUNKED_8):
        _run(connection, script)
    if version < 2:
        connection.execute("INSERT OR REPLACE INTO meta SELECT 'alarms_mark', ifnull(max(position), 0) FROM log")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def kept(connection: sqlite3.Connection) -> list[str]:
    """The tables that cannot be built from others, those of a store that was just made."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return [name for name in names if name not in VIEW_NAMES and not name.startswith("sqlite_")]


def drop_views(connection: sqlite3.Connection) -> None:
    """Drop the views and make them again, empty. Within a transaction."""
    for name in VIEW_NAMES:
        connection.execute(f"DROP TABLE {name}")
    _run(connection, _VIEWS)
    _run(connection, _VIEWS_2)
    _run(connection, _VIEWS_3)
    _run(connection, _VIEWS_5)
    _run(connection, _VIEWS_6)
    _run(connection, _VIEWS_7)


def _run(connection: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(statement)
