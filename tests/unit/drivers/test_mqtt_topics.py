"""Which filters a line subscribes to, and which copy of a publish counts."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from drivers.mqtt.topics import Copies, Filters, covers, matches, most_specific, overlap, plan

LEVELS = ["a", "b", "$c", ""]
TOPICS = [list(t) for n in (1, 2, 3) for t in product(LEVELS, repeat=n)]
filters = st.builds(
    lambda levels, end: [*levels, *end],
    st.lists(st.sampled_from([*LEVELS, "+"]), max_size=3),
    st.sampled_from([["#"], ["+"], ["a"]]),
)


def heard(pattern: list[str], topic: list[str]) -> bool:
    """As a broker does it: no wildcard stands for a first level that begins with $."""
    return matches(pattern, topic) and not (topic[0].startswith("$") and pattern[0] in ("+", "#"))


@given(filters, filters)
def test_covering_and_overlapping_are_what_the_topics_say(one: list[str], other: list[str]) -> None:
    first, second = ([t for t in TOPICS if heard(f, t)] for f in (one, other))
    if covers(one, other):
        assert all(t in first for t in second)
    if any(t in second for t in first):
        assert overlap(one, other)
        assert "/".join(other) in Filters(["/".join(other)]).near(one)


@given(st.lists(filters, max_size=6), st.lists(filters, max_size=3))
def test_of_the_copies_that_a_broker_sends_exactly_one_counts(wanted: list[list[str]], before: list[list[str]]) -> None:
    names = ["/".join(f) for f in wanted]
    subscriptions = plan(names, ["/".join(f) for f in before])
    copies = Copies(subscriptions)
    for topic in TOPICS:
        sent = [s.identifier for s in subscriptions if heard(s.filter.split("/"), topic)]
        assert bool(sent) == any(heard(f, topic) for f in wanted)
        each = [copies.counts("/".join(topic), [number] if number else []) for number in sent]
        assert sum(each) == bool(sent), (topic, subscriptions)
        if sent:  # a broker may also send one copy for all of them
            assert copies.counts("/".join(topic), [number for number in sent if number])


def test_what_a_wildcard_covers_is_not_subscribed_to_and_what_only_overlaps_is_told_apart() -> None:
    assert [s.filter for s in plan(["site/1/up", "site/+/up", "site/2/up", "bins/#"])] == ["site/+/up", "bins/#"]
    assert all(s.identifier == 0 for s in plan(["site/1/up", "site/2/up", "site/+/down"]))
    one, other = plan(["a/+/c", "a/b/+"])
    assert one.identifier != other.identifier
    assert min(one.identifier, other.identifier) > 0
    assert plan(["a/b/+", "a/+/c"], before=["a/+/c"]) == [one, other]  # the order in which they once were subscribed to


def test_a_copy_by_a_subscription_of_earlier_counts() -> None:
    copies = Copies(plan(["a/+/c", "a/b/+"]))
    assert copies.counts("a/b/c", [7])
    assert copies.counts("a/b/c", [])
    assert not copies.counts("a/b/c", [plan(["a/+/c", "a/b/+"])[1].identifier])


def test_two_thousand_devices_are_planned_in_no_time() -> None:
    names = [f"application/+/device/{n:016x}/event/up" for n in range(2000)]
    assert len(plan([*names, "application/1/device/+/event/#"])) == 2001


def test_the_most_specific_hears_it() -> None:
    def found(*names: str) -> list[str]:
        return [names[i] for i in most_specific([n.split("/") for n in names])]

    assert found("site/+/up", "site/1/up", "#") == ["site/1/up"]
    assert found("a/+/c", "a/b/+", "a/#") == ["a/+/c", "a/b/+"]
    assert found("a/b") == ["a/b"]
