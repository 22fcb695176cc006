"""The expression language of conditions: CEL (Common Expression Language), by the Rust library `cel`, and what of it
is allowed here.

Only the compiled module is loaded: the package around it is a command line that would bring terminal libraries into
the node (tens of MB). Allowed are comparisons, `&& || ! ?:`, arithmetic, `in` a list, and FUNCTIONS: every condition
ends in time bounded by its own length, which is bounded too (`edge/rules/tables.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any, Final, Protocol, cast

from drivers.tables import suggest

FUNCTIONS: Final = ("contains", "double", "endsWith", "has", "int", "size", "startsWith")
_OPERATORS: Final = frozenset(
    "_&&_ _||_ !_ -_ _?_:_ _==_ _!=_ _<_ _<=_ _>_ _>=_ _+_ _-_ _*_ _/_ _%_ @in".split()  # noqa: SIM905 - a table
)
_MACROS: Final = re.compile(r"\.\s*(all|exists|exists_one|map|filter)\s*\(")
_STRING: Final = re.compile(r"""[rRbB]{0,2}("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""")
_COMMENT: Final = re.compile(r"//[^\n]*")
# What people write who know another language, and what CEL has for it.
_HINTS: Final = (
    (re.compile(r"\band\b", re.IGNORECASE), 'write && for "and"'),
    (re.compile(r"\bor\b", re.IGNORECASE), 'write || for "or"'),
    (re.compile(r"\bnot\b", re.IGNORECASE), 'write ! for "not"'),
    (re.compile(r"\d,\d"), "write a number with a point: 90.5"),
    (re.compile(r"(?<![=!<>])=(?!=)"), 'write == for "is equal"'),
    (re.compile(r"(?<!&)&(?!&)"), 'write && for "and"'),
    (re.compile(r"(?<!\|)\|(?!\|)"), 'write || for "or"'),
    (re.compile(r"<>"), 'write != for "is not"'),
    (re.compile(r"\b(if|then|else)\b", re.IGNORECASE), "write a ? b : c (if a then b, else c)"),
)
_CLOCK: Final = r"(\d{1,2}):(\d\d)(?::\d\d)?"
_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class CompiledText(Protocol):
    """What the library makes of a text."""

    def execute(self, context: Mapping[str, Any], /) -> Any:
        """The answer with these values, or an exception of Python's own."""
        ...

    def variables(self) -> list[str]:
        """The names that it asks for."""
        ...

    def functions(self) -> list[str]:
        """The functions and operators in it, by CEL's names: `_>_`."""
        ...


@cache
def _library() -> Callable[[str], CompiledText]:
    package = PathFinder.find_spec("cel")
    if package is None or package.submodule_search_locations is None:
        raise ModuleNotFoundError("common-expression-language is not installed", name="cel")
    spec = PathFinder.find_spec("cel.cel", list(package.submodule_search_locations))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("common-expression-language has no compiled module here", name="cel.cel")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("Callable[[str], CompiledText]", module.compile)


class Text:
    """The text of a condition, and the same with blanks where comments and quoted texts stand."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.strings = tuple(m[1][1:-1] for m in _STRING.finditer(text))
        bare = _STRING.sub(lambda m: '""'.ljust(len(m[0])), text)
        self.bare = _COMMENT.sub(lambda m: " " * len(m[0]), bare)


def compiled(text: Text) -> CompiledText:
    """A program from a text.

    Raises:
        ValueError: it is not CEL, or not what is allowed of it; in words.
    """
    program, told, _ = examined(text)
    if told or program is None:
        raise ValueError("; ".join(told))
    return program


def examined(text: Text) -> tuple[CompiledText | None, list[str], bool]:
    """A program, where the text is CEL, everything that is not allowed in it, and whether all names in it are those of
    values: a loop has names of its own."""
    if '"""' in text.text or "'''" in text.text:
        return None, ["a quoted text stands on one line here; write it between single quotes"], False
    try:
        program = _library()(text.text)
    except ValueError as error:
        return None, [_why(text, str(error))], False
    told = [
        f"{macro}() is not allowed: a condition has no loops; {_allowed()}"
        for macro in dict.fromkeys(_MACROS.findall(text.bare))
    ]
    if "{" in text.bare:
        told.append("{ … } is not allowed: a condition makes no maps; compare the values themselves")
    plain = not told
    for name in sorted(set(program.functions()) - _OPERATORS - set(FUNCTIONS)) if plain else ():
        if name == "_[_]":
            told.append("x[…] is not allowed; write the name itself, such as quality.fill_level")
        elif name == "matches":
            told.append("matches() is not allowed: a pattern may take very long; " + _allowed())
        else:
            told.append(f"{name}() is not allowed{suggest(name, FUNCTIONS)}")
    return program, told, plain


def _allowed() -> str:
    return f"there are: {', '.join(FUNCTIONS)}"


def _why(text: Text, told: str) -> str:
    """The library's words for a syntax error: the column, the first line of it, and a hint where we have one."""
    found = re.search(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)", told)
    if found is None or "Recursion limit" in found[3]:
        why = "cannot be read; it is too deeply nested"
    else:
        line, column, what = found.groups()
        place = f"column {column}" if line == "1" else f"its line {line}, column {column}"
        why = f"is not CEL at {place}: {what.partition(' expecting ')[0]}"
    hints = [hint for pattern, hint in _HINTS if pattern.search(text.bare)]
    return "; ".join([why, *dict.fromkeys(hints), *_clock_hint(text)])


def _clock_hint(text: Text) -> list[str]:
    """Where a time stands as on a clock: the hour as a number."""
    found = re.search(rf"{_CLOCK}\s*(<=|>=|<|>)\s*hour\b", text.bare)
    operator = _FLIPPED[found[3]] if found else ""
    if found is None:
        found = re.search(rf"{_CLOCK}(?!\d)", text.bare)
        before = re.search(r"\bhour\s*(<=|>=|<|>)\s*$", text.bare[: found.start()]) if found else None
        operator = before[1] if before else ">"
    return [f"write hour {operator} {int(found[1]) + int(found[2]) / 60:.4g}"] if found else []
