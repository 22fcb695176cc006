"""Own: what the node calls the alarms that it raises by itself; no rule of a site or a city may be called so.

All of them stand here, and docs/alarms.md says when each is raised.
"""

from __future__ import annotations

from typing import Final

CARD: Final = "card"
FLOOD: Final = "alarm-flood"
NOT_AS_SET: Final = "not-as-set"
PLAN_ASIDE: Final = "plan-put-aside"
RESTARTED: Final = "restarted"
RULES_ASIDE: Final = "rules-put-aside"
UNSUPPORTED: Final = "unsupported-version"
UPLINK_REFUSED: Final = "uplink-refused"
NAMES: Final = frozenset({CARD, FLOOD, NOT_AS_SET, PLAN_ASIDE, RESTARTED, RULES_ASIDE, UNSUPPORTED, UPLINK_REFUSED})
_LINE: Final = "line-"


def of_line(line: str) -> str:
    """The name of a line's alarm."""
    return f"{_LINE}{line}"


def is_own(rule: str) -> bool:
    """Whether the node may raise an alarm of this name by itself."""
    return rule in NAMES or rule.startswith(_LINE)
