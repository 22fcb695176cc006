"""Bytes of every version, frozen: what a node of that version once wrote must be read for ever.

The files hold what the functions below describe, as the version's own writer wrote it. Once a version is released
they are never written again; a new version adds a folder (`python tests/unit/wire/test_golden.py tests/golden/v2`).
v1.1 is version 1 with what its readers skip where they do not know it: a run's first batch names its predecessor. v1.2
has the visits of technicians, whose places older readers keep; v1.3 who decides, likewise, and the question why. v1.4
has rosters that say how often devices are read.

The batch and the row are as a node writes them; the chunk names its places, as the cloud does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from wire import codec
from wire.batch import ORIGIN, Ack, Batch, Lane, Placed, Predecessor, Snapshot
from wire.columns import Columns
from wire.contents import Contents, join
from wire.device import Device, Point, Roster
from wire.entries import Alarm, ClockFix, Decision, Decisions, Gap, Health, Mark, Result, Unknown, Visit
from wire.orders import AlarmAct, Bundle, Command, Down, Relinquish
from wire.sample import Clock, Sample, bad, uncertain
from wire.why import AskWhy, LevelHolds, WhyAnswer, WhyPoint, WhyRule

GOLDEN = Path(__file__).parents[2] / "golden"
NOW = 1_795_000_000_000_000
SYNCED, ESTIMATED = Clock(42, synced=True), Clock(43, synced=False)


def lamp() -> Columns:
    return Columns.of(
        [
            Sample(
                "lamp-001",
                NOW + 5_000_000 * i,
                SYNCED,
                {
                    "lamp_on": i > 1,
                    "dim_level": (0.0, 0.0, 40.5, 100.0)[i],
                    "active_power": (0.1 + 0.2, 1e-9, 56.73, float(2**60))[i],
                    "energy": (2**40, 2**40 + 3, 2**40 + 5, 2**40 + 9)[i],
                    "mode": ("automatic", "automatic", "manual", "automatic")[i],
                    "answers": 100 + i,
                },
            )
            for i in range(4)
        ]
    )


def ragged() -> Columns:
    return Columns.of(
        [
            Sample("bin-7", NOW + 1_000, ESTIMATED, {"fill": 43.5, "lid": "closed"}),
            Sample("bin-7", NOW + 61_000, ESTIMATED, {"fill": None}, {"fill": bad("no answer within 1 s")}),
            Sample("bin-7", NOW + 121_500, ESTIMATED, {"lid": "open", "x": 1}, {"x": uncertain("retained")}),
        ]
    )


def second_lamp() -> Columns:
    return Columns.of(
        [
            msgspec.structs.replace(s, device="lamp-002", values={**s.values, "dim_level": 30.25, "mode": "manual"})
            for s in lamp().samples()[:3]
        ]
    )


def first_row() -> Contents:
    return Contents.of([lamp(), ragged(), second_lamp()])


def second_row() -> Contents:
    return Contents.of(
        [
            Gap(reason="the card was full", lost=5, seqs=5, from_us=NOW, to_us=NOW + 9, devices=("a",)),
            ClockFix(boot=43, offset_us=-1_500_000, error_us=2_000),
            alarm(),
            mark(),
            result(),
            Health(time_us=NOW, verdict="degraded", reasons=("1 of 2 devices are silent",), counters={"p": 1}),
            roster(),
            second_lamp(),
            lamp(),
        ]
    )


def chunk() -> list[Placed]:
    return [Placed([0, 2, 4, 6], lamp()), Placed([1, 3, 5], ragged())]


def batch() -> Batch:
    return Batch(
        node="cab-0042",
        epoch=2**62 + 1,
        lane=Lane.BULK,
        first_seq=1001,
        through_seq=1028,
        prev=ORIGIN,
        digest=bytes(range(16)),
        held_from=17,
        head_seq=2000,
        entries=join([(0, first_row()), (first_row().width, second_row())]),
    )


PREDECESSORS = {
    "first.cbor.zst": Predecessor(2**62 + 1, 1028, bytes(range(16))),
    "first-after-loss.cbor.zst": Predecessor(2**62 + 1, 1028, bytes(range(16)), whole=False),
    "first-of-a-new-card.cbor.zst": None,
}


def first(predecessor: Predecessor | None) -> Batch:
    return Batch(
        node="cab-0042",
        epoch=2**62 + 2,
        lane=Lane.BULK,
        first_seq=1,
        through_seq=first_row().width,
        prev=ORIGIN,
        digest=bytes(range(16)),
        held_from=1,
        head_seq=2000,
        entries=first_row(),
        predecessor=predecessor,
    )


def alarm() -> Alarm:
    return Alarm(
        id="a1",
        device="lamp-001",
        rule="lamp-fault",
        severity="high",
        state="raised",
        raised_us=NOW,
        time_us=NOW,
        respond_by_us=NOW + 3_600_000_000,
        text={"en": "Lamp fault", "fr": "Défaut de lampe"},
        values={"lamp_fault": True, "active_power": 0.0, "n": 7, "text": "x", "none": None},
        acknowledged=True,
        by="m.dupont",
        boot=43,
    )


def mark() -> Mark:
    return Mark(device="lamp-001", rule="crosswalk-night", tag="crossing", time_us=NOW, values={"passages": 7})


def result() -> Result:
    return Result(order="o1", stage="verified", time_us=NOW, device="lamp-001", point="dim_level", read_back=40.5)


def visits() -> list[Visit]:
    return [
        Visit(visit="v1", by="M. Dupont", act="began", time_us=NOW, until_us=NOW + 1_800_000_000, code=7, boot=43),
        Visit(visit="v1", by="M. Dupont", act="here", time_us=NOW + 1, until_us=NOW + 7_200_000_000),
        Visit(visit="v1", by="M. Dupont", act="acted", time_us=NOW + 2, device="lamp-001", order="site-1", detail="on"),
        Visit(visit="v1", by="M. Dupont", act="left", time_us=NOW + 3, detail="logged out"),
    ]


def decisions() -> list[Decisions]:
    lamps = ("lamp-001", "lamp-002")
    return [
        Decisions(
            time_us=NOW,
            decided=(
                Decision(point="dim_level", devices=lamps, level="plan", value=40.5, by="street", until_us=NOW + 9),
                Decision(point="dim_level", devices=("lamp-003",), level="technician", by="m.dupont", order="site-1",
                         blinks=True),
                Decision(point="relay", devices=lamps),
            ),
            plan="winter 7",
            rules="rules 12",
        ),
        Decisions(time_us=NOW + 1, decided=(Decision(point="mode", devices=lamps, level="default", value="auto"),),
                  boot=43),
    ]  # fmt: skip


def deciding() -> Batch:
    return Batch(
        node="cab-0042",
        epoch=2**62 + 1,
        lane=Lane.URGENT,
        first_seq=9,
        through_seq=10,
        prev=ORIGIN,
        digest=bytes(range(16)),
        held_from=1,
        head_seq=10,
        entries=[Placed([i], entry) for i, entry in enumerate(decisions())],
    )


def answer() -> WhyAnswer:
    return WhyAnswer(
        id="w1",
        device="lamp-001",
        time_us=NOW,
        points=(
            WhyPoint(
                point="dim_level",
                levels=(
                    LevelHolds(level="hypervisor", value=80.0, by="ops", order="o1", until_us=NOW + 9),
                    LevelHolds(level="plan", value=40.5, by="street"),
                ),
                text={"en": "80 % because of the control room", "fr": "80 % : poste de contrôle"},
            ),
        ),
        plan="winter 7",
        rules="rules 12",
        watching=(WhyRule(name="look", state="waiting", when="fill > 50.0", text="fill is not known"),),
        boot=43,
    )


def visiting() -> Batch:
    return Batch(
        node="cab-0042",
        epoch=2**62 + 1,
        lane=Lane.URGENT,
        first_seq=5,
        through_seq=8,
        prev=ORIGIN,
        digest=bytes(range(16)),
        held_from=1,
        head_seq=8,
        entries=[Placed([i], visit) for i, visit in enumerate(visits())],
    )


def roster() -> Roster:
    return Roster(
        devices=(Device(id="lamp-001", kind="streetlight", profile="lx-1", lon=5.041, lat=47.322, tags=("rue",)),),
        profiles={
            "lx-1": (
                Point(name="dim_level", type="float", unit="%", low=0.0, high=100.0, resolution=0.1, writable=True),
            )
        },
    )


def periods() -> Batch:
    lamp = Device(id="lamp-001", kind="streetlight", profile="lx-1", period_s=10.0, heartbeats_s={"dim_level": 600.0})
    energy = Point(name="active_energy", type="int", unit="W.h", counter=True, wraps_at=4294967296.0)
    return Batch(
        node="cab-0042",
        epoch=2**62 + 1,
        lane=Lane.URGENT,
        first_seq=11,
        through_seq=11,
        prev=ORIGIN,
        digest=bytes(range(16)),
        held_from=1,
        head_seq=11,
        entries=[Placed([0], Roster(devices=(lamp,), profiles={"lx-1": (energy,)}))],
    )


def ack() -> Ack:
    return Ack(
        generation=3, epoch=2**62 + 1, lane=Lane.BULK, through_seq=1028, digest=bytes(range(16)), accepts=(1,),
        server_us=NOW, pause_s=1.5, live_s=30.0,
    )  # fmt: skip


def snapshot() -> Snapshot:
    return Snapshot(node="cab-0042", columns=[lamp(), ragged()])


def downs() -> list[Down]:
    given: dict[str, Any] = {"by": "m.dupont", "issued_us": NOW, "expires_us": NOW + 3_600_000_000}
    point: dict[str, Any] = {"device": "lamp-001", "point": "dim_level"}
    return [
        Down(server_us=NOW),
        *(
            Down(server_us=NOW, order=order)
            for order in (
                Command(id="o1", group="g1", **given, **point, value=40.5, level="emergency"),
                Command(id="o2", **given, **point, value=True),
                Relinquish(id="o3", **given, **point),
                AlarmAct(id="o4", **given, alarm="a1", act="shelve", until_us=NOW + 5, note="pièce commandée"),
                Bundle(id="o5", **given, kind="plan", version="7", text='name = "été"'),
            )
        ),
    ]


def written() -> dict[str, bytes]:
    return {
        "batch.cbor.zst": codec.encode_batch(batch()),
        "row.cbor.zst": codec.encode_row(first_row()),
        "chunk.cbor.zst": codec.encode_row(chunk()),
        "snapshot.cbor.zst": codec.encode_snapshot(snapshot()),
        "ack.cbor": codec.encode_ack(ack()),
        "downs.json": msgspec.json.Encoder().encode_lines(downs()),
        "visits.cbor.zst": codec.encode_batch(visiting()),
        "decisions.cbor.zst": codec.encode_batch(deciding()),
        "periods.cbor.zst": codec.encode_batch(periods()),
        "why.json": msgspec.json.encode(Down(server_us=NOW, why=AskWhy(id="w1", device="lamp-001"))),
        "why-answer.json": msgspec.json.encode(answer()),
        **{name: codec.encode_batch(first(predecessor)) for name, predecessor in PREDECESSORS.items()},
    }


def shown(placed: Sequence[Placed]) -> list[object]:
    return [
        (
            list(p.places),
            [(s.device, s.time_us, sorted(s.values.items()), s.quality, s.clock) for s in p.entry.samples()],
        )
        if isinstance(p.entry, Columns)
        else (list(p.places), p.entry)
        for p in placed
    ]


PLACES = {
    (0, "bin-7"): [0, 1, 2],
    (0, "lamp-001"): [3, 4, 5, 6],
    (0, "lamp-002"): [7, 8, 9],
    (1, "lamp-001"): [21, 22, 23, 24],
    (1, "lamp-002"): [25, 26, 27],
}


def test_where_each_sample_stands() -> None:
    found = {p.entry.device: list(p.places) for p in batch().entries if isinstance(p.entry, Columns)}
    assert found == {
        device: [p for (_, name), places in PLACES.items() if name == device for p in places] for device in found
    }
    assert [list(p.places) for p in batch().entries if not isinstance(p.entry, Columns)] == [
        [10, 11, 12, 13, 14], [15], [16], [17], [18], [19], [20]
    ]  # fmt: skip


@pytest.mark.parametrize("version", sorted(p.name for p in GOLDEN.iterdir()))
def test_what_that_version_wrote_is_read(version: str) -> None:
    files = {p.name: p.read_bytes() for p in (GOLDEN / version).iterdir()}
    back = codec.decode_batch(files["batch.cbor.zst"])
    assert shown(back.entries) == shown(batch().entries)
    assert (back.node, back.epoch, back.through_seq, back.digest) == ("cab-0042", 2**62 + 1, 1028, bytes(range(16)))
    assert shown(codec.decode_row(files["row.cbor.zst"])) == shown(first_row())
    assert shown(codec.decode_row(files["chunk.cbor.zst"])) == shown(chunk())
    assert {c.device: c.samples() for c in codec.decode_snapshot(files["snapshot.cbor.zst"]).columns} == {
        c.device: c.samples() for c in snapshot().columns
    }
    assert codec.decode_ack(files["ack.cbor"]) == ack()
    assert msgspec.json.Decoder(Down).decode_lines(files["downs.json"]) == downs()


@pytest.mark.parametrize("name", PREDECESSORS)
def test_what_a_run_said_of_its_predecessor_is_read(name: str) -> None:
    back = codec.decode_batch((GOLDEN / "v1.1" / name).read_bytes())
    assert back.predecessor == PREDECESSORS[name]
    assert shown(back.entries) == shown(first_row())


def test_visits_are_read() -> None:
    back = codec.decode_batch((GOLDEN / "v1.2" / "visits.cbor.zst").read_bytes())
    assert [p.entry for p in back.entries] == visits()


def test_who_does_not_know_visits_keeps_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    types = {name: kind for name, kind in codec._TYPES.items() if kind is not Visit}
    monkeypatch.setattr(codec, "_TYPES", types)
    back = codec.decode_batch((GOLDEN / "v1.2" / "visits.cbor.zst").read_bytes())
    assert shown(back.entries) == [([i], Unknown("visit")) for i in range(4)]


def test_who_decides_is_read() -> None:
    back = codec.decode_batch((GOLDEN / "v1.3" / "decisions.cbor.zst").read_bytes())
    assert [p.entry for p in back.entries] == decisions()
    down = msgspec.json.decode((GOLDEN / "v1.3" / "why.json").read_bytes(), type=Down)
    assert down == Down(server_us=NOW, why=AskWhy(id="w1", device="lamp-001"))
    assert msgspec.json.decode((GOLDEN / "v1.3" / "why-answer.json").read_bytes(), type=WhyAnswer) == answer()


def test_an_older_aggregator_keeps_the_places_of_who_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    types = {name: kind for name, kind in codec._TYPES.items() if kind is not Decisions}
    monkeypatch.setattr(codec, "_TYPES", types)
    back = codec.decode_batch((GOLDEN / "v1.3" / "decisions.cbor.zst").read_bytes())
    assert shown(back.entries) == [([i], Unknown("decisions")) for i in range(2)]


def test_an_older_node_takes_a_question_for_the_time() -> None:
    class OlderDown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
        server_us: int
        order: Command | Relinquish | AlarmAct | Bundle | None = None

    down = msgspec.json.decode((GOLDEN / "v1.3" / "why.json").read_bytes(), type=OlderDown)
    assert down == OlderDown(server_us=NOW)


def test_how_often_devices_are_read_is_read_and_not_needed() -> None:
    back = codec.decode_batch((GOLDEN / "v1.4" / "periods.cbor.zst").read_bytes())
    assert shown(back.entries) == shown(periods().entries)
    older = codec.decode_batch((GOLDEN / "v1" / "batch.cbor.zst").read_bytes())
    (found,) = [p.entry for p in older.entries if isinstance(p.entry, Roster)]
    assert [(d.period_s, d.heartbeats_s) for d in found.devices] == [(None, {})]


def test_this_version_writes_what_is_frozen() -> None:
    """A change of what is written is a new version, or a mistake. zstd's own bytes may differ between its releases."""

    def plain(name: str, data: bytes) -> bytes:
        return zstandard.ZstdDecompressor().decompress(data) if name.endswith(".zst") else data

    now = written()
    for version in ("v1", "v1.1", "v1.2", "v1.3", "v1.4"):
        for file in (GOLDEN / version).iterdir():
            assert plain(file.name, now[file.name]) == plain(file.name, file.read_bytes()), file.name
    assert set(now) == {p.name for p in (GOLDEN / "v1.4").iterdir()}


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)  # never over what is there
    for file, content in written().items():
        (target / file).write_bytes(content)
