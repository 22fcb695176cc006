"""Formats: the same samples in the formats that other systems send up. Each is written as its senders write it, and
where they differ, so that it comes out smaller: all of a batch in one body, all samples of a device together.

    json       what thingsboard-gateway sends: {"device": [{"ts": milliseconds, "values": {…}}, …]}. It cuts that into
               messages of 8 KB; here it stays whole
    senml      SenML in CBOR (RFC 8428, numeric labels): one pack, a base name and a base time for each series, times
               relative to it in the shortest float that holds them
    lines      InfluxDB line protocol, times in milliseconds: measurement = the device
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import cbor2
import msgspec
import zstandard

from wire.sample import Sample, Value

ZSTD_LEVEL: Final = 3  # as ours
GZIP_LEVEL: Final = 6  # everybody's default
_BASE_NAME, _BASE_TIME, _NAME, _VALUE, _TEXT, _BOOL, _TIME = -2, -3, 0, 2, 3, 4, 6  # RFC 8428, table 2
_ESCAPES: Final = str.maketrans({",": "\\,", " ": "\\ ", "=": "\\="})


def by_device(samples: Iterable[Sample]) -> Mapping[str, list[Sample]]:
    """The samples of each device, in order."""
    devices: dict[str, list[Sample]] = {}
    for sample in samples:
        devices.setdefault(sample.device, []).append(sample)
    return devices


def json(samples: Iterable[Sample]) -> bytes:
    """One telemetry message of a ThingsBoard gateway."""
    return msgspec.json.encode(
        {
            device: [{"ts": s.time_us // 1_000, "values": s.values} for s in found]
            for device, found in by_device(samples).items()
        }
    )


def senml(samples: Iterable[Sample]) -> bytes:
    """One SenML pack."""
    records: list[dict[int, Any]] = []
    for device, found in by_device(samples).items():
        for point in dict.fromkeys(p for s in found for p in s.values):
            series = [(s.time_us, s.values[point]) for s in found if point in s.values]
            base_us = series[0][0]
            base: dict[int, Any] = {_BASE_NAME: f"{device}/{point}", _BASE_TIME: _number(base_us / 1e6)}
            for time_us, value in series:
                passed = {_TIME: _number((time_us - base_us) / 1e6)} if time_us != base_us else {}
                records.append({**base, _label(value): _number(value), **passed})
                base = {}
    return cbor2.dumps(records, canonical=True)


def lines(samples: Iterable[Sample]) -> bytes:
    """Line protocol, a line a sample."""
    return b"".join(_line(s) for found in by_device(samples).values() for s in found)


def gzipped(body: bytes) -> bytes:
    """As gzip makes it by default."""
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


def zstd(body: bytes) -> bytes:
    """As our own bodies are."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body)


def count(samples: Sequence[Sample]) -> int:
    """How many readings."""
    return sum(len(s.values) for s in samples)


def _number(value: Value) -> Value:
    """A whole number as CBOR is shortest with it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _label(value: Value) -> int:
    return _BOOL if isinstance(value, bool) else _TEXT if isinstance(value, str) else _VALUE


def _line(sample: Sample) -> bytes:
    fields = ",".join(f"{point}={_field(value)}" for point, value in sample.values.items() if value is not None)
    return f"{sample.device.translate(_ESCAPES)} {fields} {sample.time_us // 1_000}\n".encode()


def _field(value: Value) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value}i" if isinstance(value, int) else repr(value)
