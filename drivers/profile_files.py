"""Profile files: one TOML file a model of device, named after it.

A profile is written once, by someone with the data sheet; `docs/profiles.md` tells every key. `load_profiles` reads
whole folders and tells everything that is wrong in all of them at once. A file in a later folder replaces one of the
same name in an earlier one, so that a site can correct what was shipped. At most MAX_POINTS points a profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta

from drivers import readings, registry, tables
from drivers.errors import Refused
from drivers.profile import Profile, Writing
from drivers.tables import Problem
from groundwork.plain_names import why_not_plain
from groundwork.ucum import why_not_ucum
from wire.device import Point, PointType
from wire.time import Micros

MAX_POINTS: Final = 256
MAX_CHARS: Final = 200  # of a text: what `wire.device` lets a roster have
Positive = Annotated[float, Meta(gt=0)]
SHIPPED: Final = Path(__file__).parent / "profiles"


class Label(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a point is called on a screen."""

    en: Annotated[str, Meta(description="in English")] = ""
    fr: Annotated[str, Meta(description="in French")] = ""


class PointTable(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of `[point.NAME]`."""

    type: Annotated[PointType, Meta(description="what its values are")]
    at: Annotated[dict[str, Any], Meta(description="how the protocol reaches it; the keys depend on the driver")]
    unit: Annotated[str, Meta(description="UCUM code, such as V, kW.h, Cel or %; left out where there is none")] = ""
    range: Annotated[
        tuple[float, float] | None,
        Meta(description="least and greatest value that can be; beyond it a reading is uncertain, a write refused"),
    ] = None
    resolution: Annotated[
        Positive | None, Meta(description="smallest step that means something; floats are kept to a multiple of it")
    ] = None
    choices: Annotated[
        tuple[str, ...],
        Meta(description="the texts that it can be; taken from the choices in `at` where those are given"),
    ] = ()
    writable: Annotated[bool, Meta(description="whether it may be set")] = False
    safe: Annotated[
        int | float | bool | str | None,
        Meta(description="what a writable point is left at when nobody says anything else, or the time is unknown"),
    ] = None
    reads_back: Annotated[
        str, Meta(description="the point that tells what a writable one was set to; left out: itself")
    ] = ""
    settle_s: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)],
        Meta(
            description="how long after a write reading back tells the truth; for a device that only reports, how long"
            " its answer may take: it is not told again before"
        ),
    ] = 0
    tolerance: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="how near what is read back must be; left out: the resolution"),
    ] = None
    min_write_s: Annotated[
        Annotated[float, Meta(ge=0, le=3600)],
        Meta(description="how long a relay or lamp is left alone between two writes"),
    ] = 0
    live: Annotated[bool, Meta(description="whether a change should reach the city within 2 s")] = False
    stale_after_s: Annotated[
        Positive | None, Meta(description="age from which the last value says nothing about now")
    ] = None
    counter: Annotated[
        bool | None,
        Meta(description="true: it only ever grows, but for resets and wraps; false: it may fall far by itself"),
    ] = None
    wraps_at: Annotated[
        Positive | None,
        Meta(description="one more than its greatest value; known by itself for unsigned Modbus registers"),
    ] = None
    label: Annotated[Label | None, Meta(description="what it is called on a screen")] = None
    talq: Annotated[str, Meta(description="TALQ function and attribute, where the standard has one")] = ""
    smart_data_model: Annotated[str, Meta(description="Smart Data Models type and property, where there is one")] = ""

    def __post_init__(self) -> None:
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError("range: write the smaller number first")
        if self.resolution is not None and self.type != "float":
            raise ValueError("resolution: only a point of type float has one; leave it out")
        if self.range is not None and self.type not in ("float", "int"):
            raise ValueError(f"range: a point of type {self.type} has none; leave it out")
        if (self.counter is not None or self.wraps_at is not None) and self.type not in ("float", "int"):
            raise ValueError(f"counter and wraps_at: a point of type {self.type} does not count; leave them out")
        if self.counter is False and self.wraps_at is not None:
            raise ValueError("wraps_at: what is no counter does not wrap; leave one of the two out")
        if self.choices and self.type != "text":
            raise ValueError('choices: only a point of type text has them; write type = "text"')
        of_writing = (self.safe is not None, self.reads_back, self.settle_s, self.tolerance is not None)
        if (any(of_writing) or self.min_write_s) and not self.writable:
            raise ValueError("safe, reads_back, settle_s, tolerance and min_write_s go with writable = true")


class ProfileTable(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of a profile file, apart from the table named like its driver."""

    kind: Annotated[str, Meta(min_length=1, description="what sort of device: streetlight, bin, sensor, meter …")]
    driver: Annotated[str, Meta(min_length=1, description="the protocol that reaches it")]
    model: Annotated[str, Meta(min_length=1, description="maker and model, as printed on the device")]
    source: Annotated[
        tuple[str, ...], Meta(min_length=1, description="the documents this was written from, best with page or table")
    ]
    point: Annotated[dict[str, PointTable], Meta(description="its points, each a table [point.NAME]")]
    time_resolution_s: Annotated[
        Annotated[float, Meta(ge=0.001, le=3600)] | None,
        Meta(description="what times are cut to; left out: the node decides"),
    ] = None


def load_profiles(
    folders: Iterable[Path], problems: list[Problem], names: Iterable[str] | None = None
) -> dict[str, Profile]:
    """All profiles of these folders, by name, or only those in `names`; what is wrong is added to `problems`."""
    files: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            problems.append(Problem(str(folder), "", "no such folder; write the path of one with profile files"))
            continue
        for path in sorted(folder.glob("*.toml")):
            if str(path).isprintable():
                files[path.stem] = path
            else:  # nobody could name it in a site file, nor the roster carry it
                shown = str(path).encode("ascii", "backslashreplace").decode()
                problems.append(Problem(shown, "", "has a name that is no text; rename it"))
    wanted = files.keys() if names is None else [n for n in dict.fromkeys(names) if n in files]
    profiles: dict[str, Profile] = {}
    for name in wanted:
        table = tables.read(files[name], problems)
        profile = None if table is None else parse_profile(name, table, str(files[name]), problems)
        if profile is not None:
            profiles[name] = profile
    return profiles


def parse_profile(name: str, table: Mapping[str, Any], file: str, problems: list[Problem]) -> Profile | None:
    """One profile from the tables of its file, or None when anything was wrong."""
    before = len(problems)
    driver = table.get("driver")
    kind = registry.find(driver) if isinstance(driver, str) else None
    own = {k: v for k, v in table.items() if k != driver}
    head = tables.parse(ProfileTable, own, file=file, key="", problems=problems)
    if kind is None:
        if isinstance(driver, str):
            text = f'no driver is called "{driver}"{tables.suggest(driver, registry.names())}'
            problems.append(Problem(file, "driver", text))
        return None
    whole: Any = None
    access: dict[str, Any] = {}
    if not kind.broken:  # else nobody knows what these keys mean, and the points stand all the same
        whole = tables.parse(kind.Whole, table.get(kind.name, {}), file=file, key=kind.name, problems=problems)
        for point, keys in _table(table.get("point")).items():
            at = _table(keys).get("at")
            if isinstance(at, Mapping):
                key = f"point.{point}.at"
                access[point] = tables.parse(kind.Access, cast("object", at), file=file, key=key, problems=problems)
    if head is None or len(problems) > before:
        return None
    if not 0 < len(head.point) <= MAX_POINTS:
        problems.append(Problem(file, "point", f"has {len(head.point)} points; a profile has 1 to {MAX_POINTS}"))
        return None
    points = {n: _point(n, t, access.get(n)) for n, t in head.point.items()}
    resolution = head.time_resolution_s
    profile = Profile(
        name=name,
        kind=head.kind,
        driver=head.driver,
        points=points,
        access=access,
        whole=whole,
        time_resolution_us=None if resolution is None else Micros(round(resolution * 1_000_000)),
        writing={n: _writing(n, t, access) for n, t in head.point.items() if t.writable},
    )
    wrong = registry.checked(profile, kind)
    if wrong is None:  # the protocol has just shown that it cannot be used
        return parse_profile(name, table, file, problems)
    wrong = (
        *_names(profile),
        *_too_long(profile),
        *_wrong_writing(profile),
        *wrong,
        *(() if kind.broken else _wrong_choices(profile)),
    )
    problems += [Problem(file, key, text) for key, text in wrong]
    whole_profile = len(problems) == before
    problems += [Problem(file, key, text, mild=True) for key, text in _unclear(profile)]
    return profile if whole_profile else None


def _table(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _choices(at: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(v for v in _table(at.get("choices")).values() if isinstance(v, str))


def _point(name: str, table: PointTable, access: Any) -> Point:
    low, high = table.range or (None, None)
    choices = _choices(table.at)
    wraps_at = table.wraps_at
    if wraps_at is None and table.counter is not False and table.type in ("float", "int"):
        wraps_at = getattr(access, "wraps_at", None)  # where the encoding tells
    return Point(
        name=name,
        type=table.type,
        unit=table.unit,
        low=low,
        high=high,
        resolution=table.resolution,
        choices=table.choices or (tuple(dict.fromkeys(choices)) if table.type == "text" else ()),
        writable=table.writable,
        safe=table.safe,
        live=table.live,
        stale_after_s=table.stale_after_s,
        counter=table.counter,
        wraps_at=wraps_at,
        label={} if table.label is None else {k: v for k, v in msgspec.to_builtins(table.label).items() if v},
        talq=table.talq,
        smart_data_model=table.smart_data_model,
    )


def _writing(name: str, table: PointTable, access: Mapping[str, Any]) -> Writing:
    reads_back = table.reads_back or name
    return Writing(
        reads_back=reads_back,
        settle_s=table.settle_s,
        tolerance=table.tolerance,
        min_write_s=table.min_write_s,
        step=max(getattr(access.get(n), "step", 0.0) for n in (name, reads_back)),
    )


def _wrong_choices(profile: Profile) -> list[tuple[str, str]]:
    wrong: list[tuple[str, str]] = []
    for name, point in profile.points.items():
        key, values = f"point.{name}.at.choices", list[object]()
        for code, told in _table(getattr(profile.access[name], "choices", None)).items():
            try:
                values.append(readings.chosen(point, told))
            except ValueError as error:
                wrong.append((f"{key}.{code}", str(error)))
        if values and point.writable and point.type == "bool":
            missing = next((told for told in (True, False) if told not in values), None)
            if missing is not None:
                wrong.append((key, f"the point is writable and no code means {str(missing).lower()}; write one"))
    return wrong


def _wrong_writing(profile: Profile) -> list[tuple[str, str]]:
    wrong: list[tuple[str, str]] = []
    for name, writing in profile.writing.items():
        point = profile.points[name]
        if writing.reads_back not in profile.points:
            text = f'there is no point "{writing.reads_back}"{tables.suggest(writing.reads_back, profile.points)}'
            wrong.append((f"point.{name}.reads_back", text))
        elif profile.points[writing.reads_back].type != point.type:
            wrong.append((f"point.{name}.reads_back", f"must be a point of type {point.type}, as {name} is"))
        if writing.tolerance is not None and point.type not in ("int", "float"):
            wrong.append((f"point.{name}.tolerance", "only numbers have one; leave it out"))
        if point.safe is not None:
            try:
                readings.allowed(point, point.safe)
            except Refused as error:
                wrong.append((f"point.{name}.safe", f"cannot be written: {error}"))
    return wrong


def _texts(profile: Profile) -> list[tuple[str, str]]:
    texts = [("kind", profile.kind)]
    for name, point in profile.points.items():
        texts += [(f"point.{name}.label.{language}", label) for language, label in point.label.items()]
        texts += [(f"point.{name}.choices", choice) for choice in point.choices]
    return texts


def _too_long(profile: Profile) -> list[tuple[str, str]]:
    """What no roster can have."""
    found = [(key, len(text)) for key, text in _texts(profile) if len(text) > MAX_CHARS]
    return [(key, f"has {length} characters; at most {MAX_CHARS}") for key, length in found]


def _unclear(profile: Profile) -> list[tuple[str, str]]:
    """What the city could not show or understand: told here, where it can be put right."""
    units = {f"point.{name}.unit": point.unit for name, point in profile.points.items()}
    found = [(key, f"{unit[:50]!r} {why}") for key, unit in units.items() if (why := why_not_ucum(unit)) is not None]
    return found + [
        (key, f"{text[:50]!r} {why}") for key, text in _texts(profile) if (why := why_not_plain(text)) is not None
    ]


def _names(profile: Profile) -> list[tuple[str, str]]:
    wrong = [n for n in profile.points if not (n.isascii() and n.replace("_", "a").isalnum() and n == n.lower())]
    return [(f"point.{n}", "a point's name has only a-z, 0-9 and _; write it so") for n in wrong]
