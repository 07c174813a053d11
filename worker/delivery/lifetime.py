"""When an alert is no alert any more.

An alert is for somebody who can still act on it. One that reaches its receiver late, because that or we were away, is
sent as a review that says how late it is; one that is later still is recorded and counted, and not sent: on a page of
today's alerts it would only be in the way of those that count.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from schemas.finding import Finding

_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """From the recording of an ECG: for how long it is an alert, and for how long worth a review, in hours.

    24 h: what nobody saw within a day is chart review. 168 h: after a week the patient was seen again, or never.
    """

    alert_h: float = 24.0
    review_h: float = 168.0

    def __post_init__(self) -> None:
        if self.review_h < self.alert_h:
            raise ValueError("a review is worth less time than an alert; raise ECG_REVIEW_LIFETIME_H")


@dataclass(frozen=True, slots=True)
class Handling:
    """What is to be done with a flagged finding. `late_h` is None for an alert, else whole hours since the recording.

    One that is `expired` is not sent.
    """

    late_h: int | None = None
    expired: bool = False


def handling(finding: Finding, now: datetime, lifetimes: Lifetimes) -> Handling:
    """What to do with this alert now. One of a recording in the future is new: a clock is wrong somewhere."""
    age_h = max(0.0, (now - finding.ecg.acquired_at).total_seconds() / _HOUR_S)
    if age_h <= lifetimes.alert_h:
        return Handling()
    return Handling(late_h=int(age_h), expired=age_h > lifetimes.review_h)
