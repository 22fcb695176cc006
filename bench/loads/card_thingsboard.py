"""Feeds thingsboard-gateway's SQLite event storage in real time, and tells how many bytes that handed to the disk.

    PYTHON_OF_THINGSBOARD card_thingsboard.py MESSAGES WARM_S RUN_S DIRECTORY RESULT

It knows only that package and what comes with Python. MESSAGES holds a JSON object a line: `at_s` when it comes,
`readings` how many are in it, `message` as the gateway's converters put it into the storage. The storage has its
default settings; what stands for the gateway's sending thread takes a pack, has it acknowledged at once, and asks again
after the gateway's default pause. RESULT says what was written in RUN_S after WARM_S, and what came out of the storage.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path

from thingsboard_gateway.storage.sqlite.sqlite_event_storage import SQLiteEventStorage

PAUSE_S = 0.05  # minPackSendDelayMS
EMPTY_S = 20.0


class Log(logging.Logger):
    """Theirs has a level below debug."""

    def trace(self, *_: object, **__: object) -> None:
        """Say nothing."""


class Sender(threading.Thread):
    """Takes what is stored, and counts it."""

    def __init__(self, storage: SQLiteEventStorage) -> None:
        super().__init__(daemon=True)
        self._storage = storage
        self.readings = 0

    def run(self) -> None:
        """Until the process ends."""
        while True:
            events = self._storage.get_event_pack()
            if events:
                taken = [json.loads(event) for event in events]
                self._storage.event_pack_processing_done()
                self.readings += sum(len(entry["values"]) for event in taken for entry in event["telemetry"])
            else:
                time.sleep(PAUSE_S)


def written_bytes() -> int:
    """What this process has handed to the disk so far (proc(5))."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


def main() -> None:
    """See the module."""
    messages, warm_s, run_s = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    directory, result = sys.argv[4:]
    storage = SQLiteEventStorage({"data_file_path": f"{directory}/"}, Log("storage", logging.ERROR), threading.Event())
    sender = Sender(storage)
    sender.start()
    start = time.monotonic()
    given = readings = 0
    began: int | None = None
    with messages.open(encoding="utf-8") as lines:
        for line in lines:
            found = json.loads(line)
            if found["at_s"] >= warm_s + run_s:
                break
            time.sleep(max(0.0, start + found["at_s"] - time.monotonic()))
            if began is None and found["at_s"] >= warm_s:
                began = written_bytes()
            if not storage.put(found["message"]):
                raise SystemExit("the storage takes nothing")
            given += found["readings"]
            readings += found["readings"] if began is not None else 0
    time.sleep(max(0.0, start + warm_s + run_s - time.monotonic()))
    written = written_bytes() - (began or 0)
    deadline = time.monotonic() + EMPTY_S
    while sender.readings < given and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    told = {"written_bytes": written, "readings": readings, "given": given, "taken": sender.readings}
    Path(result).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
