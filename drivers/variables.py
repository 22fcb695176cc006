"""Variables: `${NAME}` in the texts of a file stands for an environment variable, so that secrets and ports can stay
out of it. One that stands alone and holds digits becomes a number. Bounds: those of `drivers.tables.read`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from drivers.tables import Problem

_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


def expand(raw: Any, environment: Mapping[str, str], file: str, key: str, problems: list[Problem]) -> Any:
    """The same tables with `${NAME}` replaced; where the environment has none, a problem, and what was written."""
    match raw:
        case str():

            def value(found: re.Match[str]) -> str:
                if found[1] not in environment:
                    text = f"the environment has no {found[1]}; set it, or write the value here"
                    problems.append(Problem(file, key, text))
                return environment.get(found[1], "")

            text = _VARIABLE.sub(value, raw)
            # A text that is one variable and nothing else may stand where a number is asked for, such as a port.
            return int(text) if _VARIABLE.fullmatch(raw) and text.isdecimal() else text
        case dict():
            table = cast("dict[str, Any]", raw)
            return {k: expand(v, environment, file, f"{key}.{k}".lstrip("."), problems) for k, v in table.items()}
        case list():
            items = cast("list[Any]", raw)
            return [expand(v, environment, file, f"{key}[{i}]", problems) for i, v in enumerate(items)]
        case _:
            return raw
