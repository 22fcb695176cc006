"""The process that delivers webhooks: one delivery each, over one HTTP client; told to systemd how they do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import msgspec

from cloud.times import utc_us
from cloud.webhooks import bookmark
from cloud.webhooks.bookmark import Bookmark
from cloud.webhooks.config import Config, Misconfigured, Webhook, secret_of, text_of
from cloud.webhooks.delivery import Delivery, Failed, Gone
from groundwork.files import write_atomically
from groundwork.systemd import Notify

LOG: Final = logging.getLogger("lamplighter.cloud")
STATUS_S: Final = 5.0


@contextlib.asynccontextmanager
async def deliveries(config: Config, directory: Path) -> AsyncGenerator[list[Delivery]]:
    """One for each webhook, with its bookmark in a directory, for the length of a block.

    Raises:
        Misconfigured: a secret, the token or a bookmark cannot be used.
    """
    await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    token = partial(text_of, Path(config.feed.token_file))
    token()
    limits = httpx.Limits(max_connections=2 * len(config.webhook))
    async with httpx.AsyncClient(verify=ssl.create_default_context(), limits=limits) as client:
        made: list[Delivery] = []
        for hook in config.webhook:
            path = directory / f"{hook.name}.json"
            try:
                held = bookmark.read(path)
            except (OSError, ValueError) as error:
                raise Misconfigured(str(error)) from error
            made.append(
                Delivery(
                    hook,
                    secret_of(Path(hook.secret_file)),
                    client=client,
                    feed=config.feed.url,
                    token=token,
                    cursor="" if held is None else held.cursor,
                    reached=partial(_keep, path, hook),
                    now=utc_us,
                )
            )
        yield made


def _keep(path: Path, hook: Webhook, cursor: str) -> None:
    write_atomically(path, msgspec.json.encode(Bookmark(cursor, hook.url)))


async def run(config: Config, directory: Path) -> None:
    """Deliver until SIGTERM or SIGINT.

    Raises:
        Misconfigured: something that the file names cannot be used.
    """
    notify = Notify()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with deliveries(config, directory) as made:
        running = [asyncio.create_task(one.run()) for one in made]
        stopped = asyncio.create_task(stop.wait())
        LOG.info("delivering %d webhooks from %s", len(made), config.feed.url)
        notify.tell("READY=1")
        said = ""
        try:
            while not stop.is_set():
                await asyncio.wait((stopped, *running), timeout=STATUS_S, return_when="FIRST_EXCEPTION")
                for task in running:
                    if task.done():
                        task.result()  # a bug of ours ends all: whoever has started this starts it again
                if (status := told(made)) != said:
                    notify.tell(f"STATUS={status}")
                    said = status
        finally:
            notify.tell("STOPPING=1")
            for task in (*running, stopped):
                task.cancel()
            await asyncio.wait((*running, stopped))


def told(made: list[Delivery]) -> str:
    """How they do, in words."""
    failing = [one for one in made if one.failing or one.gone]
    text = f"{len(made) - len(failing)} of {len(made)} webhooks are delivered"
    if failing:
        text += "; " + "; ".join(f"{one.hook.name}: {'410 Gone' if one.gone else one.failing}"[:200] for one in failing)
    return text[:2_000]


async def ping(config: Config, directory: Path) -> list[tuple[str, str]]:
    """Post one event to each; by name why it was not taken, empty where it was.

    Raises:
        Misconfigured: something that the file names cannot be used.
    """

    async def one(delivery: Delivery) -> tuple[str, str]:
        try:
            await delivery.ping()
        except Failed as failed:
            return delivery.hook.name, str(failed)
        except Gone:
            return delivery.hook.name, "it answers 410 Gone"
        return delivery.hook.name, ""

    async with deliveries(config, directory) as made:
        return list(await asyncio.gather(*map(one, made)))
