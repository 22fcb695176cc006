"""Whether the page can be found by name: against a socket that answers as avahi's does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.config import Config, load
from edge.verbs import announced as module
from edge.verbs.announced import AVAHI, SERVICE, announced
from edge.verbs.remedies import WORDS

ROOT = Path(__file__).parents[4]
NODE = """
[node]
id = "cab-17"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "x"

[health]
listen = "{listen}"
names = ["{name}"]
"""


@pytest.fixture(autouse=True)
def _name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "cab-17")
    monkeypatch.setattr(module, "ANSWER_S", 0.5)


def config_of(folder: Path, listen: str = "0.0.0.0:8470", name: str = "Cab-17.local") -> Config:
    (folder / "node.toml").write_text(NODE.format(listen=listen, name=name))
    return load(folder / "node.toml", {})


def machine(folder: Path, *, avahi: bool = True, service: bool = True) -> Path:
    for path, there in ((folder / AVAHI, avahi), (folder / SERVICE, service)):
        path.parent.mkdir(parents=True)
        if there:
            path.write_bytes((ROOT / "systemd/lamplighter.avahi").read_bytes())
    return folder


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """An avahi that says one thing, or nothing."""
    path.unlink()
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                asked.append(line.recv(1_000))
                line.sendall(answer)
                if not answer:
                    line.recv(1)  # until whoever asked has gone

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            thread.join(30)


def test_without_avahi_nothing_is_said(tmp_path: Path) -> None:
    assert announced(config_of(tmp_path), machine(tmp_path, avahi=False, service=False)) is None


def test_it_is_announced_as_this_machine(tmp_path: Path) -> None:
    config, root = config_of(tmp_path), machine(tmp_path)
    with answering(root / AVAHI, b"+ 2 0 cab-17.local 127.0.0.1\n") as asked:
        found = announced(config, root)
    assert found == ("ok", "mdns ok", ("http://cab-17.local:8470/", "127.0.0.1"))
    assert asked == [b"RESOLVE-HOSTNAME cab-17.local\n"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"+ 2 0 cab-17.local 192.0.2.9\n", "mdns taken"),
        (b"+ 2 0 cab-17.local nonsense\n", "mdns taken"),
        (b"-15 Timeout reached\n", "mdns silent"),
        (b"", "mdns silent"),
        (b"x" * 5_000, "mdns silent"),
    ],
)
def test_what_avahi_says_else_is_told(tmp_path: Path, answer: bytes, words: str) -> None:
    config, root = config_of(tmp_path), machine(tmp_path)
    with answering(root / AVAHI, answer):
        found = announced(config, root)
    assert found is not None
    assert (found[0], found[1]) == ("!!", words)


@pytest.mark.parametrize(
    ("listen", "name", "avahi", "service", "expected"),
    [
        ("0.0.0.0:8470", "cab-17.local", True, False, ("? ", "mdns not")),
        ("0.0.0.0:8470", "cab-17.local", False, True, ("!!", "mdns down")),
        ("0.0.0.0:8080", "cab-17.local", True, True, ("!!", "mdns port")),
        ("127.0.0.1:8470", "cab-17.local", True, True, ("!!", "mdns here")),
        ("0.0.0.0:8470", "other.local", True, True, ("!!", "mdns name")),
        ("0.0.0.0:8470", "cab-17.local", True, True, ("!!", "mdns silent")),  # its socket is none
    ],
)
def test_what_stands_in_the_way(
    tmp_path: Path, listen: str, name: str, avahi: bool, service: bool, expected: tuple[str, str]
) -> None:
    found = announced(config_of(tmp_path, listen, name), machine(tmp_path, avahi=avahi, service=service))
    assert found is not None
    assert found[:2] == expected
    for language in ("en", "fr"):
        said, _, do = WORDS[language][found[1]].partition("|")
        assert said.format(*found[2])
        assert do
