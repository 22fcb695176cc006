"""Lighting plans: calendars and dimming programs that a node follows alone. `docs/plans.md` says how they are written.

`load` makes a Plan out of a text; `Plan.at` says what a device's light should be at a moment. Nothing here reads a
clock, a network or, but for `load_file`, a file.
"""

from __future__ import annotations

from edge.plans.ambient import Ambient
from edge.plans.load import PlanError, load, load_file
from edge.plans.local import Location
from edge.plans.plan import Plan, Setting
from edge.plans.sun import Sun

__all__ = ["Ambient", "Location", "Plan", "PlanError", "Setting", "Sun", "load", "load_file"]
