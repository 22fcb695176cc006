"""The verb `lamplighter-cloud webhooks`: its options, and what it does."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path
from typing import Final

import uvloop

from groundwork.terminal import shown

WHAT: Final = "post what the feed tells to addresses that a file names"


def options(added: argparse.ArgumentParser) -> None:
    """Those of the verb."""
    added.add_argument("--config", type=Path, required=True, metavar="FILE", help="a TOML file; docs/api.md shows one")
    added.add_argument("--data", type=Path, required=True, metavar="DIR", help="where it keeps how far it has come")
    added.add_argument("--ping", action="store_true", help="post one event to each, say whether it was taken, and end")
    added.set_defaults(act=act)


def act(given: argparse.Namespace) -> int:
    """Deliver until SIGTERM, or post one event to each."""
    from cloud.webhooks import run  # httpx takes 0.2 s to import, which no other verb needs
    from cloud.webhooks.config import load

    config = load(given.config)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if not given.ping:
            runner.run(run.run(config, given.data))
            return 0
        answers = runner.run(run.ping(config, given.data))
    for name, why in answers:
        print(shown(f"{name}: {why or 'taken'}"))
    return int(any(why for _, why in answers))
