from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from edge.sampling.device_states import states_of
from edge.sampling.last_samples import SILENT_PERIODS, UNHEARD_S, LastSamples
from wire.sample import Clock, Sample
from wire.time import Utc

SYNCED = Clock(1, synced=True)
NOW_US = Utc(1_790_000_000_000_000)


def line(*devices: str) -> Any:
    profile = SimpleNamespace(name="lx-1")
    attachments = [SimpleNamespace(device=SimpleNamespace(id=d), profile=profile) for d in devices]
    return SimpleNamespace(name="north", attachments=attachments)


def sample(device: str, **quality: str) -> Sample:
    return Sample(device, Utc(NOW_US - 5_000_000), SYNCED, {"level": 1, "power": 2}, quality)


def test_how_each_device_is() -> None:
    street = LastSamples()
    names = ("good", "uncertain", "silent", "never", "waiting", "wrong", "recalled")
    start = 1_000.0
    for name in names:
        street.expect(name, 60.0 if name != "waiting" else 3_600.0, start)
    street.note(sample("good"), start + 390)
    street.note(sample("uncertain", power="uncertain: out of range"), start + 390)
    street.note(sample("silent"), start + 10)
    street.note(sample("silent", level="bad: no answer", power="bad: no answer"), start + 380)
    street.devices["wrong"].fault = "misconfigured: no such unit"
    street.devices["recalled"].recalled = True
    now = start + 400
    assert now - start > max(UNHEARD_S, SILENT_PERIODS * 60)
    found = {s.id: s for s in states_of([line(*names)], street, now, NOW_US)}
    assert {name: s.state for name, s in found.items()} == {
        "good": "good", "uncertain": "uncertain", "silent": "bad", "never": "never", "waiting": "never",
        "wrong": "bad", "recalled": "bad",
    }  # fmt: skip
    assert found["uncertain"].reason == "power: uncertain: out of range"
    assert found["silent"].reason == "bad: no answer"
    assert found["wrong"].reason == "misconfigured: no such unit"
    assert found["good"].last_good_us == NOW_US - 10_000_000
    assert found["silent"].last_good_us == NOW_US - 390_000_000
    assert (found["never"].last_good_us, found["never"].last_sample_us) == (None, None)
    assert {(s.line, s.profile) for s in found.values()} == {("north", "lx-1")}
    soon = states_of([line("waiting")], street, start + 1, NOW_US)
    assert [s.state for s in soon] == ["waiting"]
