"""Known: JMESPath evaluated so that what a payload does not say is not known, instead of false.

JMESPath (its specification, Comparators and Functions) gives true or false for every comparison, also with a key that
is missing, and "null" as a text; so a lamp whose publish tells of its link alone would be off. Here what is missing or
null stays so through comparisons, `!` and functions, and a point that comes of it is left out:

- `a || b` is b where a is missing; `&&` and `||` of comparisons say what is certain whatever the missing one would be,
  so that `state == 'ON' && 'lit' || 'dark'` is left out without a state;
- `not_null(a, b)` is the first that is there, and a comparison with the literal null asks on purpose;
- a projection or filter passes over elements that lack its keys, but one that met none with them says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

Node = Mapping[str, Any]


class _Unknown:
    """The type of UNKNOWN: what a comparison with something missing gives."""


UNKNOWN: Final = _Unknown()
_TRUTHS: Final = ("contains", "starts_with", "ends_with")
_FAULTS: Final = (JMESPathError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def search(node: Node, body: Any) -> Any:
    """What a parsed expression gives for decoded JSON; None where the JSON does not say."""
    try:
        found = _Interpreter().visit(node, body)
    except _FAULTS:  # a function met a type that it does not take
        return None
    return None if found is UNKNOWN else found


def unknown_function(node: Node) -> str | None:
    """The first function of an expression that JMESPath does not have; it would fail with every payload."""
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if at["type"] == "function_expression" and at["value"] not in Functions.FUNCTION_TABLE:
            return str(at["value"])
        waiting += [child for child in at["children"] if isinstance(child, Mapping)]
    return None


def _nothing(value: Any) -> bool:
    return value is None or value is UNKNOWN


def _false(value: Any) -> bool:
    """What is false to JMESPath: numbers are true, also 0."""
    return value is False or value is None or value in ("", [], {})


class _Interpreter(TreeInterpreter):
    """jmespath's own, where something may be unknown. Methods are named by the library."""

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        return super().visit(node, *args, **kwargs)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        left, right = (self.visit(child, value) for child in node["children"])
        if left is UNKNOWN or right is UNKNOWN:
            return UNKNOWN
        asked = any(c["type"] == "literal" and c["value"] is None for c in node["children"])
        if (left is None or right is None) and not asked:
            return UNKNOWN
        return super().visit_comparator(node, value)

    def visit_not_expression(self, node: Any, value: Any) -> Any:
        if _nothing(self.visit(node["children"][0], value)):
            return UNKNOWN
        return super().visit_not_expression(node, value)

    def visit_and_expression(self, node: Any, value: Any) -> Any:
        left, right = node["children"]
        first = self.visit(left, value)
        if not _nothing(first):
            return first if _false(first) else self.visit(right, value)
        second = self.visit(right, value)
        if first is None and second is None:
            return None
        return second if not _nothing(second) and _false(second) else UNKNOWN

    def visit_or_expression(self, node: Any, value: Any) -> Any:
        left, right = node["children"]
        first = self.visit(left, value)
        if not _nothing(first) and not _false(first):
            return first
        second = self.visit(right, value)
        return UNKNOWN if first is UNKNOWN and second is not True else second

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        given = [self.visit(child, value) for child in node["children"]]
        if node["value"] == "not_null":
            return next((each for each in given if not _nothing(each)), None)
        if any(map(_nothing, given)):  # a truth that is not known, or no value: `to_number(a) || b` is b
            return UNKNOWN if node["value"] in _TRUTHS or UNKNOWN in given else None
        call = cast("Any", self)._functions.call_function  # noqa: SLF001 -- the library's own way
        return call(node["value"], given)

    def visit_pipe(self, node: Any, value: Any) -> Any:
        for child in node["children"]:
            if _nothing(value := self.visit(child, value)):
                break
        return value

    def visit_multi_select_list(self, node: Any, value: Any) -> Any:
        found = super().visit_multi_select_list(node, value)
        return None if found is not None and any(map(_nothing, found)) else found

    def visit_multi_select_dict(self, node: Any, value: Any) -> Any:
        found = super().visit_multi_select_dict(node, value)
        return None if found is not None and any(map(_nothing, found.values())) else found

    def visit_projection(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        return self._projected(node["children"][1], cast("list[Any]", base)) if isinstance(base, list) else None

    def visit_value_projection(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, dict):
            return None
        return self._projected(node["children"][1], list(cast("dict[str, Any]", base).values()))

    def visit_filter_projection(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        elements = cast("list[Any]", base)
        judged = [self.visit(node["children"][2], element) for element in elements]
        if elements and all(map(_nothing, judged)):
            return UNKNOWN
        taken = [e for e, j in zip(elements, judged, strict=True) if not _nothing(j) and not _false(j)]
        return self._projected(node["children"][1], taken)

    def _projected(self, node: Any, elements: Sequence[Any]) -> Any:
        found = [self.visit(node, element) for element in elements]
        told = [each for each in found if not _nothing(each)]
        return None if found and not told else told
