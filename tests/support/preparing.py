"""A decoder that behaves well or badly, as the record says, for the processes that prepare records."""

import gc
import os
import signal
import time
import weakref
from contextlib import suppress

from adapters.log import Record
from schemas.ecg import Ecg
from schemas.rejection import Reason, Rejected
from simulator.edits import real_ecg


class Circle:
    """Refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self
        ALIVE.add(self)


ALIVE: "weakref.WeakSet[Circle]" = weakref.WeakSet()


def behave(payload: bytes) -> Ecg:
    """A decoder that does what the record says."""
    match payload:
        case b"loop":
            while True:
                pass
        case b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"slow":
            time.sleep(1.0)
        case b"hungry":
            bytearray(5 * 1024**3)
        case b"fail":
            raise ValueError("DOE^JANE")
        case b"swallow":
            with suppress(Exception):  # as parsers do
                time.sleep(30)
        case b"circle":
            gc.disable()  # Python's own collections
            Circle()
            raise Rejected(Reason.PAYLOAD_UNKNOWN_FORMAT, str(len(ALIVE)))
    return real_ecg()


def record(value: bytes) -> Record:
    return Record("ecg.inbound", 0, 0, None, None, value)
