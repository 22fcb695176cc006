"""The street's physics on a clock that the tests turn: no test waits."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from firmware_sim.clock import StreetClock
from firmware_sim.physics.air import Corner
from firmware_sim.physics.battery import Battery
from firmware_sim.physics.bin import Bin
from firmware_sim.physics.lamp import SLEW_PCT_PER_S, Lamp, Mode
from firmware_sim.physics.meter import PHASES, Supply
from firmware_sim.physics.noise import Noise
from firmware_sim.physics.sky import sun_elevation_deg
from firmware_sim.physics.soil import Soil
from firmware_sim.physics.steps import MAX_STEPS, steps
from firmware_sim.physics.world import DAY_S, HOUR_S, YEAR_S, World

LON, LAT = 5.041, 47.322


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOON, MIDNIGHT = at("2026-11-20T11:30:00"), at("2026-11-20T23:00:00")


def world(seed: int = 1) -> World:
    return World(seed, LON, LAT, 1.0)


def lamp(start_s: float, seed: int = 1) -> Lamp:
    return Lamp(world(seed), Noise(seed, "lamp-001"), start_s, 0)


def test_clock_runs_at_its_speed_on_the_source_it_is_handed() -> None:
    ticks = [100.0]
    clock = StreetClock(1_000.0, 60.0, lambda: ticks[0])
    ticks[0] += 2.0
    assert (clock.elapsed_s(), clock.now_s()) == (2.0, 1_120.0)


@pytest.mark.parametrize(
    ("moment", "lon", "lat", "expected"),
    [
        # At an equinox noon the sun stands at 90° less the latitude; at the poles it circles at its declination.
        ("2026-03-20T12:07:00", 0.0, 0.0, 90.0),
        ("2026-06-21T11:42:00", LON, LAT, 90.0 - LAT + 23.44),
        ("2026-12-21T11:38:00", LON, LAT, 90.0 - LAT - 23.44),
        ("2026-06-21T03:00:00", 0.0, 90.0, 23.44),
    ],
)
def test_sun_stands_where_astronomy_says(moment: str, lon: float, lat: float, expected: float) -> None:
    assert sun_elevation_deg(at(moment), lon, lat) == pytest.approx(expected, abs=0.4)


def test_sunset_in_dijon_is_where_the_sunset_equation_has_it() -> None:
    # By hand for 2026-11-20: declination -19.7°, equation of time +14.3 min, so the sun is highest at 11:25:30 UTC;
    # cos H = (sin -0.833° - sin lat sin decl) / (cos lat cos decl) gives H = 68.6°, 4 h 34 min later.
    below = next(minute for minute in range(24 * 60) if sun_elevation_deg(NOON + minute * 60.0, LON, LAT) < -0.833)
    assert abs(NOON + below * 60.0 - at("2026-11-20T15:59:40")) < 120.0


def test_noise_is_a_function_of_time_and_stays_in_its_bounds() -> None:
    noise = Noise(7, "x")
    values = [noise.smooth("a", second / 3.0, 10.0) for second in range(3_000)]
    assert values == [Noise(7, "x").smooth("a", second / 3.0, 10.0) for second in range(3_000)]
    assert values != [Noise(8, "x").smooth("a", second / 3.0, 10.0) for second in range(3_000)]
    assert -1.0 <= min(values) < -0.7
    assert 0.7 < max(values) <= 1.0
    draws = sorted(noise.chance("b", index) for index in range(4_000))
    assert all(abs(draw - index / 4_000) < 0.04 for index, draw in enumerate(draws))


def test_steps_cover_the_stretch_and_are_bounded() -> None:
    assert list(steps(5.0, 5.0, 1.0)) == list(steps(5.0, 4.0, 1.0)) == []
    long = list(steps(0.0, YEAR_S, 1.0))
    assert len(long) == MAX_STEPS
    assert long[-1][0] == pytest.approx(YEAR_S)
    assert sum(length for _, length in long) == pytest.approx(YEAR_S)


def test_lamp_burns_by_night_and_not_by_day() -> None:
    assert lamp(MIDNIGHT).reached_pct == 100.0
    assert lamp(NOON).reached_pct == 0.0
    evening = lamp(NOON)
    evening.advance(NOON + 8 * HOUR_S)
    assert evening.dark
    assert evening.reached_pct == 100.0
    evening.advance(NOON + 24 * HOUR_S)
    assert not evening.dark
    assert evening.reached_pct == 0.0


def test_dimming_slews_and_power_follows() -> None:
    light = lamp(MIDNIGHT)
    full_w = light.power_w()
    light.dim_pct = 20.0
    light.advance(MIDNIGHT + 2.0)
    assert light.reached_pct == pytest.approx(100.0 - 2.0 * SLEW_PCT_PER_S)
    light.advance(MIDNIGHT + 60.0)
    assert light.reached_pct == 20.0
    assert 0.15 < light.power_w() / full_w < 0.35
    assert light.current_a() == pytest.approx(light.power_w() / light.voltage_v() / light.power_factor())


def test_modes_reboot_and_failure() -> None:
    light = lamp(NOON)
    light.mode, light.dim_pct = Mode.MANUAL, 40.0
    light.advance(NOON + 60.0)
    assert light.reached_pct == 40.0
    light.mode = Mode.SAFE
    light.advance(NOON + 120.0)
    assert light.reached_pct == 100.0
    light.restart()
    light.advance(NOON + 180.0)
    assert (light.mode, light.reached_pct) == (Mode.AUTOMATIC, 0.0)
    night = lamp(MIDNIGHT)
    night.broken = True
    night.advance(MIDNIGHT + 60.0)
    assert night.reached_pct == 0.0


def test_energy_time_and_heat_add_up_over_a_night() -> None:
    light = lamp(MIDNIGHT)
    energy_wh, burned_s, watts = light.energy_wh, light.burned_s, light.power_w()
    for minute in range(1, 241):
        light.advance(MIDNIGHT + minute * 60.0)
    assert light.energy_wh - energy_wh == pytest.approx(4.0 * watts, rel=1e-6)
    assert light.burned_s - burned_s == pytest.approx(4.0 * HOUR_S)
    assert 20.0 < light.driver_c - world().temperature_c(MIDNIGHT + 4 * HOUR_S) < 40.0


def test_supply_carries_its_lamps() -> None:
    noise = Noise(1, "x")
    lamps = [Lamp(world(), Noise(1, f"lamp-{index}"), MIDNIGHT, index % PHASES) for index in range(6)]
    supply = Supply(world(), noise, MIDNIGHT, lamps)
    before_kwh = supply.import_kwh
    supply.advance(MIDNIGHT + HOUR_S)
    watts = sum(supply.phase_w(phase, supply.now_s) for phase in range(PHASES))
    assert watts > sum(one.power_w() for one in lamps)
    assert supply.import_kwh - before_kwh == pytest.approx(watts / 1_000.0, rel=0.05)
    assert all(supply.phase_va(phase, supply.now_s) > supply.phase_w(phase, supply.now_s) for phase in range(PHASES))


def test_bin_fills_by_day_and_is_emptied_in_the_morning() -> None:
    waste = Bin(world(), Noise(3, "bin-001"), NOON)
    levels: list[tuple[float, float]] = []
    for quarter in range(1, 4 * 24 * 3):
        waste.advance(NOON + quarter * 900.0)
        levels.append((world().local_hour(waste.now_s), waste.level_pct))
    assert all(0.0 <= level <= 100.0 for _, level in levels)
    emptied = [hour for (_, before), (hour, after) in pairwise(levels) if after < before]
    assert emptied
    assert all(5.0 < hour < 7.6 for hour in emptied)


def test_air_follows_the_traffic_and_is_never_negative() -> None:
    corner = Corner(world(), Noise(1, "air-001"))
    tuesday = at("2026-11-24T00:00:00")
    hours = [tuesday + hour * HOUR_S for hour in range(24)]
    assert all(min(corner.pm2_5_ugm3(hour), corner.no2_ugm3(hour)) >= 0.0 for hour in hours)
    assert corner.no2_ugm3(tuesday + 7.5 * HOUR_S) > corner.no2_ugm3(tuesday + 2.0 * HOUR_S)
    assert corner.sound_dba(tuesday + 17.0 * HOUR_S) > corner.sound_dba(tuesday + 2.0 * HOUR_S)
    assert all(corner.pm10_ugm3(hour) > corner.pm2_5_ugm3(hour) for hour in hours)


def test_weather_stays_on_earth_for_a_year() -> None:
    surroundings = world(9)
    for hour in range(0, 366 * 24, 5):
        now_s = NOON + hour * HOUR_S
        assert -20.0 < surroundings.temperature_c(now_s) < 45.0
        assert 20.0 <= surroundings.humidity_pct(now_s) <= 99.0
        assert 0.0 <= surroundings.traffic(now_s) <= 1.0
        assert 215.0 < surroundings.voltage_v(now_s, 1) < 240.0
        assert 49.9 < surroundings.frequency_hz(now_s) < 50.1


def test_battery_only_falls_with_age_and_sags_in_the_cold() -> None:
    cell = Battery(Noise(1, "cell"), 0.0, 3.6, 2.9, 5.0)
    voltages = [cell.voltage_v(day * DAY_S, 20.0) for day in range(0, 3_000, 10)]
    assert voltages == sorted(voltages, reverse=True)
    assert voltages[-1] == pytest.approx(2.9)
    assert cell.voltage_v(0.0, -10.0) < cell.voltage_v(0.0, 20.0)


@pytest.mark.slow
def test_soil_stays_in_its_bounds_for_a_year() -> None:
    soil = Soil(world(), Noise(1, "soil-001"), NOON)
    for day in range(1, 366):
        soil.advance(NOON + day * DAY_S)
        assert 6.0 <= soil.moisture_pct <= 44.0
        assert -12.0 < soil.temperature_c < 35.0
