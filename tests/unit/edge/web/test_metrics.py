"""What Prometheus reads is what health says."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from edge.sampling.device_states import DeviceState
from edge.web.metrics import PREFIX, text
from wire.entries import Health
from wire.time import Utc

NOW_US = Utc(1_790_000_000_000_000)
HEALTH = Health(
    time_us=NOW_US,
    verdict="degraded",
    version="0.1.0",
    uptime_s=60.5,
    clock_synced=True,
    outbox_entries=12,
    outbox_oldest_s=3.5,
    outbox_bytes=1_000,
    outbox_limit_bytes=2_000,
    disk_free_bytes=3_000,
    counters={"polls": 7, "orders_open": 2, "north.connected": 1, "north.requests": 9, "rs-485.requests": 3},
)
STATES = [
    DeviceState(id="lamp-1", line="north", profile="lx-1", state="good", last_good_us=Utc(NOW_US - 2_000_000)),
    DeviceState(id='b"1\\', line="rs-485", profile="lx-1", state="never"),
]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(health: Health = HEALTH, states: list[DeviceState] = STATES) -> Series:
    found: Series = {}
    for family in text_string_to_metric_families(text(health, states, "cab-1").decode()):
        for sample in family.samples:
            key = sample.name.removeprefix(f"{PREFIX}_"), frozenset(sample.labels.items())
            assert key not in found, "each series once"
            found[key] = sample.value
    return found


def of(found: Series, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_what_health_says() -> None:
    found = read()
    assert of(found, "info", node="cab-1", version="0.1.0") == 1
    assert [of(found, "verdict", verdict=v) for v in ("ok", "degraded", "failed")] == [0, 1, 0]
    expected = {
        "uptime_seconds": 60.5, "clock_synchronized": 1, "outbox_entries": 12, "outbox_oldest_seconds": 3.5,
        "outbox_bytes": 1_000, "outbox_limit_bytes": 2_000, "disk_free_bytes": 3_000, "polls_total": 7,
        "orders_open": 2,
    }  # fmt: skip
    assert {name: of(found, name) for name in expected} == expected
    assert ("last_ack_seconds", frozenset()) not in found, "nothing was confirmed yet"
    assert 1e6 < of(found, "memory_bytes") < 1e10


def test_lines_and_devices_are_labels() -> None:
    found = read()
    assert of(found, "line_connected", line="north") == 1
    assert (of(found, "line_requests_total", line="north"), of(found, "line_requests_total", line="rs-485")) == (9, 3)
    assert of(found, "device_good", device="lamp-1", line="north") == 1
    assert of(found, "device_good", device='b"1\\', line="rs-485") == 0
    assert of(found, "device_last_good_seconds", device="lamp-1", line="north") == 2
    assert [of(found, "devices", state=s) for s in ("good", "uncertain", "bad", "never", "waiting")] == [1, 0, 0, 1, 0]
