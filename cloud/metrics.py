"""Metrics: the aggregator's own counters, in the Prometheus text format. One registry an application."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What is counted. Safe to call from the writer's thread."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._taken = Counter("lamplighter_batches_taken", "Batches taken", ["lane"], registry=registry)
        self._samples = Counter("lamplighter_samples", "Samples taken", registry=registry)
        self._readings = Counter("lamplighter_readings", "Readings taken", registry=registry)
        self._bytes = Counter("lamplighter_ingest_bytes", "Bytes of batches taken", registry=registry)
        self._not_taken = Counter(
            "lamplighter_batches_not_taken", "Batches that the one rule did not take", registry=registry
        )
        self._refused = Counter("lamplighter_batches_refused", "Batches refused", ["reason"], registry=registry)
        self._commits = Histogram(
            "lamplighter_commit_seconds", "Seconds of a transaction", buckets=_SECONDS, registry=registry
        )
        self._jobs = Counter("lamplighter_commit_jobs", "Jobs done in transactions", registry=registry)
        self._feeds_cut = Counter("lamplighter_feeds_cut", "Feed readers cut off", ["reason"], registry=registry)
        self._events = Counter("lamplighter_feed_sent_bytes", "Bytes sent to feed readers", registry=registry)
        self._downlink = Counter("lamplighter_downlink_sent_bytes", "Bytes sent to nodes", registry=registry)
        self._orders = Counter("lamplighter_orders", "Orders taken", ["order"], registry=registry)
        self._denied = Counter(
            "lamplighter_requests_denied", "Requests whose token did not allow them", ["reason"], registry=registry
        )
        self._errors = Counter("lamplighter_errors", "Faults of our own", registry=registry)
        self._generations = Counter(
            "lamplighter_generations", "Generations drawn, or not believed, because a node knew one", ["what"],
            registry=registry,
        )  # fmt: skip
        self._compacted = Counter("lamplighter_compacted_batches", "Batches compacted", registry=registry)

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show a number that is asked for when somebody looks."""
        Gauge(f"lamplighter_{name}", what, registry=self._registry).set_function(value)

    def taken(self, lane: str, samples: int, readings: int, size: int) -> None:
        """A batch was taken."""
        self._taken.labels(lane).inc()
        self._samples.inc(samples)
        self._readings.inc(readings)
        self._bytes.inc(size)

    def not_taken(self) -> None:
        """A batch did not fit."""
        self._not_taken.inc()

    def refused(self, reason: str) -> None:
        """A batch could not be read."""
        self._refused.labels(reason).inc()

    def committed(self, jobs: int, seconds: float) -> None:
        """A transaction was done."""
        self._jobs.inc(jobs)
        self._commits.observe(seconds)

    def feed_cut(self, reason: str) -> None:
        """A feed was ended by us."""
        self._feeds_cut.labels(reason).inc()

    def feed_sent(self, size: int) -> None:
        """Bytes went to a feed."""
        self._events.inc(size)

    def downlink_sent(self, size: int) -> None:
        """Bytes went to a downlink."""
        self._downlink.inc(size)

    def ordered(self, order: str, count: int) -> None:
        """Orders were taken."""
        self._orders.labels(order).inc(count)

    def denied(self, reason: str) -> None:
        """A request's token did not allow it: missing, unknown, expired, revoked, role."""
        self._denied.labels(reason).inc()

    def fault(self) -> None:
        """Something of our own went wrong."""
        self._errors.inc()

    def compacted(self, batches: int) -> None:
        """Batches were compacted."""
        self._compacted.inc(batches)

    def generation(self, what: str) -> None:
        """A node knew a greater generation: another was drawn, or it was not believed."""
        self._generations.labels(what).inc()

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
