"""The aggregator as `lamplighter-cloud run` starts it, with a downlink in a hurry: for tests that wait for its pace.

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
from cloud.downlink import Pace
from cloud.server import Options, run

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    data, endpoints, pace = sys.argv[1:]
    options = Options(
        data=Path(data),
        port=0,
        endpoints=Path(endpoints),
        pace=msgspec.json.decode(pace, type=Pace),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(options, crash.from_environment(dict(os.environ))))
