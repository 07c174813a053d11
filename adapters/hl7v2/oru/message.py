"""A finding as an HL7 v2.5.1 ORU^R01 message: preliminary, under an order entry of its own, every value escaped.

Fields are listed in `docs/ehr.md`. The same finding, sent for the same reason, gives the same bytes.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
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
    segment,
    text_field,
    time_field,
)
from adapters.hl7v2.oru.observations import Observation, describe_model, lateness, model_warning, observations
from schemas.finding import Finding, PatientRef

PRODUCT: Final = "ECG-R1"
CONTROL_ID_CHARACTERS: Final = 20  # MSH-10 and SFT-4 hold no more in 2.5.1
_UNITS: Final = {
    "h": "hour",
    "mV": "millivolt",
    "ms": "millisecond",
    "/min": "per minute",
    "deg": "degree",
    "1": "unity",
}
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")

Event = Literal["alert", "review"]
"""Why a message is sent: to alert somebody; or too late for that, to be looked at."""


@dataclass(frozen=True, slots=True)
class Route:
    """What MSH says of sender and receiver, as the site's interface engine wants it."""

    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: Literal["P", "T", "D"] = "P"


def event_of(late_h: int | None) -> Event:
    """Why a finding is sent whose ECG is so many hours too old for an alert, or is not (None)."""
    return "alert" if late_h is None else "review"


def control_id(finding_id: str, event: Event, revision: int = 0) -> str:
    """MSH-10: a digest of the finding, of why it is sent, and of which statement of it this is.

    Every transmission of one of them has the same id, and no two of them share one: a receiver drops what it has seen,
    and must not take the review of a finding, or a later word on it, for a repetition of its alert.
    """
    return hashlib.sha256(f"{event}/{revision}/{finding_id}".encode()).hexdigest()[:CONTROL_ID_CHARACTERS]


def build_oru(finding: Finding, route: Route, late_h: int | None = None) -> bytes:
    """The message, in UTF-8, each segment ended by a carriage return.

    An alert, or with `late_h`, the age of the ECG in whole hours, a review: of no priority, and it says how late it is.
    """
    segments = [
        _header(finding, route, event_of(late_h)),
        _software(finding),
        _patient(finding.patient),
        *_visit(finding.encounter),
        *_order(finding, event_of(late_h)),
        *_notes(([] if late_h is None else [lateness(finding, late_h)]) + [*_provenance(finding)]),
    ]
    for number, observation in enumerate(observations(finding, late_h), 1):
        segments.append(_result(number, observation, finding))
        segments += _notes(observation.notes)
    return "".join(f"{segment}\r" for segment in segments).encode()


def _header(finding: Finding, route: Route, event: Event) -> str:
    # A model that is not for clinical use must not reach a production system as a production message.
    processing_id = route.processing_id if finding.provenance.model.training == "trained" else "T"
    fields = {
        3: text_field(PRODUCT),
        4: text_field(route.sending_facility),
        5: text_field(route.receiving_application),
        6: text_field(route.receiving_facility),
        7: time_field(_reported_at(finding)),
        9: component_field("ORU", "R01", "ORU_R01"),
        10: text_field(control_id(finding.finding_id, event)),
        11: text_field(processing_id),
        12: text_field("2.5.1"),
        18: text_field("UNICODE UTF-8"),
    }
    # MSH-1 is the field separator itself, so that MSH-2 comes right after the segment's name.
    return segment("MSH", {number - 1: field for number, field in fields.items()} | {1: Field("^~\\&")})


def _reported_at(finding: Finding) -> datetime:
    """When the ECG reached the log: a finding says nothing of when it was computed, or it would not be repeatable."""
    return finding.source.timestamp or finding.ecg.acquired_at


def _software(finding: Finding) -> str:
    model, version = finding.provenance.model, finding.provenance.worker_version
    fields = {
        1: text_field(PRODUCT),
        2: text_field(version[:15]),  # all that SFT-2 and SFT-4 hold; the whole of both stands in SFT-5
        3: text_field("ecg-r1-worker"),
        4: text_field(model.digest[:CONTROL_ID_CHARACTERS]),
        5: text_field(f"{describe_model(model)}; worker {version}"),
    }
    return segment("SFT", fields)


def _patient(patient: PatientRef) -> str:
    assigner = patient.assigner or ""
    authority = Field(f"&{assigner}&ISO") if _OID.fullmatch(assigner) else text_field(assigner)
    # PID-5 is required, and a finding holds no name: the standard's form for "unspecified".
    return segment(
        "PID",
        {1: text_field("1"), 3: Field(f"{text_field(patient.id)}^^^{authority}".rstrip("^")), 5: Field("~^^^^^^U")},
    )


def _visit(encounter: str | None) -> Iterator[str]:
    if encounter is not None:
        yield segment("PV1", {1: text_field("1"), 2: text_field("U"), 19: text_field(encounter)})  # U: class unknown


def _order(finding: Finding, event: Event) -> Iterator[str]:
    """ORC and OBR. The filler number is this finding's own, so that the ECG's own result is not overwritten."""
    placer, filler = text_field(finding.order.placer or ""), component_field(finding.finding_id, PRODUCT)
    yield segment("ORC", {1: text_field("RE"), 2: placer, 3: filler})
    parent = "^".join((placer, text_field(finding.order.filler or ""))).rstrip("^")
    fields = {
        1: text_field("1"),
        2: placer,
        3: filler,
        4: component_field("TWI", "T-wave inversion, automated reading", LOCAL, "8601-7", "EKG impression", LOINC),
        7: time_field(finding.ecg.acquired_at),
        22: time_field(_reported_at(finding)),
        24: text_field("EC"),
        25: text_field("P"),
    }
    if event == "review":
        fields[27] = component_field("", "", "", "", "", "R")  # routine: whoever sorts by priority puts it last
    yield segment("OBR", fields | ({29: Field(parent)} if parent else {}))


def _notes(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        fields = {1: text_field(str(number)), 2: text_field("L"), 3: formatted_field(text)}  # L: from the filler
        yield segment("NTE", fields)


def _provenance(finding: Finding) -> Iterator[str]:
    provenance = finding.provenance
    yield finding.notice
    if warning := model_warning(provenance.model):
        yield warning
    yield f"Model {describe_model(provenance.model)}"
    yield f"Worker {provenance.worker_version}; fingerprint {provenance.fingerprint}; finding {finding.finding_id}"


def _result(number: int, observation: Observation, finding: Finding) -> str:
    fields = {
        1: text_field(str(number)),
        2: text_field(observation.kind),
        3: observation.code,
        4: text_field(observation.sub_id),
        5: observation.value,
        6: component_field(observation.unit, _UNITS[observation.unit], "UCUM") if observation.unit else NO_VALUE,
        7: text_field(observation.expected),
        8: text_field(observation.abnormal),
        9: observation.probability,
        11: text_field("P"),
        14: time_field(finding.ecg.acquired_at),
        18: component_field(finding.provenance.fingerprint, PRODUCT),
    }
    return segment("OBX", fields)
