"""`lamplighter-edge door`: the address of the node's page, for the inside of the cabinet's door: as a QR code on the
terminal, or as a label of size A6 in French and English to be printed (SVG).

Exit codes: 0 shown or written; 1 there is no address that a phone could open, or the file cannot be written. A label
is never written over another file. Bounds: an address has MAX_URL_CHARS; texts are shortened to their line.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final, TextIO
from xml.sax.saxutils import escape

from edge.config import Config
from edge.verbs.asking import CONFIG, EVERYWHERE, EXIT_FAILED, Words, language_of

MAX_URL_CHARS: Final = 300
QUIET: Final = 4  # modules around a code (ISO/IEC 18004)
_WIDTH_MM, _HEIGHT_MM, _MARGIN_MM, _CODE_MM = 105.0, 148.0, 7.0, 78.0
_EM: Final = 0.62  # how wide a letter is at most, of its height, in a sans-serif face
_WORDS: Final[Words] = {
    "en": {
        "no name": "health.names of node.toml is empty: write there what the node is called, or --url",
        "only here": 'health.listen is {}: phones cannot open the page; write listen = "0.0.0.0:8470"',
        "there": "{} is there already: write another name",
        "written": "written: {}; print it at 100 % on A6, or on A4 and cut it out",
        "long": "the address has more than {} characters",
    },
    "fr": {
        "no name": "health.names de node.toml est vide : écrivez-y comment le nœud s’appelle, ou --url",
        "only here": 'health.listen vaut {} : la page est fermée aux téléphones ; écrivez listen = "0.0.0.0:8470"',
        "there": "{} existe déjà : écrivez un autre nom",
        "written": "écrit : {} ; imprimez-le à 100 % en A6, ou en A4 et découpez-le",
        "long": "l’adresse a plus de {} caractères",
    },
}
_SAID: Final = (
    ("Cette armoire, sur votre téléphone", "This cabinet, on your phone"),
    ("Rejoignez le réseau de l’armoire, visez le code :", "ce qui ne va pas, et quoi faire."),
    ("Join the cabinet’s network, scan the code:", "what is wrong, and what to do."),
)


def add(verbs: Any) -> None:
    """Add `door` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    verb: argparse.ArgumentParser = verbs.add_parser("door", help="the page's address for inside the door, as QR code")
    verb.add_argument("--svg", type=Path, metavar="FILE", help="write a label of size A6 to print")
    verb.add_argument("--url", help="the page's address (default: by health.names and health.listen)")
    verb.add_argument("--config", type=Path, default=CONFIG, help=f"node.toml (default {CONFIG})")
    verb.add_argument("--lang", choices=["en", "fr"], help="language of what is said (default: that of LANG)")


def run(config: Config, args: argparse.Namespace, *, locale: str, out: TextIO, err: TextIO) -> int:
    """Show or write it."""
    words = _WORDS[language_of(args, locale)]
    try:
        url: str = args.url or _address(config, words)
        if len(url) > MAX_URL_CHARS:
            raise ValueError(words["long"].format(MAX_URL_CHARS))  # noqa: TRY301 - told like the others
        if args.svg is None:
            import segno  # only whoever asks for a code has to wait for it

            segno.make_qr(url, error="m").terminal(out, border=QUIET, compact=True)  # pyright: ignore[reportUnknownMemberType]
            out.write(f"{config.node.id}: {url}\n")
            return 0
        where = "" if config.site is None else config.site.name
        with args.svg.open("x", encoding="utf-8") as file:
            file.write(label(config.node.id, where, url))
    except FileExistsError:
        err.write(words["there"].format(args.svg) + "\n")
        return EXIT_FAILED
    except (OSError, ValueError) as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    out.write(words["written"].format(args.svg) + "\n")
    return 0


def _address(config: Config, words: Any) -> str:
    """What a phone on the cabinet's network opens: a name of mDNS before others.

    Raises:
        ValueError: there is nothing that it could open.
    """
    host, _, port = config.health.listen.rpartition(":")
    if host.strip("[]") in ("localhost", "::1") or host.startswith("127."):
        raise ValueError(words["only here"].format(f'"{config.health.listen}"'))
    names = sorted(config.health.names, key=lambda name: not name.lower().endswith(".local"))
    if not names and host in EVERYWHERE:
        raise ValueError(words["no name"])
    name = names[0] if names else host
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    return f"http://{name}/" if int(port) == 80 else f"http://{name}:{port}/"


def label(node: str, where: str, url: str) -> str:
    """An SVG document of size A6: the node's id, where it stands, the code and the address."""
    middle, code_x = _WIDTH_MM / 2, (_WIDTH_MM - _CODE_MM) / 2
    modules = modules_of(url)
    n = len(modules) + 2 * QUIET
    path = "".join(
        f"M{x + QUIET} {y + QUIET}h1v1h-1z" for y, row in enumerate(modules) for x, dark in enumerate(row) if dark
    )
    (french, english), *said = _SAID
    lines = [
        _text(middle, 12, 5.2, french, bold=True),
        _text(middle, 18, 4.6, english),
        _text(middle, 29, 9, node, bold=True),
        _text(middle, 36, 4.6, where),
        (
            f'<svg x="{code_x:g}" y="38" width="{_CODE_MM:g}" height="{_CODE_MM:g}" viewBox="0 0 {n} {n}"'
            f' shape-rendering="crispEdges"><path d="{path}"/></svg>'
        ),
        _text(middle, 121, 5, url, bold=True),
        *(_text(middle, 127 + 5 * i, 3.7, text) for i, text in enumerate(t for pair in said for t in pair)),
    ]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH_MM:g}mm" height="{_HEIGHT_MM:g}mm"'
        f' viewBox="0 0 {_WIDTH_MM:g} {_HEIGHT_MM:g}" font-family="Arial, sans-serif" text-anchor="middle">\n'
        f'<title>{escape(node)}</title>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(line for line in lines if line)
        + "\n</svg>\n"
    )


def modules_of(url: str) -> list[list[bool]]:
    """The code of an address, without its quiet zone: which modules are dark."""
    import segno

    return [[bool(module) for module in row] for row in segno.make_qr(url, error="m").matrix]


def _text(x: float, y: float, size: float, text: str, *, bold: bool = False) -> str:
    """A line of text, as small as it must be to fit between the margins."""
    if not text:
        return ""
    size = min(size, (_WIDTH_MM - 2 * _MARGIN_MM) / (_EM * len(text)))
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:.2f}"{weight}>{escape(text)}</text>'
