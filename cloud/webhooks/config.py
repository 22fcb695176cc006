"""Which webhooks there are: a TOML file of the machine's administrator. What is not in it is sent nowhere.

    [feed]
    url = "http://127.0.0.1:8081"
    token_file = "/etc/lamplighter-cloud/webhooks.token"

    [[webhook]]
    name = "maintenance"
    url = "https://hooks.example.org/lamplighter"
    secret_file = "/etc/lamplighter-cloud/maintenance.secret"
    types = ["alarm", "result"]

`kinds`, `nodes`, `areas` and `groups` narrow it down as the feed's parameters do. Bounds: MAX_BYTES, MOST webhooks; the
feed's own of what is asked for.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cloud.log.outline import TYPES
from groundwork.nearest import did_you_mean, near
from groundwork.toml_text import BadToml, tables_of

MAX_BYTES: Final = 1 << 20
MAX_SECRET_BYTES: Final = 4_096
MOST: Final = 50
LEAST_KEY_BYTES, MOST_KEY_BYTES = 24, 64  # Standard Webhooks 1.0.0, "Signature scheme"
PREFIX: Final = "whsec_"
PREFIX_OF_TYPES: Final = "city.lamplighter."
KNOWN_TYPES: Final = (*TYPES, "fresh")

WebhookName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Url = Annotated[str, Meta(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$", max_length=2_000)]
Text = Annotated[str, Meta(min_length=1, max_length=200)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=100)]


class Misconfigured(ValueError):
    """The file says something that cannot be done; the text says where and what to write."""


class FeedTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the feed is, and a file with a token that may read it."""

    url: Url
    token_file: str


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One address, and what of the feed goes there."""

    name: WebhookName
    url: Url
    secret_file: str
    types: Texts = ()
    kinds: Texts = ()
    nodes: Texts = ()
    areas: Texts = ()
    groups: Texts = ()

    def asked(self) -> list[tuple[str, str]]:
        """The parameters of the feed."""
        of = {"type": self.types, "kind": self.kinds, "node": self.nodes, "area": self.areas, "group": self.groups}
        return [(name, text) for name, texts in of.items() for text in texts]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    feed: FeedTable
    webhook: Annotated[tuple[Webhook, ...], Meta(min_length=1, max_length=MOST)]


def load(path: Path) -> Config:
    """What a file says. What it names without a whole path lies in systemd's `CREDENTIALS_DIRECTORY`, or beside it.

    Raises:
        Misconfigured: it cannot be read, or is wrong.
    """
    try:
        with path.open("rb") as file:
            found = msgspec.convert(tables_of(file.read(MAX_BYTES + 1), limit_bytes=MAX_BYTES), Config)
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from error
    except BadToml as error:
        raise Misconfigured(f"{path} {error}") from error
    except msgspec.ValidationError as error:
        raise Misconfigured(f"{path}: {error}; docs/api.md shows a whole file") from error
    for hook in found.webhook:
        for type_ in hook.types:
            if (known := type_.removeprefix(PREFIX_OF_TYPES)) not in KNOWN_TYPES:
                meant = did_you_mean(near(known, KNOWN_TYPES))
                raise Misconfigured(f"{path}: {hook.name}: the feed has no type {type_!r}{meant}")
    names = [hook.name for hook in found.webhook]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Misconfigured(f"{path}: several webhooks are called {twice[0]!r}; each has a name of its own")
    beside = Path(os.environ.get("CREDENTIALS_DIRECTORY") or path.parent)
    replace = msgspec.structs.replace
    return Config(
        replace(found.feed, token_file=str(beside / found.feed.token_file)),
        tuple(replace(hook, secret_file=str(beside / hook.secret_file)) for hook in found.webhook),
    )


def secret_of(path: Path) -> bytes:
    """The key of a secret file: `whsec_` and its base64, as the other end has it.

    Raises:
        Misconfigured: it cannot be read, or is none.
    """
    text = text_of(path)
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not LEAST_KEY_BYTES <= len(key) <= MOST_KEY_BYTES:
        raise Misconfigured(
            f"{path}: a secret is {PREFIX} and the base64 of {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} random bytes; make"
            f" one with (printf {PREFIX}; head -c 32 /dev/urandom | base64 -w0) > {path}"
        )
    return key


def text_of(path: Path) -> str:
    """What a secret or token file holds.

    Raises:
        Misconfigured: it cannot be read, or holds no one line.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1).decode("ascii").strip()
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > MAX_SECRET_BYTES or not text.isprintable():
        raise Misconfigured(f"{path}: holds no line of ASCII")
    return text
