"""Bytes on the wire per reading: our batches beside the formats of others, on the same samples.

The simulated street in batches of 1 minute, 5 minutes, and 1 hour, after 5 s commits, as the uplink sends them; and
real hourly data of one device (`bench/air_quality.py`) in batches of a day, a week, 30 days, and all 13 months, after a
commit a sample. Each figure is the median over consecutive batches, its spread that of single batches. Every body is
decoded again and must give the very same samples.

Chained bodies lean on a self-contained one an hour before, which is among them. At the socket stands what our link
really sends, chained where that is worth it.

The peer is ThingsBoard's JSON, gzipped; SenML and line protocol stand beside it at 5 minutes. The limit holds values
and times only (`bench/formats_columns.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Final

import msgspec

from bench import air_quality, formats
from bench.batches import NODE, Row, Sealing, commits, cuts, readings, samples_of
from bench.figure import Figure, Goal
from bench.socket_bytes import SecureCity, send
from bench.stand import BenchError, Stand
from bench.street import Street
from cloud.ingest.bases import in_full
from edge.sync.chaining import Chains
from wire import chain
from wire.batch import ORIGIN, Ack, Batch
from wire.chain import CHAINED
from wire.codec import decode_batch, decode_row, encode_batch
from wire.columns import Columns
from wire.frame import stretch
from wire.sample import Sample

WHAT = "bytes on the wire per reading"

HOURS, QUICK_S = 2, 600
HOUR: Final = 3600
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
JSON, LEAST = "ThingsBoard JSON + gzip", "best offline columns"


class Way(msgspec.Struct, frozen=True):
    """A way to write consecutive batches of one lane as bodies, and to read those again in the same order."""

    name: str
    encode: Callable[[Sequence[Batch]], list[bytes]]
    decode: Callable[[Sequence[bytes]], list[Batch]]


def _alone(batches: Sequence[Batch]) -> list[bytes]:
    return [encode_batch(batch) for batch in batches]


def _alone_again(bodies: Sequence[bytes]) -> list[Batch]:
    return [decode_batch(body) for body in bodies]


def _chained(batches: Sequence[Batch]) -> list[bytes]:
    """As the link sends them to a cloud that reads chained bodies and takes all: a key frame an hour."""
    chains = Chains()
    bodies: list[bytes] = []
    for batch in batches:
        heard = Ack(generation=1, epoch=batch.epoch, lane=batch.lane, through_seq=0, digest=ORIGIN,
                    accepts=(1, CHAINED), server_us=0)  # fmt: skip
        chains.heard(heard)
        now_s = max(max(p.entry.times) for p in batch.entries if isinstance(p.entry, Columns)) / 1e6
        body = chains.body(batch, now_s)
        chains.taken(batch.lane, body, now_s)
        bodies.append(body.data)
    return bodies


def _chained_again(bodies: Sequence[bytes]) -> list[Batch]:
    """As the cloud reads them."""
    base: chain.Base | None = None
    batches: list[Batch] = []
    for body in bodies:
        if body.startswith(ZSTD_MAGIC):
            base = chain.Base(stretch(body))
            batches.append(decode_batch(body))
        else:
            assert base is not None
            batches.append(decode_batch(in_full(chain.decode(body), base)))
    return batches


ALONE: Final = Way("", _alone, _alone_again)
WAYS: Final = (ALONE, Way("chained", _chained, _chained_again))

GOALS: Final = {("5 min", ""): Goal(0.75), ("5 min", "chained"): Goal(0.4), ("1 min", "chained"): Goal(0.7)}


def run(stand: Stand) -> Iterator[Figure]:
    """See the module."""
    seconds = QUICK_S if stand.quick else HOURS * HOUR
    stand.say(f"{seconds / 60:.0f} minutes of the street")
    rows = _sealed(commits(Street(), seconds))
    periods = {"1 min": 60, "5 min": 300} | ({} if stand.quick else {"1 h": HOUR})
    pushes = {name: _pushed(rows, len(rows) * period_s // seconds) for name, period_s in periods.items()}
    for name, found in pushes.items():
        stand.say(f"street, {name}")
        yield from _figures(f"wire/street {name}", found, {way: GOALS.get((name, way.name)) for way in WAYS})
    yield from _others("wire/street 5 min", pushes["5 min"])
    yield from _at_socket(stand, {f"wire/street {name} at the socket": pushes[name] for name in ("1 min", "5 min")})
    yield from _real(stand)


def _real(stand: Stand) -> Iterator[Figure]:
    """The public data. Its samples come an hour apart, so each is a commit by itself."""
    samples = air_quality.load()
    if not samples:
        note = f"no {air_quality.path()}: LAMPLIGHTER_SHARED_DATA names its folder"
        yield Figure(name="wire/real data", unit="B/reading", less=True, note=note)
        return
    periods = {"30 days": 30 * 24} if stand.quick else {"1 day": 24, "7 days": 7 * 24, "30 days": 30 * 24, "all": 0}
    rows = _sealed([s] for s in samples[: 30 * 24 if stand.quick else None])
    for name, hours in periods.items():
        stand.say(f"real data, {name}")
        pushes = _pushed(rows, hours or len(rows))
        goal = Goal(1.3, "limit") if name in ("30 days", "all") else None
        yield from _figures(f"wire/real data {name}", pushes, {ALONE: goal})
        if name == "30 days":
            yield from _figures(f"wire/real data {name} beside JSON", pushes, {ALONE: Goal(2, "peer")})


def _sealed(samples: Iterable[list[Sample]]) -> list[list[Row]]:
    """The rows of each commit, which go up in pushes of any length."""
    sealing = Sealing()
    sealed: list[list[Row]] = []
    for commit in samples:
        sealed.append(sealing.commit(commit))
        if _exactly(s for row in sealed[-1] for s in samples_of(decode_row(row.body))) != _exactly(commit):
            raise BenchError("what was sealed is not what came in")
    return sealed


def _pushed(commits_: Sequence[Sequence[Row]], at_once: int) -> list[list[Batch]]:
    """What each push sends, when that many commits wait for it: one batch, or as many as the outbox cuts of it."""
    sealing = Sealing()
    whole = range(0, len(commits_) - at_once + 1, at_once)
    return [
        [sealing.cut(part) for part in cuts([row for rows in commits_[i : i + at_once] for row in rows])] for i in whole
    ]


def _figures(name: str, pushes: Sequence[Sequence[Batch]], goals: dict[Way, Goal | None]) -> Iterator[Figure]:
    """Our bodies, one figure a way of writing them; peer and limit on the same samples."""
    counts = [sum(map(readings, push)) for push in pushes]
    taken = [[s for batch in push for s in samples_of(batch.entries)] for push in pushes]
    given = _exactly(s for samples in taken for s in samples)
    jsons = [len(formats.gzipped(formats.json(samples))) for samples in taken]
    least = [_least_bytes(samples) for samples in taken]
    for way, goal in goals.items():
        batches = [batch for push in pushes for batch in push]
        bodies = way.encode(batches)
        again = way.decode(bodies)
        if _exactly(s for b in again for s in samples_of(b.entries)) != given:
            raise BenchError(f"{name}: what was decoded is not what was encoded")
        sizes = iter(map(len, bodies))
        ours = _each([sum(next(sizes) for _ in push) for push in pushes], counts)
        yield Figure(
            name=f"{name} {way.name}".rstrip(),
            unit="B/reading",
            less=True,
            ours=median(ours),
            peer=median(_each(jsons, counts)),
            peer_name=JSON,
            limit=median(_each(least, counts)) if all(least) else None,
            limit_name=LEAST,
            spread=(max(ours) - min(ours)) / median(ours),
            goal=goal,
            note=f"{len(pushes)} × {median(counts):.0f} readings in {len(bodies)} bodies;"
            f" {sum(map(len, bodies)) / sum(counts):.3f} over all",
        )


def _least_bytes(samples: Sequence[Sample]) -> int:
    """The limit, or 0 where its codecs are not installed (they are in scripts/bench's own environment)."""
    try:
        from bench.formats_columns import least_bytes
    except ImportError:
        return 0
    return least_bytes(samples)


def _others(name: str, pushes: Sequence[Sequence[Batch]]) -> Iterator[Figure]:
    """The other formats, on the same samples."""
    others: dict[str, Callable[[Sequence[Sample]], bytes]] = {
        "ThingsBoard JSON": formats.json,
        "SenML CBOR + zstd": lambda samples: formats.zstd(formats.senml(samples)),
        "line protocol + gzip": lambda samples: formats.gzipped(formats.lines(samples)),
    }
    counts = [sum(map(readings, push)) for push in pushes]
    ours = median(_each([sum(map(len, _alone(push))) for push in pushes], counts))
    for peer, write in others.items():
        sizes = [len(write([s for batch in push for s in samples_of(batch.entries)])) for push in pushes]
        yield Figure(
            name=f"{name} beside {peer}",
            unit="B/reading",
            less=True,
            ours=ours,
            peer=median(_each(sizes, counts)),
            peer_name=peer,
        )


def _at_socket(stand: Stand, sent: dict[str, Sequence[Sequence[Batch]]]) -> Iterator[Figure]:
    """With TLS and HTTP around it, both ways, over a connection that is kept."""
    stand.say("an aggregator with TLS")
    city = SecureCity(stand, NODE)
    for i, (name, pushes) in enumerate(sent.items()):
        batches = [msgspec.structs.replace(batch, epoch=batch.epoch + i) for push in pushes for batch in push]
        opening, each = asyncio.run(send(city, batches))
        per = _each([sent.crossed.both for sent in each], [readings(b) for b in batches])
        around = median(sent.crossed.both - sent.body_bytes for sent in each)
        answer = median(sent.crossed.down for sent in each)
        yield Figure(
            name=name,
            unit="B/reading",
            less=True,
            ours=median(per),
            spread=(max(per) - min(per)) / median(per),
            note=f"around each body {around:.0f} B, {answer:.0f} of them down; opening the connection {opening.both} B,"
            f" {opening.down} of them down, with a certificate of one link",
        )


def _each(sizes: Sequence[int], counts: Sequence[int]) -> list[float]:
    return [size / count for size, count in zip(sizes, counts, strict=True)]


def _exactly(samples: Iterable[Sample]) -> bytes:
    """The same for the same samples, down to types and bits; the order of devices does not count."""
    return msgspec.msgpack.encode(formats.by_device(samples), order="sorted")
