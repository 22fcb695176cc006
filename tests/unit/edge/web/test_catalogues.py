"""What the pages say is there in every language, as sources and templates say it now."""

from __future__ import annotations

import importlib.util
import re
import string
from pathlib import Path
from types import ModuleType

import pytest

from edge.web.language import LANGUAGES, LOCALE

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def builds() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def parts(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_message_has_its_words_and_no_others(builds: ModuleType) -> None:
    said = {m.id for m in builds.sources() if m.id}
    assert len(said) > 150
    files = builds.files()
    assert {f.parents[1].name for f in files} == set(LANGUAGES) - {"en"}
    for file in files:
        catalogue = builds.read(file)
        there = {m.id: m for m in catalogue if m.id}
        assert set(there) == said, "python hatch_build.py brings them up to date"
        for key, message in there.items():
            assert not message.fuzzy
            ids = (key,) if isinstance(key, str) else key
            words = (message.string,) if isinstance(message.string, str) else message.string
            for one, word in zip(ids, words, strict=True):
                assert word, f"{one!r} has no words"
                assert parts(word) <= parts(one), word


def test_french_is_written_as_french_is(builds: ModuleType) -> None:
    for message in builds.read(LOCALE / "fr/LC_MESSAGES/lamplighter.po"):
        for word in (message.string,) if isinstance(message.string, str) else message.string:
            if message.id:
                assert not re.search(r"[^\u00a0\u202f\d(][?;!%]", word), word
                assert not re.search(r"(?<![\u00a0\d]):(?!\w)", word), word
                assert "'" not in word, word


def test_what_is_compiled_is_what_is_written(builds: ModuleType) -> None:
    for file in builds.files():
        assert file.with_suffix(".mo").read_bytes() == builds.compiled(file), "python hatch_build.py compiles it"
