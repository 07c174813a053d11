"""HL7 v2 messages for tests: a small correct one, written field by field, and ways to change it."""

from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
import pytest

from adapters.hl7v2.decode import decode_hl7v2
from adapters.recording.site import SiteDefaults
from schemas.ecg import INDEPENDENT_LEADS, Ecg
from schemas.rejection import Reason, Rejected

CODES = {
    "I": 131329, "II": 131330, "V1": 131331, "V2": 131332, "V3": 131333, "V4": 131334, "V5": 131335, "V6": 131336,
}  # fmt: skip
SAMPLING_HZ = 250
SITE = SiteDefaults()

MSH = r"MSH|^~\&|CART|WARD|ECGW|HOSP|20260323091200-0500||ORU^R01^ORU_R01|M1|P|2.5.1||||||UNICODE UTF-8"
PID = "PID|1||123^^^HOSP^MR||DOE^JANE||19580401|F"
OBR = "OBR|1|P1|F1|11524-6^EKG^LN|||20260323085500"
RATE = f"OBX|1|NM|0^MDC_ATTR_SAMP_RATE^MDC|1.0|{SAMPLING_HZ}|Hz"


@cache
def samples(lead: str) -> tuple[int, ...]:
    """Eight seconds of whole numbers, other ones for every lead."""
    phase = list(CODES).index(lead)
    wave = 400 * np.sin(2 * np.pi * np.arange(8 * SAMPLING_HZ) / SAMPLING_HZ + phase) + phase
    return tuple(wave.round().astype(int).tolist())


def array(lead: str, *, value: str | None = None, unit: str = "uV", code: str | None = None, **later: str) -> str:
    """An NA result; `later` are fields after OBX-6, by name f11, f14, ..."""
    fields = ["OBX", "2", "NA", code or f"{CODES[lead]}^MDC_ECG_LEAD_{lead.upper()}^MDC"]
    fields += [f"1.{CODES[lead]}", "^".join(map(str, samples(lead))) if value is None else value, unit]
    fields += [""] * 14
    for name, text in later.items():
        fields[int(name[1:])] = text
    return "|".join(fields).rstrip("|")


def arrays(changed: Mapping[str, str] | None = None) -> list[str]:
    """All eight leads, with some lines replaced."""
    return [(changed or {}).get(lead) or array(lead) for lead in INDEPENDENT_LEADS]


def message(
    *, msh: str = MSH, pid: str = PID, obr: str = OBR, before: Iterable[str] = (), obx: Iterable[str] | None = None
) -> str:
    """A message with its segments separated by CR; `before` stands between OBR and the results."""
    results = [RATE, *arrays()] if obx is None else list(obx)
    return "\r".join([msh, pid, obr, *before, *results]) + "\r"


def decoded(text: str | bytes, site: SiteDefaults = SITE) -> Ecg:
    return decode_hl7v2(text.encode() if isinstance(text, str) else text, site)


def refused(text: str | bytes, site: SiteDefaults = SITE) -> Reason:
    """Why the message is rejected; the exception has no other one behind it that could quote the message."""
    with pytest.raises(Rejected) as caught:
        decoded(text, site)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value.reason
