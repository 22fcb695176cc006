"""Relinquishes that wait: each is told once, at its end or when what is below was read back; against a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.control.giving_way import GivingWay
from wire.orders import Relinquish

KEYS = [("lamp-1", "dim_level"), ("lamp-2", "dim_level")]
steps = st.lists(
    st.tuples(st.just("add"), st.integers(0, 1), st.none() | st.integers(0, 20), st.integers(0, 20))
    | st.tuples(st.just("pop"), st.integers(0, 1), st.none(), st.just(0))
    | st.tuples(st.just("over"), st.integers(0, 20), st.none() | st.integers(0, 20), st.just(0)),
    max_size=20,
)


@given(steps)
def test_each_waits_until_its_own_end_or_until_it_is_popped(made: list[tuple[str, int, int | None, int]]) -> None:
    waiting = GivingWay()
    model: list[tuple[tuple[str, str], Relinquish, int | None]] = []
    for n, (what, which, then, expires_us) in enumerate(made):
        if what == "add":
            device, point = KEYS[which]
            order = Relinquish(id=str(n), by="j", issued_us=0, expires_us=expires_us, device=device, point=point)
            waiting.add(KEYS[which], order, then)  # type: ignore[arg-type]
            model.append((KEYS[which], order, then))
            continue
        if what == "pop":
            gone = [each for each in model if each[0] == KEYS[which]]
            found = waiting.pop(KEYS[which])
        else:  # `which` is monotonic time, `then` is UTC
            gone = [
                each for each in model
                if (each[2] is not None and each[2] <= which)
                or (each[2] is None and then is not None and each[1].expires_us <= then)
            ]  # fmt: skip
            found = waiting.over(which, then)  # type: ignore[arg-type]
        assert sorted(o.id for o in found) == sorted(o.id for _, o, _ in gone)
        model = [each for each in model if each not in gone]
        assert set(waiting.keys) == {key for key, _, _ in model}
