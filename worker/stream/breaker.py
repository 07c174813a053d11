"""Slows a worker down that rejects so much that the fault must lie elsewhere than in the records.

A wrong character set, a gateway that cuts messages off, a defect of a new version: each would turn a whole stream into
rejections, one by one and quite correctly. Then somebody has to look, and until then little should be spent on it. So
the worker is not ready, says why, and begins few records: those that are good among them still come out, and what was
rejected can be redriven. What is STAT is never held back. It goes on as before once enough of what it reads is good.

Ending the process instead was tried: it lost the work in hand, and a good ECG behind enough junk was never reached.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from worker.operations import metrics
from worker.operations.logs import get_logger

log = get_logger()

# How many of the last results are looked at, and how few say nothing yet. With 1 % of records bad by chance, half of 50
# being bad is beyond any luck.
WINDOW: Final = 200
LEAST: Final = 50


class Breaker:
    """Hears of every result, and says whether records have to wait. Used by one thread."""

    def __init__(self, rejected_share: float, pace_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`rejected_share` is how much of the last results may be rejections: 1 for any.

        `pace_s` lies between two records while there are more.
        """
        self.trouble: str | None = None
        self._rejected_share = rejected_share
        self._pace_s = pace_s
        self._clock = clock
        self._last = deque[str | None](maxlen=WINDOW)
        self._begun_at = clock()

    @property
    def holds_back(self) -> bool:
        """Whether no record may be begun now but those that somebody waits for."""
        return self.trouble is not None and self._clock() - self._begun_at < self._pace_s

    def begun(self) -> None:
        """A record was begun that it may hold back."""
        self._begun_at = self._clock()

    def note(self, rejected: str | None) -> None:
        """Take a result into account: a rejection by its code, a finding as None."""
        self._last.append(rejected)
        if self.trouble is not None and self._share(LEAST) <= self._rejected_share:
            self._close()
        elif len(self._last) >= LEAST and self._share(WINDOW) > self._rejected_share:
            self._open()

    def _share(self, of_last: int) -> float:
        """How much of the last results, so many at most, were rejections."""
        last = list(self._last)[-of_last:]
        return sum(reason is not None for reason in last) / len(last)

    def _open(self) -> None:
        """Say what is wrong; again with every result, for the counts go on."""
        reasons = Counter(filter(None, self._last))
        most = ", ".join(f"{number} as {code}" for code, number in reasons.most_common(3))
        first = self.trouble is None
        self.trouble = (
            f"{reasons.total()} of the last {len(self._last)} records were rejected, more than a share of "
            f"{self._rejected_share:g}: {most}; docs/rejections.md says what each means; reading on slowly; "
            "set ECG_REJECTED_SHARE=1 if that is as it should be"
        )
        if first:
            log.error("too many rejections, reading on slowly", reason=self.trouble)
            metrics.SLOWED.set(1)

    def _close(self) -> None:
        self.trouble = None
        while len(self._last) > LEAST:  # what lies before is over
            self._last.popleft()
        log.info("rejections are few again, reading on as before")
        metrics.SLOWED.set(0)
