"""What a finding says, as observations: one for each OBX segment, with its code, value and unit."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from adapters.hl7v2.oru.encoding import (
    LOCAL,
    LOINC,
    NO_VALUE,
    Field,
    component_field,
    formatted_field,
    number_field,
    text_field,
    time_field,
)
from schemas.finding import Assessment, Finding, ModelRef, hours_after

# An FT holds 65536 characters, and escaping can make five of one. The model writes a tenth of this.
_MAX_REASONING_CHARACTERS: Final = 12_000


_VERDICTS: Final = {
    "ischemic": "T-wave inversion, possibly ischemic",
    "non_ischemic": "T-wave inversion, probably not ischemic",
    "no_t_wave_inversion": "No T-wave inversion in contiguous leads",
    "indeterminate": "Indeterminate",
}


def describe_model(model: ModelRef) -> str:
    """The model in one line: name, digest, how it was trained."""
    return f"{model.name}; digest {model.digest}; training {model.training}"


def model_warning(model: ModelRef) -> str:
    """What has to be said of a model that is not for clinical use; empty for one that is."""
    return "" if model.training == "trained" else f"{model.training.upper()} MODEL, NOT FOR CLINICAL USE"


@dataclass(frozen=True, slots=True)
class Observation:
    """One OBX: its data type, code, value, and what else it has."""

    kind: Literal["CWE", "NM", "ST", "TX", "FT", "TS"]
    code: Field
    value: Field
    sub_id: str = ""
    unit: str = ""
    expected: str = ""
    abnormal: str = ""
    probability: Field = NO_VALUE
    notes: tuple[str, ...] = ()


def _local(code: str, meaning: str) -> Field:
    return component_field(code, meaning, LOCAL)


def _loinc(code: str, meaning: str) -> Field:
    return component_field(code, meaning, LOINC)


def lateness(finding: Finding, late_h: int) -> str:
    """That it comes too late for an alert. The end of the last whole hour stands for the time of sending.

    So it is true whenever the message is sent again, and the same bytes for an hour at least.
    """
    recorded, delivered = finding.ecg.acquired_at, hours_after(finding.ecg.acquired_at, late_h)
    late = f"by {late_h} h" if late_h else "by less than 1 h"
    return f"Late {late}, for review, no alert: recorded {_clock(recorded)}, delivered after {_clock(delivered)}"


def _clock(moment: datetime) -> str:
    return moment.isoformat(" ", "minutes")


def observations(finding: Finding, late_h: int | None = None) -> Iterator[Observation]:
    """All observations of a finding, in the order of their segments. With `late_h` they are those of a review."""
    yield _verdict(finding, late_h)
    yield from _flag(finding, late_h)
    yield from _chances(finding.assessment)
    yield from _measured(finding)
    yield from _reasoning(finding)


def _verdict(finding: Finding, late_h: int | None) -> Observation:
    verdict, probability = finding.assessment.verdict, finding.assessment.probability
    shown = ". ".join(filter(None, (_VERDICTS[verdict], model_warning(finding.provenance.model))))
    # Nothing for the rest: the absence of an ischemic T-wave inversion is no normal ECG. Nor for a review: A and AA are
    # what engines page on, and no other value of table 0078 means "abnormal, but too late to alert".
    alerts = verdict == "ischemic" and late_h is None
    abnormal = ("AA" if finding.flag.priority == "stat" else "A") if alerts else ""
    return Observation(
        "CWE",
        component_field("TWI-VERDICT", "T-wave inversion, automated reading", LOCAL, "8601-7", "EKG impression", LOINC),
        component_field(verdict, shown, LOCAL),
        abnormal=abnormal,
        probability=NO_VALUE if probability is None else number_field(probability, 3),
    )


def _flag(finding: Finding, late_h: int | None) -> Iterator[Observation]:
    flag = finding.flag
    if late_h is None:
        yield Observation("TX", _local("FLAG-SUMMARY", "Alert"), text_field(flag.summary))
        yield Observation("ST", _local("FLAG-PRIORITY", "Alert priority"), text_field(flag.priority))
    else:
        summary = f"{lateness(finding, late_h)}. {flag.summary}"
        yield Observation("TX", _local("FLAG-SUMMARY", "Review"), text_field(summary))
        yield Observation("ST", _local("FLAG-PRIORITY", "Alert priority"), text_field("routine"))
        code = _local("FLAG-LATE", "Age of the ECG, too high for an alert")
        yield Observation("NM", code, number_field(late_h, 0), unit="h")
    yield Observation("ST", _local("FLAG-DEDUPE-KEY", "Equal for alerts on the same ECG"), text_field(flag.dedupe_key))
    if flag.expires_at is not None and late_h is None:  # a receiver may drop what is void
        yield Observation("TS", _local("FLAG-EXPIRES", "Alert is void after"), time_field(flag.expires_at))
    if flag.supersedes is not None:
        yield Observation(
            "ST", _local("FLAG-SUPERSEDES", "Finding that this one replaces"), text_field(flag.supersedes)
        )


def _chances(assessment: Assessment) -> Iterator[Observation]:
    """The probability beside its threshold, as numbers: many receivers drop OBX-9."""
    if assessment.probability is not None:
        yield Observation(
            "NM",
            _local("TWI-PROBABILITY", "Probability of ischemia"),
            number_field(assessment.probability, 4),
            unit="1",
            expected=f"<{number_field(assessment.threshold, 4)}",
        )
        threshold = _local("TWI-THRESHOLD", "Probability at which an alert is raised")
        yield Observation("NM", threshold, number_field(assessment.threshold, 4), unit="1")


def _measured(finding: Finding) -> Iterator[Observation]:
    measured = finding.measurements
    inverted = ", ".join(measured.t_wave_inversion)
    yield Observation("ST", _local("TWI-LEADS", "Leads with T-wave inversion"), text_field(inverted or "none"))
    for lead in measured.t_wave_inversion:
        values = measured.leads.get(lead)
        if values is not None and values.t_mv is not None:
            code = _local("T-AMPLITUDE", "T-wave amplitude")
            yield Observation("NM", code, number_field(values.t_mv, 3), sub_id=lead, unit="mV")
    intervals = (
        (_loinc("8867-4", "Heart rate"), measured.heart_rate_bpm, "/min"),
        (_loinc("8625-6", "P-R interval"), measured.pr_ms, "ms"),
        (_loinc("8633-0", "QRS duration"), measured.qrs_ms, "ms"),
        (_loinc("8634-8", "Q-T interval"), measured.qt_ms, "ms"),
        (_loinc("8636-3", "Q-T interval corrected"), measured.qtc_ms, "ms"),
        (_loinc("8632-2", "QRS axis"), measured.axis_deg, "deg"),
    )
    for code, value, unit in intervals:
        if value is not None:
            yield Observation("NM", code, number_field(value, 0), unit=unit)
    for quality in finding.quality.flags:
        code = _local("QUALITY", "Limit of the recording")
        yield Observation("ST", code, text_field(quality.problem), sub_id=quality.lead or "")


def _reasoning(finding: Finding) -> Iterator[Observation]:
    reasoning = finding.reasoning
    if reasoning is None or not reasoning.text.strip():
        return
    held, contradicted = (sum(claim.holds is outcome for claim in reasoning.claims) for outcome in (True, False))
    note = (
        f"Written by a machine. Of {len(reasoning.claims)} claims about the waveform, {held} agree with the "
        f"measurements and {contradicted} contradict them; the others could not be checked."
    )
    text = reasoning.text
    if len(text) > _MAX_REASONING_CHARACTERS:
        text = f"{text[:_MAX_REASONING_CHARACTERS]}\n[cut; the whole text is in finding {finding.finding_id}]"
    yield Observation("FT", _local("TWI-REASONING", "Reasoning of the model"), formatted_field(text), notes=(note,))
