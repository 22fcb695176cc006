"""Asking: a command line asks the running node on this machine, in the language of whoever types.

The node is found by its configuration, or by the file that `run --endpoints` wrote where it picks its port. What goes
wrong is one sentence that says what to do (`Unanswered`). What the node answers is shown (`groundwork.terminal`).

Bounds: an answer is waited for TIMEOUT_S, a file for FILE_S; it has MAX_ANSWER_BYTES, never in a Content-Encoding;
redirects are not followed, proxies of the environment not used.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

import httpx
import msgspec

from drivers.tables import suggest
from edge.config import Config
from edge.web.reach import reach
from groundwork.terminal import shown, shown_in

T = TypeVar("T")
Language = Literal["en", "fr"]
Words = Mapping[Language, Mapping[str, str]]

EXIT_FAILED: Final = 1
CONFIG: Final = Path("/etc/lamplighter/node.toml")  # as docs/operations.md installs it
TIMEOUT_S: Final = 5.0
FILE_S: Final = 30.0  # the node has 20 s for an answer (`edge.web.connections`)
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024  # 4,000 alarms of 16 KiB
OWN: Final = "http://localhost"
MAX_SHOWN_CHARS: Final = 300
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}  # noqa: S104 - nothing is bound here
_WORDS: Final[Words] = {
    "en": {
        "no device": 'there is no device "{}"{}',
        "port 0": "the node picks its port at each start (health.listen has port 0): write --endpoints FILE, the file"
        " that `lamplighter-edge run --endpoints FILE` writes",
        "no file": "{} cannot be read: {}; does the node run?",
        "no answer": "the node does not answer at {}: {}; does it run?",
        "refused": "the node at {} answers {}; does it run with this configuration?",
        "no socket": "the node does not answer at its socket {}: {}; does it run?",
        "no entry": "you may not reach the node's socket {} ({}): use sudo, or let it stand where technicians may go"
        " (control.socket, docs/configuration.md)",
        "says": "the node refuses: {}",
    },
    "fr": {
        "no device": "il n'y a pas d'appareil « {} »{}",
        "port 0": "le nœud choisit son port à chaque démarrage (health.listen a le port 0) : écrivez --endpoints"
        " FICHIER, le fichier qu'écrit `lamplighter-edge run --endpoints FICHIER`",
        "no file": "{} ne peut être lu : {} ; le nœud tourne-t-il ?",
        "no answer": "le nœud ne répond pas à {} : {} ; tourne-t-il ?",
        "refused": "le nœud à {} répond {} ; tourne-t-il avec cette configuration ?",
        "no socket": "le nœud ne répond pas sur son socket {} : {} ; tourne-t-il ?",
        "no entry": "vous n'avez pas accès au socket du nœud {} ({}) : utilisez sudo, ou placez-le où les techniciens"
        " peuvent aller (control.socket, docs/configuration.md)",
        "says": "le nœud refuse : {}",
    },
}


class _Endpoints(msgspec.Struct):
    health: str
    socket: str = ""


class _Error(msgspec.Struct):
    error: str


class Unanswered(Exception):
    """There is no answer: what was typed cannot be asked, the node is not there, or says no. In words, in the language
    of whoever asks."""


class NoNode(Unanswered):
    """No node runs here: whoever can do without one may."""


def add_options(verb: argparse.ArgumentParser) -> None:
    """What every verb has that asks the node."""
    verb.add_argument("--config", type=Path, default=CONFIG, help=f"node.toml (default {CONFIG})")
    verb.add_argument("--endpoints", type=Path, help="the file that `run --endpoints` wrote, where the port is picked")
    verb.add_argument("--lang", choices=["en", "fr"], help="language of the answer (default: that of LANG)")


def language_of(args: argparse.Namespace, locale: str) -> Language:
    """The language that was asked for, or that of a locale such as `fr_FR.UTF-8`."""
    return args.lang or ("fr" if locale.startswith("fr") else "en")


def check_device(device: str, known: Collection[str], language: Language) -> None:
    """Raise Unanswered, with the nearest name, for a device that is not there."""
    if device not in known:
        raise Unanswered(_WORDS[language]["no device"].format(device, suggest(device, known)))


class NoAnswerInTime(Unanswered):
    """A node is there and says nothing."""


class _Health(msgspec.Struct):
    reasons: tuple[str, ...]


class Asking:
    """The node's HTTP, as a context manager; `own` means at its own socket, where technicians act. `transport` stands
    in for the network in tests."""

    def __init__(
        self,
        config: Config,
        endpoints: Path | None,
        language: Language,
        transport: httpx.BaseTransport | None = None,
        *,
        own: bool = False,
    ) -> None:
        """Find the node.

        Raises:
            Unanswered: nobody can know where it serves.
        """
        self._words = _WORDS[language]
        self._reach = ExitStack()
        try:
            base = OWN if own else _base(config, endpoints)
            path = _socket(config, endpoints) if own else None
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise Unanswered(self._words["no file"].format(endpoints, error)) from error
        if base is None:
            raise Unanswered(self._words["port 0"])
        self._base_url, self._socket = base, path
        if path is not None and transport is None:
            try:
                address = self._reach.enter_context(reach(path))
                with socket.socket(socket.AF_UNIX) as knock:  # httpx leaves one open that cannot be connected
                    knock.settimeout(TIMEOUT_S)
                    knock.connect(address)
                transport = httpx.HTTPTransport(uds=address)
            except OSError as error:
                self._reach.close()
                raise _unheard(error)(self._words[_key(error)].format(path, error)) from error
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False, transport=transport)

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.__exit__(kind, error, trace)
        self._reach.close()

    def get(self, path: str, kind: type[T]) -> T:
        """What the node answers.

        Raises:
            Unanswered: it does not, or answers something else.
        """
        return self._ask("GET", path, kind, None)[0]

    def get_listed(self, path: str, kind: type[T]) -> tuple[T, int]:
        """A list that the node answers, and how many more there are that it has left out."""
        found, answer = self._ask("GET", path, kind, None)
        left_out = answer.headers.get("Left-Out", "0")
        return found, int(left_out) if left_out.isdecimal() else 0

    def troubles(self) -> tuple[str, ...]:
        """What the node's health gives as reasons, also while it fails; nothing where it does not say."""
        try:
            with self._client.stream(
                "GET", f"{self._base_url}/health", headers={"Accept-Encoding": "identity"}
            ) as answer:
                content = _whole(answer)
            return tuple(map(shown, msgspec.json.decode(content, type=_Health).reasons))
        except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError, RecursionError, ValueError):
            return ()

    def post(self, path: str, body: object, kind: type[T]) -> T:
        """What the node answers to what is asked of it.

        Raises:
            Unanswered: it does not, says no, or answers something else.
        """
        return self._ask("POST", path, kind, msgspec.json.encode(body))[0]

    def _unheard(self, url: str, error: Exception) -> str:
        if self._socket is None:
            return self._words["no answer"].format(url, error)
        return self._words[_key(error)].format(self._socket, error)

    def fetch(self, path: str) -> bytes:
        """A file that the node makes, within FILE_S.

        Raises:
            Unanswered: it does not answer, or says no.
        """
        return self._heard("GET", path, None, FILE_S)[0]

    def _ask(self, verb: str, path: str, kind: type[T], body: bytes | None) -> tuple[T, httpx.Response]:
        content, answer = self._heard(verb, path, body, TIMEOUT_S)
        try:
            return msgspec.convert(shown_in(msgspec.json.decode(content)), kind), answer
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise Unanswered(self._unheard(self._base_url + path, error)) from error

    def _heard(self, verb: str, path: str, body: bytes | None, timeout_s: float) -> tuple[bytes, httpx.Response]:
        url = self._base_url + path
        headers = {"Accept-Encoding": "identity"} | ({} if body is None else {"Content-Type": "application/json"})
        try:
            with self._client.stream(verb, url, content=body, headers=headers, timeout=timeout_s) as answer:
                content = _whole(answer)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise _unheard(error)(self._unheard(url, error)) from error
        if answer.is_success:
            return content, answer
        try:
            said = shown(msgspec.json.decode(content, type=_Error).error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unanswered(self._words["refused"].format(self._socket or url, answer.status_code)) from None
        raise Unanswered(self._words["says"].format(said[:MAX_SHOWN_CHARS]))


def _whole(answer: httpx.Response) -> bytes:
    """The body, as it came.

    Raises:
        ValueError: it is longer than any of ours, or squeezed, which nobody has asked for.
    """
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ValueError("an answer in a Content-Encoding")
    if answer.is_stream_consumed:
        return answer.content  # by a transport that stands in for the network
    content = bytearray()
    for piece in answer.iter_raw():
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    return bytes(content)


def _unheard(error: Exception) -> type[Unanswered]:
    """What kind of silence it is: that of a node that does not run, or another."""
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return NoAnswerInTime
    absent = isinstance(error, FileNotFoundError | ConnectionRefusedError | httpx.ConnectError)
    return NoNode if absent and _key(error) == "no socket" else Unanswered


def _key(error: Exception) -> str:
    """The words for a socket that cannot be reached."""
    return "no entry" if isinstance(error, PermissionError) or "Permission denied" in str(error) else "no socket"


def _socket(config: Config, endpoints: Path | None) -> Path:
    """Where the node takes orders.

    Raises:
        OSError, msgspec.DecodeError: the file cannot be read.
    """
    if endpoints is not None:
        found = msgspec.json.decode(endpoints.read_bytes(), type=_Endpoints).socket
        if found:
            return Path(found)
    return config.socket.absolute()


def _base(config: Config, endpoints: Path | None) -> str | None:
    """Where the node serves; None where nobody can know.

    Raises:
        OSError, ValueError, msgspec.DecodeError: the file cannot be read.
    """
    if endpoints is not None:
        url = msgspec.json.decode(endpoints.read_bytes(), type=_Endpoints).health
        host, _, port = url.removeprefix("http://").removesuffix("/health").rpartition(":")
    else:
        host, _, port = config.health.listen.rpartition(":")
    return None if int(port) == 0 else f"http://{EVERYWHERE.get(host, host)}:{port}"
