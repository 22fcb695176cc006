"""Bundles: the plan and the rules that the node lives by, from the city's last bundle or from its own files.

A bundle is kept on the card and goes before the files of the configuration; one that cannot be followed any more, since
devices have changed, is told in the log and left aside. Bounds: those of `wire.orders`, of plans and of rules.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from drivers.tables import Problem
from edge.config import Config, SiteTable, place_of
from edge.control.order_contract import Declined
from edge.outbox.reading import CardError, read_kept
from edge.plans.load import PlanError, load, load_file
from edge.plans.plan import Plan
from edge.rules.rule import Rules
from wire.device import Roster
from wire.orders import Bundle

log = logging.getLogger(__name__)

PREFIX: Final = "bundle/"
MAX_NAMED: Final = 10  # rules that are left out are told by name; beyond, only how many
_UNFIT: Final = "the %s from the city cannot be followed any more: %s"


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What of a configuration bundles are read by."""

    site: SiteTable | None
    roster: Roster

    @property
    def rules(self) -> tuple[Path, ...]:
        """No files."""
        return ()

    @property
    def plan(self) -> Path | None:
        """No file."""
        return None


class Bundles:
    """What a node of this configuration can live by."""

    def __init__(self, config: Config | Ground) -> None:
        self._config = config

    def plan_at_start(self, kept: Mapping[str, bytes]) -> Plan | None:
        """The city's last plan, else the one of the configuration."""
        if (body := kept.get(f"{PREFIX}plan")) is not None:
            try:
                return self.plan_of(msgspec.msgpack.decode(body, type=Bundle))
            except (Declined, msgspec.DecodeError) as error:  # devices may have gone since
                log.error(_UNFIT, "plan", error)  # noqa: TRY400 - no bug of ours
        if self._config.plan is None or self._config.site is None:
            return None
        problems: list[Problem] = []
        plan = load_file(self._config.plan, place_of(self._config.site), problems=problems, roster=self._config.roster)
        for problem in problems:  # it was sound when the configuration was read
            log.error("%s", problem)
        return plan

    def plan_of(self, bundle: Bundle) -> Plan:
        """The plan that a bundle holds.

        Raises:
            Declined: with everything that is wrong in it.
        """
        if self._config.site is None:
            raise Declined("this node does not know where it is: its configuration has no [site]")
        try:
            return load(
                bundle.text,
                place_of(self._config.site),
                source=f"plan {bundle.version}",
                roster=self._config.roster,
            )
        except PlanError as error:
            raise Declined(str(error)) from error

    def rules_at_start(self, kept: Mapping[str, bytes]) -> Rules:
        """The city's last rules, else those of the configuration."""
        if (body := kept.get(f"{PREFIX}rules")) is not None:
            try:
                return self.rules_of(msgspec.msgpack.decode(body, type=Bundle))
            except (Declined, msgspec.DecodeError) as error:
                log.error(_UNFIT, "rules", error)  # noqa: TRY400 - no bug of ours
        if not self._config.rules:
            return Rules()
        from edge.rules.load import load as load_rules  # a node without rules need not carry their words

        return load_rules(self._config.rules, self._config.roster, [])

    def rules_of(self, bundle: Bundle) -> Rules:
        """The rules that a bundle holds for the devices of this node; those that select none are left out.

        Raises:
            Declined: with everything that is wrong in them.
        """
        if self._config.site is None:
            raise Declined("this node does not know where it is: its configuration has no [site]")
        from edge.rules.load import load_texts  # as above

        problems: list[Problem] = []
        rules = load_texts({Path(f"rules {bundle.version}"): bundle.text}, self._config.roster, problems, own=False)
        if problems:
            raise Declined("\n".join(map(str, problems)))
        return rules

    def told(self, taken: Plan | Rules) -> str:
        """How much of what the city has sent is for this node: the `detail` of the result of its order."""
        devices = self._config.roster.devices
        if isinstance(taken, Plan):
            followers = sum(map(len, taken.groups(devices).values()))
            return f"{followers} of {len(devices)} devices of this node follow it"
        watched = len({d for r in taken.rules for d in r.devices})
        count = len(taken.rules)
        text = f"{count} rule{'s' * (count != 1)}, {watched} of {len(devices)} devices of this node watched"
        if left := taken.left_out:
            names = ", ".join(left[:MAX_NAMED]) + (", …" if len(left) > MAX_NAMED else "")
            text += f"; {len(left)} left out, for they select none: {names}"
        return text


def followed(data_dir: str, kind: Literal["plan", "rules"]) -> Bundle | None:
    """The city's last bundle of this kind, from the card of a node that may be running; it is only read.

    Raises:
        CardError: in words: the card cannot be read, or what it holds is no bundle.
    """
    path = Path(data_dir) / "outbox.db"
    try:
        found = read_kept(path, PREFIX + kind)
        return None if found is None else msgspec.msgpack.decode(found, type=Bundle)
    except (CardError, msgspec.DecodeError) as error:
        raise CardError(f"{path}: what the city has sent cannot be read: {error}") from error
