"""Generations: which generation of the cloud's store this node believes in. Pure: no clock, no I/O.

Each answer names one. A greater one than is known means that the store was restored, and that all places are to be
asked for again; a smaller one, that the answer is from before, or from a store that was lost and drew its generation
by a clock that is behind: it is ignored. So one answer with a huge generation, a mistake on the way or a forgery, would
make the node deaf to the true cloud. Therefore a greater one is believed only within the bound of
`wire.batch.believable`, and only when the cloud, asked again, names it again.

The first answers after a start are taken as they come, for there is nothing to lose by them: what they say is believed
from the second that agrees; when they differ, all places are asked for again. Nothing of this is kept over a restart.
"""

from __future__ import annotations

import logging
from enum import Enum, auto

from wire.batch import believable
from wire.time import Utc

log = logging.getLogger(__name__)


class GenerationCheck(Enum):
    """What an answer means by its generation."""

    KNOWN = auto()  # take its place
    NEWER = auto()  # take its place, and ask for all others again
    DOUBTED = auto()  # ask again before anything is believed
    IGNORED = auto()  # older, or one that cannot be


class Generations:
    """What was heard so far."""

    def __init__(self) -> None:
        self.known = 0  # 0: none yet
        self._candidate = 0

    def ignored(self, generation: int, now_us: Utc) -> str | None:
        """Why an answer of a generation is none; None where it is one."""
        if generation < self.known:
            return (
                f"the cloud answers with generation {generation}, and {self.known} was known before: its store was lost"
                " and its clock is behind, or something answers in its place"
            )
        if not believable(generation, now_us):
            return f"the cloud answers with generation {generation}, which cannot be: it is too far ahead of the clock"
        return None

    def hear(self, generation: int, now_us: Utc) -> GenerationCheck:
        """An answer has come."""
        if self.ignored(generation, now_us) is not None:
            return GenerationCheck.IGNORED
        candidate, self._candidate = self._candidate, 0
        if generation == self.known:
            return GenerationCheck.KNOWN
        if generation == candidate:
            first, self.known = not self.known, generation
            if not first:
                log.warning("the cloud's store was restored: generation %d is asked for all places", generation)
            return GenerationCheck.KNOWN if first else GenerationCheck.NEWER
        self._candidate = generation
        if not self.known:
            return GenerationCheck.NEWER if candidate else GenerationCheck.KNOWN
        log.warning("the cloud names generation %d, %d was known: it is asked again", generation, self.known)
        return GenerationCheck.DOUBTED
