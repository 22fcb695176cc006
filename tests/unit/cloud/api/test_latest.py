"""What the answer says of itself is what it is made of."""

from __future__ import annotations

import msgspec

from cloud.api.latest import DeviceNow
from cloud.views.answers import DeviceSeen, PointsNow


def test_a_device_is_told_with_all_that_is_seen_of_it_and_all_that_is_new() -> None:
    told = {f.name: f.type for f in msgspec.structs.fields(DeviceNow)}
    made = {f.name: f.type for part in (DeviceSeen, PointsNow) for f in msgspec.structs.fields(part)}
    assert told == {**made, "described": int}
