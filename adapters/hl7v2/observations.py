"""The observations of a message, by the order (OBR) that they stand under; withdrawn ones are left out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.hl7v2.fields import Segment

# OBX-11: deleted, sent for the wrong patient, cannot be obtained.
_WITHDRAWN: Final = frozenset({"D", "W", "X"})
# OBR-25: no result available, order cancelled.
_CANCELLED: Final = "X"


@dataclass(slots=True)
class Observations:
    """One OBR with what belongs to it: its ORC and TQ1, the notes that follow it, its results, DG1."""

    orc: Segment | None = None
    obr: Segment | None = None
    timings: list[Segment] = field(default_factory=list)
    notes: list[Segment] = field(default_factory=list)
    diagnoses: list[Segment] = field(default_factory=list)
    results: list[Segment] = field(default_factory=list)


def group_observations(segments: Sequence[Segment]) -> list[Observations]:
    """The message's OBX segments by the OBR they stand under; results that were withdrawn are left out.

    Only notes straight after an OBR are kept: those after a result comment on it, and may hold its interpretation.
    DG1 before the first OBR concerns the visit, so it is kept with every group.
    """
    groups = [Observations()]
    orc: Segment | None = None
    anchor = ""
    for segment in segments:
        if segment.name == "ORC":
            orc = segment
        elif segment.name == "OBR":
            groups.append(Observations(orc=orc, obr=segment, diagnoses=list(groups[0].diagnoses)))
            orc = None
        elif segment.name == "TQ1":
            groups[-1].timings.append(segment)
        elif segment.name == "DG1":
            groups[-1].diagnoses.append(segment)
        elif segment.name == "NTE" and anchor == "OBR":
            groups[-1].notes.append(segment)
        elif segment.name == "OBX" and not _is_withdrawn(segment, groups[-1]):
            groups[-1].results.append(segment)
        if segment.name in ("PID", "PV1", "ORC", "OBR", "OBX"):
            anchor = segment.name
    return groups


def _is_withdrawn(obx: Segment, group: Observations) -> bool:
    cancelled = group.obr is not None and group.obr.raw.field(25).strip() == _CANCELLED
    return cancelled or obx.raw.field(11).strip() in _WITHDRAWN
