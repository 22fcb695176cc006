"""Metrics: what health knows, in the Prometheus text format, for whoever watches many nodes with tools of their own.

prometheus_client is imported when somebody asks first. Names begin with `lamplighter_node_`; what drivers count of
their lines has the label `line`. Bounds: two series a device, and as many as the node has counters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from edge.sampling.device_states import DeviceState, State
from wire.entries import Health, Verdict

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX: Final = "lamplighter_node"
CONTENT_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"
# Of the counters of health those that say how it is now, and may fall.
NOW: Final = frozenset({"orders_open", "alarms_standing", "downlink_connected", "connected"})


def text(health: Health, states: Sequence[DeviceState], node: str) -> bytes:
    """The whole answer."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Once(Collector):
        def collect(self) -> Iterator[Metric]:
            return _families(health, states, node)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry)


def _families(health: Health, states: Sequence[DeviceState], node: str) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    yield InfoMetricFamily(PREFIX, "The node and its version", {"node": node, "version": health.version})
    verdict = GaugeMetricFamily(f"{PREFIX}_verdict", "1 for what the node says of itself", labels=["verdict"])
    for word in get_args(Verdict):
        verdict.add_metric([word], float(health.verdict == word))
    yield verdict
    for name, what, value in (
        ("uptime_seconds", "Since the start", health.uptime_s),
        ("clock_synchronized", "Whether times can be believed", float(health.clock_synced)),
        ("outbox_entries", "Entries that wait for the city", health.outbox_entries),
        ("outbox_oldest_seconds", "Age of the oldest entry that waits", health.outbox_oldest_s),
        ("outbox_bytes", "What the outbox takes on the card", health.outbox_bytes),
        ("outbox_limit_bytes", "The most that it may take", health.outbox_limit_bytes),
        ("last_ack_seconds", "Since the city has last confirmed something", health.last_ack_s),
        ("disk_free_bytes", "Free on the card", health.disk_free_bytes),
        ("memory_bytes", "Resident memory of the node", _memory_bytes()),
    ):
        if value is not None:  # nothing waits, or nothing was confirmed yet
            yield GaugeMetricFamily(f"{PREFIX}_{name}", what, value=float(value))
    yield from _of_devices(health, states)
    lines: dict[str, list[tuple[str, int]]] = {}
    for counter, value in sorted(health.counters.items()):
        line, _, name = counter.rpartition(".")
        if line:
            lines.setdefault(_named(name), []).append((line, value))
        elif counter in NOW:
            yield GaugeMetricFamily(f"{PREFIX}_{_named(counter)}", "As in health", value=value)
        else:
            yield CounterMetricFamily(f"{PREFIX}_{_named(counter)}", "As in health", value=value)
    for name, found in lines.items():
        kind = GaugeMetricFamily if name in NOW else CounterMetricFamily
        family = kind(f"{PREFIX}_line_{name}", "What the driver of a line counts, since it was opened", labels=["line"])
        for line, value in found:
            family.add_metric([line], value)
        yield family


def _of_devices(health: Health, states: Sequence[DeviceState]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    many = GaugeMetricFamily(f"{PREFIX}_devices", "Devices by how they are", labels=["state"])
    for state in get_args(State):
        many.add_metric([state], sum(s.state == state for s in states))
    yield many
    good = GaugeMetricFamily(f"{PREFIX}_device_good", "1 for one that is heard and good", labels=["device", "line"])
    age = GaugeMetricFamily(f"{PREFIX}_device_last_good_seconds", "Since it was good last", labels=["device", "line"])
    for each in states:
        good.add_metric([each.id, each.line], float(each.state == "good"))
        if each.last_good_us is not None:
            age.add_metric([each.id, each.line], max(0.0, (health.time_us - each.last_good_us) / 1e6))
    yield good
    yield age


def _named(counter: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", counter)


def _memory_bytes() -> float | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return float(pages * 4096)
