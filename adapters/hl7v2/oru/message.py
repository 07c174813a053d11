"""A finding as an HL7 v2.5.1 ORU^R01 message: preliminary, under an order entry of its own, every value escaped.

Fields are listed in `docs/ehr.md`. The same finding gives the same bytes. A field can only be made by the functions
below, which escape; a bare string does not type-check as one.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NewType

from adapters.hl7v2.text import STANDARD
from schemas.finding import Assessment, Finding, ModelRef, PatientRef

Field = NewType("Field", str)  # encoded: delimiters in it delimit, everything else is escaped

PRODUCT: Final = "ECG-R1"
CONTROL_ID_CHARACTERS: Final = 20  # MSH-10 and SFT-4 hold no more in 2.5.1
_LOCAL: Final = "99ECG"  # HL7 table 0396: "99" and letters is a local code system
_LOINC: Final = "LN"
_UNITS: Final = {"mV": "millivolt", "ms": "millisecond", "/min": "per minute", "deg": "degree", "1": "unity"}
# An FT holds 65536 characters, and escaping can make five of one. The model writes a tenth of this.
_MAX_REASONING_CHARACTERS: Final = 12_000
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_OID: Final = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_VERDICTS: Final = {
    "ischemic": "T-wave inversion, possibly ischemic",
    "non_ischemic": "T-wave inversion, probably not ischemic",
    "no_t_wave_inversion": "No T-wave inversion in contiguous leads",
    "indeterminate": "Indeterminate",
}


@dataclass(frozen=True, slots=True)
class Route:
    """What MSH says of sender and receiver, as the site's interface engine wants it."""

    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: Literal["P", "T", "D"] = "P"


def control_id(finding_id: str) -> str:
    """MSH-10: the first 20 characters of the finding's id, so the same for every transmission of one finding."""
    return finding_id[:CONTROL_ID_CHARACTERS]


def build_oru(finding: Finding, route: Route) -> bytes:
    """The message, in UTF-8, each segment ended by a carriage return."""
    segments = [
        _header(finding, route),
        _software(finding),
        _patient(finding.patient),
        *_visit(finding.encounter),
        *_order(finding),
        *_notes(_provenance(finding)),
    ]
    for number, observation in enumerate(_observations(finding), 1):
        segments.append(_result(number, observation, finding))
        segments += _notes(observation.notes)
    return "".join(f"{segment}\r" for segment in segments).encode()


# Fields


def _text(value: str) -> Field:
    return Field(_CONTROL.sub(lambda found: f"\\X{ord(found[0]):02X}\\", STANDARD.escaped(value)))


def _components(*values: str) -> Field:
    return Field("^".join(_text(value) for value in values).rstrip("^"))


def _formatted(text: str) -> Field:
    r"""FT: lines end in `\.br\`, which a receiver shows as a line break."""
    return Field("\\.br\\".join(_text(line) for line in text.splitlines()))


def _time(moment: datetime) -> Field:
    """TS to the second, with the zone it came with."""
    return Field(f"{moment:%Y%m%d%H%M%S%z}"[:19])


def _number(value: float, digits: int) -> Field:
    return Field(f"{round(value, digits) + 0.0:.{digits}f}")  # adding 0.0 makes -0.0 a plain zero


def _segment(name: str, fields: dict[int, Field]) -> str:
    """A segment from its fields by their numbers in the standard."""
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


# Segments


def _header(finding: Finding, route: Route) -> str:
    # A model that is not for clinical use must not reach a production system as a production message.
    processing_id = route.processing_id if finding.provenance.model.training == "trained" else "T"
    fields = {
        3: _text(PRODUCT),
        4: _text(route.sending_facility),
        5: _text(route.receiving_application),
        6: _text(route.receiving_facility),
        7: _time(_reported_at(finding)),
        9: _components("ORU", "R01", "ORU_R01"),
        10: _text(control_id(finding.finding_id)),
        11: _text(processing_id),
        12: _text("2.5.1"),
        18: _text("UNICODE UTF-8"),
    }
    # MSH-1 is the field separator itself, so that MSH-2 comes right after the segment's name.
    return _segment("MSH", {number - 1: field for number, field in fields.items()} | {1: Field("^~\\&")})


def _reported_at(finding: Finding) -> datetime:
    """When the ECG reached the log: a finding says nothing of when it was computed, or it would not be repeatable."""
    return finding.source.timestamp or finding.ecg.acquired_at


def _software(finding: Finding) -> str:
    model, version = finding.provenance.model, finding.provenance.worker_version
    fields = {
        1: _text(PRODUCT),
        2: _text(version[:15]),  # all that SFT-2 and SFT-4 hold; the whole of both stands in SFT-5
        3: _text("ecg-r1-worker"),
        4: _text(model.digest[:CONTROL_ID_CHARACTERS]),
        5: _text(f"{_described(model)}; worker {version}"),
    }
    return _segment("SFT", fields)


def _patient(patient: PatientRef) -> str:
    assigner = patient.assigner or ""
    authority = Field(f"&{assigner}&ISO") if _OID.fullmatch(assigner) else _text(assigner)
    # PID-5 is required, and a finding holds no name: the standard's form for "unspecified".
    return _segment(
        "PID", {1: _text("1"), 3: Field(f"{_text(patient.id)}^^^{authority}".rstrip("^")), 5: Field("~^^^^^^U")}
    )


def _visit(encounter: str | None) -> Iterator[str]:
    if encounter is not None:
        yield _segment("PV1", {1: _text("1"), 2: _text("U"), 19: _text(encounter)})  # U: class unknown


def _order(finding: Finding) -> Iterator[str]:
    """ORC and OBR. The filler number is this finding's own, so that the ECG's own result is not overwritten."""
    placer, own = _text(finding.order.placer or ""), _components(finding.finding_id, PRODUCT)
    yield _segment("ORC", {1: _text("RE"), 2: placer, 3: own})
    parent = "^".join((placer, _text(finding.order.filler or ""))).rstrip("^")
    fields = {
        1: _text("1"),
        2: placer,
        3: own,
        4: _components("TWI", "T-wave inversion, automated reading", _LOCAL, "8601-7", "EKG impression", _LOINC),
        7: _time(finding.ecg.acquired_at),
        22: _time(_reported_at(finding)),
        24: _text("EC"),
        25: _text("P"),
    }
    yield _segment("OBR", fields | ({29: Field(parent)} if parent else {}))


def _notes(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        yield _segment("NTE", {1: _text(str(number)), 2: _text("L"), 3: _formatted(text)})  # L: from the filler


def _provenance(finding: Finding) -> Iterator[str]:
    provenance = finding.provenance
    yield finding.notice
    if warning := _warning(provenance.model):
        yield warning
    yield f"Model {_described(provenance.model)}"
    yield f"Worker {provenance.worker_version}; fingerprint {provenance.fingerprint}; finding {finding.finding_id}"


def _described(model: ModelRef) -> str:
    return f"{model.name}; digest {model.digest}; training {model.training}"


def _warning(model: ModelRef) -> str:
    return "" if model.training == "trained" else f"{model.training.upper()} MODEL, NOT FOR CLINICAL USE"


# Observations


@dataclass(frozen=True, slots=True)
class _Observation:
    """One OBX: its data type, code, value, and what else it has."""

    kind: Literal["CWE", "NM", "ST", "TX", "FT", "TS"]
    code: Field
    value: Field
    sub_id: str = ""
    unit: str = ""
    expected: str = ""
    abnormal: str = ""
    probability: Field = Field("")
    notes: tuple[str, ...] = ()


def _local(code: str, meaning: str) -> Field:
    return _components(code, meaning, _LOCAL)


def _loinc(code: str, meaning: str) -> Field:
    return _components(code, meaning, _LOINC)


def _observations(finding: Finding) -> Iterator[_Observation]:
    yield _verdict(finding)
    yield from _flag(finding)
    yield from _chances(finding.assessment)
    yield from _measured(finding)
    yield from _reasoning(finding)


def _verdict(finding: Finding) -> _Observation:
    verdict, probability = finding.assessment.verdict, finding.assessment.probability
    shown = ". ".join(filter(None, (_VERDICTS[verdict], _warning(finding.provenance.model))))
    # Nothing for the rest: the absence of an ischemic T-wave inversion is no normal ECG.
    abnormal = ("AA" if finding.flag.priority == "stat" else "A") if verdict == "ischemic" else ""
    return _Observation(
        "CWE",
        _components("TWI-VERDICT", "T-wave inversion, automated reading", _LOCAL, "8601-7", "EKG impression", _LOINC),
        _components(verdict, shown, _LOCAL),
        abnormal=abnormal,
        probability=Field("") if probability is None else _number(probability, 3),
    )


def _flag(finding: Finding) -> Iterator[_Observation]:
    flag = finding.flag
    yield _Observation("TX", _local("FLAG-SUMMARY", "Alert"), _text(flag.summary))
    yield _Observation("ST", _local("FLAG-PRIORITY", "Alert priority"), _text(flag.priority))
    yield _Observation("ST", _local("FLAG-DEDUPE-KEY", "Equal for alerts on the same ECG"), _text(flag.dedupe_key))
    if flag.expires_at is not None:
        yield _Observation("TS", _local("FLAG-EXPIRES", "Alert is void after"), _time(flag.expires_at))
    if flag.supersedes is not None:
        yield _Observation("ST", _local("FLAG-SUPERSEDES", "Finding that this one replaces"), _text(flag.supersedes))


def _chances(assessment: Assessment) -> Iterator[_Observation]:
    """The probability beside its threshold, as numbers: many receivers drop OBX-9."""
    if assessment.probability is not None:
        yield _Observation(
            "NM",
            _local("TWI-PROBABILITY", "Probability of ischemia"),
            _number(assessment.probability, 4),
            unit="1",
            expected=f"<{_number(assessment.threshold, 4)}",
        )
        threshold = _local("TWI-THRESHOLD", "Probability at which an alert is raised")
        yield _Observation("NM", threshold, _number(assessment.threshold, 4), unit="1")


def _measured(finding: Finding) -> Iterator[_Observation]:
    measured = finding.measurements
    inverted = ", ".join(measured.t_wave_inversion)
    yield _Observation("ST", _local("TWI-LEADS", "Leads with T-wave inversion"), _text(inverted or "none"))
    for lead in measured.t_wave_inversion:
        values = measured.leads.get(lead)
        if values is not None and values.t_mv is not None:
            code = _local("T-AMPLITUDE", "T-wave amplitude")
            yield _Observation("NM", code, _number(values.t_mv, 3), sub_id=lead, unit="mV")
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
            yield _Observation("NM", code, _number(value, 0), unit=unit)
    for quality in finding.quality.flags:
        code = _local("QUALITY", "Limit of the recording")
        yield _Observation("ST", code, _text(quality.problem), sub_id=quality.lead or "")


def _reasoning(finding: Finding) -> Iterator[_Observation]:
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
    yield _Observation("FT", _local("TWI-REASONING", "Reasoning of the model"), _formatted(text), notes=(note,))


def _result(number: int, observation: _Observation, finding: Finding) -> str:
    fields = {
        1: _text(str(number)),
        2: _text(observation.kind),
        3: observation.code,
        4: _text(observation.sub_id),
        5: observation.value,
        6: _components(observation.unit, _UNITS[observation.unit], "UCUM") if observation.unit else Field(""),
        7: _text(observation.expected),
        8: _text(observation.abnormal),
        9: observation.probability,
        11: _text("P"),
        14: _time(finding.ecg.acquired_at),
        18: _components(finding.provenance.fingerprint, PRODUCT),
    }
    return _segment("OBX", fields)
