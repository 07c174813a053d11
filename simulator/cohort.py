"""What the demo submits: a real ECG as carts and archives would send it, edits of it, and simulated ECGs with truth."""

import dataclasses
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Final

from pydicom.data import get_testdata_file

from schemas.ecg import INDEPENDENT_LEADS, Ecg, Order
from schemas.finding import Verdict
from simulator.edits import add_noise, flatten, invert_t_waves, real_ecg, resample, retaken, saturate
from simulator.generate import simulate
from simulator.hospital import A
from simulator.truth import Truth
from simulator.writers.dicom import write_dicom
from simulator.writers.files import write_in_turn
from simulator.writers.hl7v2 import write_hl7v2

SEED: Final = 2026
"""Of the simulated ones. The demo model has learned from other seeds."""

_CHEST_PAIN: Final = Order(encounter="13002689", placer="P1", filler="F1", clinical_texts=("chest pain for 2 h",))


@dataclass(frozen=True, slots=True)
class Submission:
    """A record for the inbound topic, under a file name. `what` was done to the real ECG, or is simulated.

    `truth` is the right verdict, where it is known.
    """

    file_name: str
    what: str
    payload: bytes
    truth: Verdict | None = None


def cohort() -> list[Submission]:
    """Fifteen records: the ECG as it is, T waves inverted, leads disturbed, other rates and forms, two broken ones."""
    anterior = invert_t_waves(real_ecg(), ("V1", "V2", "V3", "V4"), depth_mv=0.35)
    inferior = invert_t_waves(real_ecg(), ("II", "III", "aVF"), depth_mv=0.25)
    lateral = invert_t_waves(real_ecg(), ("I", "aVL", "V5", "V6"), depth_mv=0.2, symmetry=2.0)
    at_500_hz = resample(real_ecg(), 500)
    real_file = get_testdata_file("waveform_ecg.dcm", download=False)
    assert isinstance(real_file, str)
    real_bytes = Path(real_file).read_bytes()
    message = write_hl7v2(_taken(at_500_hz, 1), variant="na")
    return [
        Submission("real.dcm", "nothing: a real ECG, read as normal", real_bytes),
        Submission("real-na.hl7", "the same as HL7 v2 with NA waveforms, 500 Hz", message),
        Submission("real-ed.hl7", "the same as HL7 v2 with the DICOM object inside",
                   write_hl7v2(real_ecg(), variant="ed_dicom", dicom=real_bytes)),
        Submission("t-inverted-v1-v4.dcm", "T inverted in V1-V4, 0.35 mV", write_dicom(_taken(anterior, 2))),
        Submission("t-inverted-v1-v4-stat.hl7", "the same as HL7 v2 chapter 7, ordered STAT",
                   write_hl7v2(_stat(_taken(resample(anterior, 500), 3)), variant="chapter7")),
        Submission("t-inverted-inferior.hl7", "T inverted in II, III, aVF, 0.25 mV",
                   write_hl7v2(_taken(resample(inferior, 500), 4), variant="pcd")),
        Submission("t-inverted-lateral.dcm", "T inverted in I, aVL, V5, V6, 0.2 mV, asymmetric",
                   write_dicom(_taken(lateral, 5))),
        Submission("t-inverted-eight-leads.dcm", "T inverted in V1-V4; only I, II, V1-V6 sent",
                   write_dicom(_taken(anterior, 6), leads=INDEPENDENT_LEADS)),
        Submission("flat-v3.dcm", "V3 flat", write_dicom(_taken(flatten(real_ecg(), "V3"), 7))),
        Submission("saturated-v2.dcm", "V2 cut off at 0.2 mV", write_dicom(_taken(saturate(real_ecg(), "V2"), 8))),
        Submission("noisy-v5.dcm", "muscle noise of 0.3 mV in V5",
                   write_dicom(_taken(add_noise(real_ecg(), "V5", rms_mv=0.3), 9))),
        Submission("real-250-hz.hl7", "resampled to 250 Hz", write_hl7v2(_taken(resample(real_ecg(), 250), 10),
                                                                        variant="na")),
        Submission("real-eight-leads.dcm", "only I, II, V1-V6 sent",
                   write_dicom(_taken(real_ecg(), 11), leads=INDEPENDENT_LEADS)),
        Submission("broken-two-patients.hl7", "a second PID segment", _with_second_patient(message)),
        Submission("broken-cut-off.dcm", "cut off in the middle of the waveform", real_bytes[: len(real_bytes) // 2]),
    ]  # fmt: skip


def simulated(count: int = 24) -> list[Submission]:
    """Simulated ECGs of hospital A in every form, with the verdict that is right.

    None has an electrode fault or a text that contradicts it: with those, what is right cannot always be known.
    """
    drawn = (
        (ecg, truth)
        for ecg, truth in simulate(4 * count, SEED, A)
        if not truth.faults and truth.text != "contradictory"
    )
    return [_simulated(index, ecg, truth) for index, (ecg, truth) in enumerate(islice(drawn, count))]


def _simulated(index: int, ecg: Ecg, truth: Truth) -> Submission:
    written = write_in_turn(ecg, index)
    name = f"simulated-{index + 1:02d}{written.suffix}"
    return Submission(name, truth.entity.replace("_", " "), written.payload, truth.verdict)


def _taken(ecg: Ecg, minutes_later: int) -> Ecg:
    """The ECG as a recording of its own, from a patient with chest pain."""
    return retaken(ecg, acquired_at=ecg.acquired_at + timedelta(minutes=minutes_later), order=_CHEST_PAIN)


def _stat(ecg: Ecg) -> Ecg:
    return dataclasses.replace(ecg, order=dataclasses.replace(ecg.order, priority="stat"))


def _with_second_patient(message: bytes) -> bytes:
    head, _, tail = message.partition(b"\rOBR|")
    return head + b"\rPID|2||999^^^HOSP^MR\rOBR|" + tail
