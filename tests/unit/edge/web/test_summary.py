"""What the command line is told of devices: who has changed which of them here, in both languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.changes.versions import Act, ListVersion
from edge.web import devices
from edge.web.language import Language, Speech
from edge.web.summary import device_lines
from unit.edge.web.test_screens import NOW_US, Cabinet

DAY_US = 86_400_000_000


def version(act: Act, *, ago_us: int = 0, synced: bool = True) -> ListVersion:
    return ListVersion(number=1, by="Léa", time_us=NOW_US - ago_us, synced=synced, act=act, device="lamp-1")


@pytest.mark.parametrize(
    ("language", "made", "words"),
    [
        ("en", version("replaced"), "replaced by Léa, 12:00"),
        ("fr", version("changed", ago_us=DAY_US), "modifié par Léa, hier 12:00"),
        ("fr", version("added", ago_us=9 * DAY_US), "ajouté par Léa, 12/11 12:00"),
        ("en", version("replaced", synced=False), "replaced by Léa, 12:00 (an estimate)"),
        ("fr", None, "modifié à l’armoire"),
    ],
)
async def test_who_has_changed_a_device_and_when(
    tmp_path: Path, language: Language, made: ListVersion | None, words: str
) -> None:
    cabinet = Cabinet(tmp_path, {"lamp-1": "One", "lamp-2": "Two"})
    sight = cabinet.sight()
    speech = Speech(language, sight.zone, NOW_US)
    first, second = await device_lines(devices.hung(sight.lines), sight, speech, {"lamp-1": made, "gone": None})
    assert first.changed is not None
    assert first.changed.words == words
    assert (first.changed.by, first.changed.time_us) == (("", None) if made is None else ("Léa", made.time_us))
    assert (second.id, second.changed) == ("lamp-2", None)
