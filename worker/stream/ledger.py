"""Which records are done: per partition the contiguous prefix, and what is done beyond it.

Work finishes out of order; a group's position is one number. So the position says "all before this is done", and its
metadata names what is done after it, so that a restart neither loses nor repeats a record.

The metadata is a bitmap of the offsets after the position, deflated: few bytes where little is done, and never more
than the log keeps, because a result further than MAX_SPAN from the position waits until the position has moved.
"""

import base64
import itertools
import zlib
from collections import deque
from collections.abc import Iterable
from typing import Final

from adapters.log import Position

# So many bits, if they do not deflate at all, take 4027 characters of the `MAX_METADATA_BYTES` that the log keeps with
# a position.
MAX_SPAN: Final = 24_000
# Reading pauses this long before: what one poll brings has room still.
_FULL_SPAN: Final = 20_000
_VERSION: Final = "2:"


class PartitionLedger:
    """One partition while it is ours. `take` before the work, `finish` when its result is about to be committed."""

    def __init__(self, committed: Position | None) -> None:
        self._next = committed.offset if committed else 0
        self._done = set(_decode(committed)) if committed else set[int]()
        self._pending = deque[int]()  # offsets taken, in order, from the first one that is open
        self._lost: dict[int, range] = {}  # of what the log no longer holds: by the offset that stands for them
        self._open = 0

    def take(self, offset: int) -> bool:
        """Note that a record was read. False if it is done already and must not be worked on again."""
        self._next = max(self._next, offset + 1)
        self._pending.append(offset)
        if offset in self._done:
            return False
        self._open += 1
        return True

    def lose(self, offsets: range) -> list[range]:
        """Note that the log no longer holds these. Those that were not done, in ranges without any that was.

        The first of each range stands for all of it: it counts as taken, and is to be finished.
        """
        self._next = max(self._next, offsets.stop)
        done = sorted(offset for offset in self._done if offset in offsets)
        edges = [offsets.start - 1, *done, offsets.stop]
        lost = [range(before + 1, after) for before, after in itertools.pairwise(edges) if before + 1 < after]
        self._pending.extend(sorted([*done, *(gone.start for gone in lost)]))
        self._lost |= {gone.start: gone for gone in lost}
        self._open += len(lost)
        return lost

    def finish(self, offset: int) -> bool:
        """Note that the record's result goes into the next commit.

        False, and nothing is noted, if the commit could not say so: the result has to wait for earlier ones.
        """
        gone, base = self._lost.get(offset, range(offset, offset + 1)), self._base()
        if gone.start == base:  # the position moves past all of it, however long it is
            self._done.add(offset)
        elif gone[-1] - base > MAX_SPAN:
            return False
        else:
            self._done.update(gone)
        self._open -= 1
        return True

    @property
    def open(self) -> int:
        """Number of records taken and not finished."""
        return self._open

    @property
    def full(self) -> bool:
        """Whether so much was read beyond the position that no more should be."""
        return self._next - self._base() >= _FULL_SPAN

    @property
    def next(self) -> int:
        """What is to be read next."""
        return self._next

    def position(self) -> Position:
        """What to commit: everything before the first open record, and the finished ones after it."""
        base = self._base()
        return Position(base, _encode((done for done in self._done if done > base), base))

    def _base(self) -> int:
        """The first open record, or what is to be read next. What is done before it need not be remembered."""
        while self._pending and self._pending[0] in self._done:
            first = self._pending.popleft()
            self._done.remove(first)
            self._done.difference_update(self._lost.pop(first, ()))
        return self._pending[0] if self._pending else self._next


def _encode(done: Iterable[int], base: int) -> str:
    """The offsets as the metadata of a position at `base`: bit n stands for the offset n + 1 after it."""
    bits = bytearray()
    for offset in done:
        byte, bit = divmod(offset - base - 1, 8)
        if byte >= len(bits):
            bits.extend(bytes(byte + 1 - len(bits)))
        bits[byte] |= 1 << bit
    return _VERSION + base64.b64encode(zlib.compress(bits, 1)).decode() if bits else ""


def _decode(position: Position) -> list[int]:
    """The offsets that a position's metadata names. Metadata that is not ours names none: its records run again."""
    if not position.metadata.startswith(_VERSION):
        return []
    inflate = zlib.decompressobj()
    try:
        bits = inflate.decompress(base64.b64decode(position.metadata.removeprefix(_VERSION), validate=True), MAX_SPAN)
    except (ValueError, zlib.error):
        return []
    first = position.offset + 1
    return [first + 8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1]
