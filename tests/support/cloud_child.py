"""The aggregator as `lamplighter-cloud run` starts it, in a hurry: for tests that wait for its downlink and feed.

python cloud_child.py DATA ENDPOINTS '{"resend_s": 0.5}'
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import msgspec
import uvloop

from cloud import crash
from cloud.feed.feed import KEEP_ALIVE_S
from cloud.orders.downlink import Pace
from cloud.reader.fold_keeper import FIRST_S
from cloud.server import Options, run

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    data, endpoints, pace = sys.argv[1:]
    given: dict[str, float] = msgspec.json.decode(pace, type=dict[str, float])
    keep_alive_s = given.pop("keep_alive_s", KEEP_ALIVE_S)
    fold_first_s = given.pop("fold_first_s", FIRST_S)
    options = Options(
        data=Path(data),
        port=0,
        endpoints=Path(endpoints),
        pace=Pace(**given),
        feed_keep_alive_s=keep_alive_s,
        fold_first_s=fold_first_s,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(options, crash.from_environment(dict(os.environ))))
