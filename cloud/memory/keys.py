"""Keys in memory: a fake for tests. One is shared by all that keep answers."""

from __future__ import annotations

from cloud.records.keys import KEPT_US, MAX_KEYS, MAX_OF_ONE, Answered, Keyed, no_more, no_more_of_one, used
from wire.time import Utc


class MemoryKeys:
    """The requests that were answered."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Keyed, Answered, int]] = {}

    def answered(self, keyed: Keyed) -> Answered | None:
        """The answer that a request has had; raises Problem where its key is another's, or no more are kept."""
        if keyed.key in self._kept:
            before, answer, _ = self._kept[keyed.key]
            if before != keyed:
                raise used()
            return answer
        if len(self._kept) >= MAX_KEYS:
            raise no_more(len(self._kept))
        if sum(k.token == keyed.token for k, _, _ in self._kept.values()) >= MAX_OF_ONE:
            raise no_more_of_one()
        return None

    def keep(self, keyed: Keyed, answer: Answered, now_us: Utc) -> None:
        """Keep an answer."""
        self._kept[keyed.key] = keyed, answer, now_us

    def forget(self, now_us: Utc, most: int) -> int:
        """Drop the oldest that are old enough; how many."""
        old = [key for key, (_, _, at_us) in self._kept.items() if at_us < now_us - KEPT_US][:most]
        for key in old:
            del self._kept[key]
        return len(old)
