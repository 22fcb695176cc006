"""Catalogues: what the node's pages say in other languages, compiled when this project is built or installed.

`python hatch_build.py` looks through sources and templates and brings the `.po` files up to date, for who translates;
with `--compile` it only compiles them.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
WEB = ROOT / "edge/web"
DOMAIN = "lamplighter"
KEYWORDS: dict[str, Any] = {"say": (1,), "count": (1, 2), "N_": (1,)}
METHODS = [("**.py", "python"), ("**.html", "jinja2.ext:babel_extract")]
WIDTH = 110
ALWAYS = datetime(2026, 1, 1, tzinfo=UTC)  # no build is to differ from the next
VOLATILE = (
    b'"POT-Creation',
    b'"PO-Revision',
    b'"Report-Msgid',
    b'"Last-Translator',
    b'"Language-Team',
    b'"Generated-By',
)


def sources() -> Catalog:
    """What sources and templates say."""
    found = Catalog(project=DOMAIN, fuzzy=False)
    for file, _, message, comments, context in extract_from_dir(
        WEB, METHODS, options_map={"**.html": {"silent": "false", "trimmed": "true"}}, keywords=KEYWORDS
    ):
        found.add(message, None, [(f"edge/web/{file}", 1)], auto_comments=comments, context=context)
    return found


def files() -> list[Path]:
    """The catalogues."""
    return sorted((WEB / "locale").glob(f"*/LC_MESSAGES/{DOMAIN}.po"))


def read(file: Path) -> Catalog:
    """A catalogue."""
    with file.open("rb") as text:
        found = read_po(text, locale=file.parents[1].name, domain=DOMAIN, abort_invalid=True)
    found.creation_date = found.revision_date = ALWAYS
    return found


def compiled(file: Path) -> bytes:
    """A catalogue as the node reads it: the same bytes for the same words."""
    made = BytesIO()
    write_mo(made, read(file))
    return made.getvalue()


def compile_all() -> None:
    """Compile them."""
    for file in files():
        file.with_suffix(".mo").write_bytes(compiled(file))


def update() -> None:
    """Bring them up to date: what is new stands there without words, what is gone goes."""
    template = sources()
    for file in files():
        catalogue = read(file)
        catalogue.update(template, no_fuzzy_matching=True)
        write(file, catalogue)


def write(file: Path, catalogue: Catalog) -> None:
    """A catalogue again, without what would differ each time."""
    text = BytesIO()
    write_po(text, catalogue, width=WIDTH, ignore_obsolete=True, no_location=True)
    lines = text.getvalue().splitlines(keepends=True)
    file.write_bytes(b"".join(line for line in lines if not line.startswith(VOLATILE)).lstrip())


class CatalogueHook(BuildHookInterface[Any]):
    """See hatchling's own documentation, "Build hook plugins"."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before a wheel or an editable install is made."""
        del version, build_data
        compile_all()


if __name__ == "__main__":
    if "--compile" not in sys.argv:
        update()
    compile_all()
