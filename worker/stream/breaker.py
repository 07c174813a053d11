"""Stops a worker that rejects so much that the fault must lie elsewhere than in the records.

A wrong character set, a gateway that cuts messages off, a defect of a new version: each would turn a whole stream into
rejections, one by one and quite correctly. Then it is better that nobody commits anything until a person has looked.
"""

from collections import Counter, deque
from typing import Final

from schemas.errors import WorkerError

# How many of the last results are looked at, and how few say nothing yet. With 1 % of records bad by chance, half of 50
# being bad is beyond any luck.
WINDOW: Final = 200
LEAST: Final = 50


class TooManyRejections(WorkerError):
    """More of the last results were rejections than the settings allow."""


class Breaker:
    """Looks at every result before it is committed."""

    def __init__(self, rejected_share: float) -> None:
        """`rejected_share` is how much of the last results may be rejections: 1 for any."""
        self._rejected_share = rejected_share
        self._last = deque[str | None](maxlen=WINDOW)

    def note(self, *, rejected: bool, reason: str = "unknown") -> None:
        """Take a result into account, a rejection with its code.

        Raises TooManyRejections; then this result must not be committed. As others may not be either, it has to say by
        itself what they were rejected for.
        """
        self._last.append(reason if rejected else None)
        reasons = Counter(filter(None, self._last))
        count = reasons.total()
        if len(self._last) >= LEAST and count > self._rejected_share * len(self._last):
            most = ", ".join(f"{number} as {code}" for code, number in reasons.most_common(3))
            raise TooManyRejections(
                f"{count} of the last {len(self._last)} records were rejected, more than a share of "
                f"{self._rejected_share:g}: {most}; docs/rejections.md says what each means; "
                "set ECG_REJECTED_SHARE=1 if that is as it should be"
            )
