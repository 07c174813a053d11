"""How urgent a record is at first glance, before anything of it is decoded.

What its order says of priority, and what speaks for it besides: the unit that sent it, how fresh it is, the topic that
it came on. It decides the order of work only; what a finding says goes by what the decoder reads.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from adapters.log import Headers, Record
from schemas.ecg import Glimpse
from worker.urgency import HEAD_START_S, Urgency

# Most ECGs of an emergency are recorded before there is any order, so before there is a priority.
URGENT_UNIT_S: Final = 600.0
# After an outage: somebody still stands beside the patient whose ECG is a few minutes old.
FRESH_S: Final = 300.0
FRESH_AGE_S: Final = 900.0
# Of each topic before all that come after it: more than any other head start.
TOPIC_S: Final = 1800.0
# Old ECGs that somebody puts in for the record: behind everything that was read today.
BACKFILL_S: Final = -86_400.0


class Triage:
    """Tells how urgent records are, at first glance."""

    def __init__(
        self,
        glance: Callable[[bytes, Headers], Glimpse],
        topics: Sequence[str],
        urgent_units: Collection[str] = (),
        *,
        is_backfill: Callable[[Record], bool] = lambda _: False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`topics` in their order of precedence; units are compared without regard to case."""
        self._glance = glance
        self._behind = {topic: len(topics) - 1 - place for place, topic in enumerate(topics)}
        self._urgent_units = frozenset(unit.casefold() for unit in urgent_units)
        self._is_backfill = is_backfill
        self._wall_clock = wall_clock

    def __call__(self, record: Record) -> Urgency:
        """Whatever is wrong with a record, it is routine here: its preparation will say."""
        try:
            glimpse = self._glance(record.value, record.headers)
            if self._is_backfill(record):
                return Urgency(glimpse.priority, BACKFILL_S)
        except Exception:  # noqa: BLE001 - nothing about a record may hold up the thread that reads
            glimpse = Glimpse()
        behind = self._behind.get(record.topic, 0)
        from_urgent_unit = any(unit.casefold() in self._urgent_units for unit in glimpse.units)
        head_start_s = max(HEAD_START_S[glimpse.priority], URGENT_UNIT_S if from_urgent_unit else 0.0)
        # Besides, for in a worker that keeps up all are fresh, and the others still count.
        head_start_s += FRESH_S if self._is_fresh(record) else 0.0
        return Urgency(glimpse.priority, head_start_s + TOPIC_S * behind, glimpse.priority == "stat" or behind > 0)

    def _is_fresh(self, record: Record) -> bool:
        """Clocks of carts are some minutes off, either way."""
        if record.timestamp_ms is None:
            return False
        return abs(self._wall_clock() - record.timestamp_ms / 1000) <= FRESH_AGE_S
