"""Public holidays: of a country or one of its regions, from the library `holidays`, which is imported only when asked.

The library costs about 10 MiB of memory and 0.1 s, so a node whose plan names no public holiday does not pay for it.
A year is computed once; at most MAX_YEARS are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from drivers.tables import suggest

MAX_YEARS: Final = 8
Holidays = Callable[[date], str]  # the name of the public holiday on a date, "" where it is none


def none_known(day: date) -> str:  # noqa: ARG001 - one of the forms of Holidays
    """The public holidays of nowhere."""
    return ""


def public_holidays(country: str, subdivision: str = "") -> Holidays:
    """The public holidays of a country (ISO 3166-1) or a part of it (ISO 3166-2).

    Raises:
        ValueError: the library knows no such country or part; it says what to write.
    """
    import holidays  # large: see above

    known = holidays.list_supported_countries(include_aliases=False)
    if country not in known:
        near = suggest(country, known) if country in {c.upper() for c in known} else ""
        raise ValueError(f'country is "{country}"{near}; write an ISO 3166-1 code of two letters, such as "FR"')
    if subdivision and subdivision not in known[country]:
        parts = f"there are: {', '.join(known[country])}" if known[country] else "it has none; leave it out"
        raise ValueError(f'subdivision is "{subdivision}"; of {country} {parts}')
    # Names in the country's own language: left to itself the library asks the environment.
    language = holidays.country_holidays(country).default_language
    years: dict[int, dict[date, str]] = {}

    def name(day: date) -> str:
        if day.year not in years:
            if len(years) >= MAX_YEARS:
                years.clear()
            found = holidays.country_holidays(
                country, subdiv=subdivision or None, years=day.year, expand=False, language=language
            )
            years[day.year] = dict(found.items())
        return years[day.year].get(day, "")

    return name
