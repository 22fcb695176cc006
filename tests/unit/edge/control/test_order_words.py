"""What results say of orders: as whoever gave them has written it, for the city and for the activity log."""

from __future__ import annotations

from edge.control import order_words as words
from edge.control.arbitration import Held
from edge.control.arrays import PriorityArrays
from edge.control.blinking import Blink
from edge.outbox.recounting import Recounted
from edge.web.activity_log import told
from wire.device import Point
from wire.entries import Result
from wire.orders import Command
from wire.sample import Value

KEY = ("lamp-1", "dim_level")
DIM = Point(name="dim_level", type="float", unit="%", low=0, high=100, writable=True)
MINUTE_US = 60_000_000


def command(value: float | bool | str) -> Command:
    return Command(id="site-1", by="root for jean", issued_us=0, expires_us=MINUTE_US, device=KEY[0], point=KEY[1],
                   value=value, level="technician")  # fmt: skip


def test_a_value_is_told_as_it_was_given() -> None:
    for value, text in ((55, "55"), (55.5, "55.5"), (True, "True"), ("eco", "eco")):
        assert words.on_site(command(value), MINUTE_US) == f"given at the cabinet by root for jean: {text} for 60 s"


def test_the_activity_log_reads_them_again() -> None:
    blink = Blink(id="site-2", by="jean", issued_us=0, expires_us=MINUTE_US, device=KEY[0], point=KEY[1])
    found = []
    for order in (command(55), blink):
        detail = f"{words.on_site(order, MINUTE_US)}; it waits: emergency ops holds 100"
        result = Result(order=order.id, stage="accepted", time_us=1, device=KEY[0], point=KEY[1], detail=detail)
        (activity,) = told(Recounted(since_us=0, entries=(result,))).activities
        found.append((activity.by, activity.detail))
    assert found == [("root for jean", "dim_level = 55 for 60 s"), ("jean", "dim_level blinks for 60 s")]


def test_who_holds_it_above_and_until_when() -> None:
    def waits(value: Value, **until: int) -> str:
        control = PriorityArrays({KEY: DIM}, 1)
        control.hold(KEY, "emergency", Held(value=value, by="ops", **until))  # type: ignore[arg-type]
        assert words.waits(control, KEY, "technician", 0) == ""
        return words.waits(control, KEY, "hypervisor", 10_000_000)

    assert waits(100) == "it waits: emergency ops holds 100"
    assert waits(100, ends_us=40_000_000) == "it waits: emergency ops holds 100 for another 30 s"
    until = "it waits: emergency ops holds 100 until 2026-11-18T11:06:40Z"
    assert waits(100, ends_us=4, until_us=1_795_000_000_000_000) == until
    assert words.waits(PriorityArrays({KEY: DIM}, 1), KEY, "plan", 0) == ""
