"""What drivers say, in the reader's language."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge.web.language import Speech
from edge.web.reasons import KNOWN, check, plain, said

ROOT = Path(__file__).parents[4]
FR = Speech("fr", ZoneInfo("Europe/Paris"), 0)
EN = Speech("en", ZoneInfo("Europe/Paris"), 0)


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("no answer within 1 s", "pas de réponse en 1 s"),
        ("not connected; 10.0.0.7:502 cannot be opened: No route to host",
         "pas de liaison ; 10.0.0.7:502 ne s’ouvre pas : aucun chemin vers cette adresse"),
        ("lines: the end of 3 drivers has taken 12 s", "lignes : la fin de 3 pilotes dure depuis 12 s"),
        ("Unreachable: no answer in time", "pas de réponse à temps"),
        (("the card was damaged: outbox.db was damaged (database disk image is malformed) and is now outbox.db.damaged;"
          " 7 rows were saved; 9 entries could not be read"),
         ("la carte était abîmée : outbox.db était abîmé (le fichier est illisible) et s’appelle maintenant"
          " outbox.db.damaged ; 7 blocs de mesures sont sauvés ; 9 mesures sont perdues")),
        ("something that nobody knows", "something that nobody knows"),
        ("", ""),
    ],
)  # fmt: skip
def test_known_reasons_are_said_in_french_and_others_as_they_are(why: str, words: str) -> None:
    assert re.sub("[\u00a0\u202f]", " ", said(plain(why), FR)) == words
    assert said(plain(why), EN) == plain(why)


def test_what_to_check_is_found_within_what_was_said() -> None:
    assert "network cable" in check("not connected; 10.0.0.7:502 cannot be opened: No route to host", EN)
    assert check("no answer within 1 s", EN) == ""


def test_a_reason_of_any_length_costs_nothing_much() -> None:
    assert len(said("not connected; " * 10_000, FR)) < 1_000


SYSTEM = {
    "No such file or directory",
    "Permission denied",
    "Connection refused",
    "No route to host",
    "Device or resource busy",
    "database disk image is malformed",
    "ConnectError",  # httpx, by edge.sync.http
    "ConnectTimeout",
}
SAY = (
    "drivers/**/*.py", "edge/sampling/supervisor.py", "edge/acting/own_alarms.py", "edge/sampling/intake.py",
    "edge/watchdog.py", "edge/acting/restarted.py", "edge/outbox/*.py", "groundwork/*.py",
)  # fmt: skip


def test_drivers_and_the_system_still_say_so() -> None:
    """A text that nobody says any more would stand here for ever."""
    sources = "\n".join(p.read_text() for pattern in SAY for p in ROOT.glob(pattern))
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)
    for message, _ in KNOWN:
        pieces = [p.strip(" .)") for p in re.split(r"\{\d\}|\(exception|[(:;,]", message)]
        for piece in pieces:
            if len(piece) > 3 and piece not in SYSTEM:
                assert piece in sources, f"{piece!r} of {message!r}"
