"""Objects that refer to each other in a circle, collected soon, so that memory does not rise for hours before it falls.

Python puts a full collection off until there is a quarter as much garbage as there are objects that stay, and a loaded
worker is large. A parsed message may leave 2,500 objects in circles: at a few of those a minute the first collection
came after an hour, and until then memory grew by 4 MB.
"""

import gc
from typing import Final

# Records: under 1 ms where few of them leave anything, and 50,000 objects where each leaves as much as that.
COLLECT_EVERY: Final = 20


def freeze_loaded() -> None:
    """Leave what is there by now, which stays as long as the process, out of every later collection."""
    gc.collect()
    gc.freeze()


class Collector:
    """Collects after every so many records. Takes what the first one loaded for what stays."""

    def __init__(self) -> None:
        self._records = 0

    def collect(self) -> None:
        """Call it after each record."""
        if self._records == 0:
            freeze_loaded()
        elif self._records % COLLECT_EVERY == 0:
            gc.collect()
        self._records += 1
