"""An engine and a library that break where a record wants it, for showing that it alone suffers.

A patient of FATAL_AGE ends the process that decodes the ECG, as a crash in a library does; one of SICKENING_AGE makes
the engine's numbers infinite.
"""

import os
import signal
from collections.abc import Hashable

from adapters.inbound import decode
from adapters.recording.site import SiteDefaults
from schemas.ecg import Ecg
from schemas.rejection import Reason, Rejected
from tests.faults.kinds import FATAL_AGE, SICKENING_AGE
from worker.engine.echo import EchoEngine
from worker.engine.question import Question


def decode_or_die(payload: bytes, site: SiteDefaults) -> Ecg:
    """As the decoder, but for the one patient."""
    ecg = decode(payload, site)
    if ecg.patient.age_years == FATAL_AGE:
        os.kill(os.getpid(), signal.SIGKILL)
    return ecg


class SicklyEngine(EchoEngine):
    """As the echo engine, but for the other one."""

    def admit(self, tag: Hashable, question: Question) -> None:
        """Put a question into a free slot. Raises Rejected."""
        if question.facts.age_years == SICKENING_AGE:
            raise Rejected(Reason.ENGINE_NOT_FINITE, stage="ask")
        super().admit(tag, question)
