"""A node as it ships, and one rule in it: `level` above THRESHOLD of a lamp is answered by writing `n` to it.

The rules engine is not there yet; this fixed threshold stands where it will: after the intake, on each sample as the
node keeps it, and it acts through the driver's `write`, as any rule that moves an actuator must. Everything else is
`lamplighter-edge` with its command line: driver, intake, outbox, group commit, uplink.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from drivers.contract import Receipt
from edge import cli
from edge.group_commit import GroupCommit
from edge.node import Node
from wire.sample import Sample

THRESHOLD: Final = float(os.environ["THRESHOLD"])


class RuledNode(Node):
    """A node that answers."""

    def __init__(self, config: Any, **more: Any) -> None:
        super().__init__(config, **more)
        self._lamps = {
            a.device.id: (a.device, a.profile.points["n"], x.name) for x in config.lines for a in x.attachments
        }
        self._writing: set[asyncio.Task[None]] = set()

    def _take(self, samples: Sequence[Sample], receipt: Receipt | None, commit: GroupCommit) -> asyncio.Future[None]:
        done = super()._take(samples, receipt, commit)
        for sample in samples:
            if sample.values["level"] > THRESHOLD:
                device, point, line = self._lamps[sample.device]
                task = asyncio.create_task(self._drivers[line].write(device, point, sample.values["n"]))
                self._writing.add(task)
                task.add_done_callback(self._writing.discard)
        return done


if __name__ == "__main__":
    cli.Node = RuledNode
    sys.exit(cli.main())
