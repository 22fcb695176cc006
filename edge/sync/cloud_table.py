"""Cloud table: what `[cloud]` of the configuration may say, and what is wrong with it and with the files that it names.

Bounds: a token has at most 4,096 characters.
"""

from __future__ import annotations

import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from drivers.tables import Problem
from edge.sampling.lines import says
from edge.sync.http import plain_http_allowed, trust

TOKEN_WORD: Final = re.compile(r"[!-~]{1,4096}")


class CloudTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cloud]`"""

    url: Annotated[str, Meta(pattern="^https?://"), says("where the aggregator is")]
    token: Annotated[str, says("the node's token; better in a file of its own")] = ""
    token_file: Annotated[str, says("a file that holds the token and nothing else")] = ""
    ca_file: Annotated[str, says("a PEM file with the authority to trust instead of the system's")] = ""
    client_cert: Annotated[str, says("a PEM file with the node's certificate and key")] = ""
    insecure: Annotated[bool, says("allow plain http beyond this machine; health then says so")] = False
    timeout_s: Annotated[float, Meta(ge=1, le=300), says("how long an answer may take")] = 30
    retry_max_s: Annotated[
        float,
        Meta(ge=1, le=3600),
        says("the longest wait between tries of a link that is down; the waits double up to it"),
    ] = 300
    push_interval_s: Annotated[float, Meta(ge=1, le=3600), says("how often bulk readings go up")] = 60


def token_of(cloud: CloudTable, path: Path, problems: list[Problem], unreadable: list[Problem]) -> str:
    """The token; "" where there is none, which is told."""
    if bool(cloud.token) == bool(cloud.token_file):
        text = 'write token_file = "…" (or token = "${NAME}"), one of the two; `lamplighter-cloud token` makes one'
        problems.append(Problem(str(path), "cloud.token_file", text))
        return ""
    token, key, where = cloud.token.strip(), "cloud.token", "it"
    if cloud.token_file:
        file = path.parent / cloud.token_file
        key, where = "cloud.token_file", str(file)
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            unreadable.append(
                Problem(str(path), key, f"{file} cannot be read: {getattr(error, 'strerror', None) or error}")
            )
            return ""
    if not TOKEN_WORD.fullmatch(token):
        text = f"{where} must hold the token and nothing else: one word, as `lamplighter-cloud token create` printed it"
        problems.append(Problem(str(path), key, text))
    return token


def exposed(cloud: CloudTable, path: Path) -> tuple[str, ...]:
    """Files with secrets that everybody on this machine can read, a sentence each. Not the group: systemd hands
    credentials over with an ACL, whose mask shows as the group's bits."""
    files = [path.parent / name for name in (cloud.token_file, cloud.client_cert) if name]
    if cloud.token and cloud.token in path.read_text():  # and not in the environment, whence ${NAME} would have it
        files.append(path)
    told: list[str] = []
    for file in files:
        with suppress(OSError):  # that it cannot be read at all is told where it is read
            if file.stat().st_mode & stat.S_IROTH:
                told.append(f"{file} can be read by everybody on this machine: chmod 600 it")
    return tuple(told)


def check(cloud: CloudTable, path: Path, problems: list[Problem]) -> bool:
    """Whether its url is one; what else is wrong is reported too."""
    name = str(path)
    try:
        parts = urlsplit(cloud.url)
        _ = parts.port  # raises where it is no port
        if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
            raise ValueError("it needs a host, and has no user, ? or #")  # noqa: TRY301 - told like the others
    except ValueError as error:
        text = f"is no address of an aggregator ({error}); write for example https://lamplighter.example.org"
        problems.append(Problem(name, "cloud.url", text))
        return False
    if not cloud.insecure and not plain_http_allowed(cloud.url):
        text = "plain http leaves the token readable on the way; write https://, or insecure = true if you must"
        problems.append(Problem(name, "cloud.url", text))
    for key, what in (("ca_file", "certificates"), ("client_cert", "a certificate and its key, without a password")):
        if file := beside(path, getattr(cloud, key)):
            try:
                trust(**{key: Path(file)})
            except OSError as error:  # ssl.SSLError is one
                text = f"{file} cannot be used: {error.strerror or error}; it must be a PEM file with {what}"
                problems.append(Problem(name, f"cloud.{key}", text))
    return True


def beside(path: Path, name: str) -> str:
    """A file that the configuration names, found from its folder."""
    return str(path.parent / name) if name else ""
