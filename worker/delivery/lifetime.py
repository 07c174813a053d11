"""When an alert is no alert any more: how a flagged finding is sent, by the age of its ECG at that moment.

An alert that comes a day late tells nobody anything urgent, and drowns the next one that does; but the ECG still has to
be looked at. So it goes out as a review, which says how late it is. After a week it has been looked at, or nobody will:
it is not sent, and that is recorded.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from adapters.log import TopicPartition
from schemas.finding import ALERT_LIFETIME_H, Finding
from worker.history.interval import Coordinates

_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Ages of an ECG in hours: up to `alert_h` it is sent as an alert, up to `review_h` as a review, then not at all.

    No alert outlives `flag.expires_at` of its finding, whatever `alert_h` says: the finding owns when it is void.
    """

    alert_h: float = ALERT_LIFETIME_H
    review_h: float = 7 * 24.0

    def __post_init__(self) -> None:
        if self.review_h < self.alert_h:
            raise ValueError("review_lifetime_h is less than alert_lifetime_h; make it as long or longer")


@dataclass(frozen=True, slots=True)
class Handling:
    """What is done with a flagged finding. `age_h` is that of its ECG in whole hours, rounded down."""

    kind: Literal["alert", "review", "expired"]
    age_h: int

    @property
    def late_h(self) -> int | None:
        """How many hours late a review is; None for an alert, which is not."""
        return None if self.kind == "alert" else self.age_h

    @property
    def outcome(self) -> str:
        """What the metric calls it when the receiver has it."""
        return "delivered" if self.kind == "alert" else "delivered_late"


def handling(finding: Finding, now: datetime, lifetimes: Lifetimes) -> Handling:
    """What to do with a flagged finding now. The age counts from the ECG's acquisition; a future one is of age 0."""
    age_h = max(0.0, (now - finding.ecg.acquired_at).total_seconds() / _HOUR_S)
    void = finding.flag.expires_at is not None and now > finding.flag.expires_at
    if age_h > lifetimes.review_h:
        return Handling("expired", int(age_h))
    return Handling("review" if void or age_h > lifetimes.alert_h else "alert", int(age_h))


class Handlings:
    """What was decided of the findings in hand. A review that was sent is sent again with the same words.

    It is decided anew before each try, because the receiver may be away for days; but once a receiver may have the
    review, it stays as it is: one control id, one content. Only expiry ends it.
    """

    def __init__(self, lifetimes: Lifetimes, wall_clock: Callable[[], float]) -> None:
        """`wall_clock` tells the time of day in seconds since 1970."""
        self._lifetimes, self._wall_clock = lifetimes, wall_clock
        self._decided: dict[Coordinates, Handling] = {}
        self._sent: set[Coordinates] = set()

    def decide(self, at: Coordinates, finding: Finding) -> Handling:
        """What to do with this finding now."""
        now = handling(finding, datetime.fromtimestamp(self._wall_clock(), UTC), self._lifetimes)
        before = self._decided.get(at)
        if before is not None and at in self._sent and (before.kind, now.kind) == ("review", "review"):
            return before
        self._decided[at] = now
        self._sent.discard(at)
        return now

    def sent(self, at: Coordinates) -> None:
        """The receiver may have it by now, as it was decided last."""
        self._sent.add(at)

    def settled(self, at: Coordinates) -> str:
        """It is settled and committed, so forgotten; what the metric calls it, if the receiver has it."""
        self._sent.discard(at)
        decided = self._decided.pop(at, None)
        return "delivered" if decided is None else decided.outcome

    def forget_partitions(self, lost: Collection[TopicPartition]) -> None:
        """They are somebody else's now."""
        self._decided = {at: decided for at, decided in self._decided.items() if at.partition not in lost}
        self._sent = {at for at in self._sent if at.partition not in lost}
