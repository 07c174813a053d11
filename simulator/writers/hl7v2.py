"""ECGs as HL7 v2 result messages, as carts, IHE PCD devices and ECG management systems send them.

Segments are built as text, with everything that came from outside escaped: hl7apy lets `^`, `&` and line ends through.
The same ECG always gives the same bytes.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from math import isnan
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from adapters.hl7v2.text import STANDARD
from schemas.ecg import Ecg

Variant = Literal["na", "chapter7", "pcd", "ed_dicom"]
Charset = Literal["UNICODE UTF-8", "8859/1", "GB 18030-2000", "BIG-5", "ISO IR87"]

_CODECS: Final[dict[Charset, str]] = {
    "UNICODE UTF-8": "utf-8",
    "8859/1": "latin-1",
    "GB 18030-2000": "gb18030",
    "BIG-5": "big5",
    "ISO IR87": "iso2022_jp_ext",
}
_PRIORITIES: Final = {"stat": "S", "asap": "A", "routine": "R"}
_SEXES: Final = {"female": "F", "male": "M", None: "U"}

# Lead numbers of IEEE 11073-10102, in HL7's numbering.
_LEAD_CODES: Final = {
    "I": 131329, "II": 131330, "V1": 131331, "V2": 131332, "V3": 131333, "V4": 131334, "V5": 131335, "V6": 131336,
    "III": 131389, "aVR": 131390, "aVL": 131391, "aVF": 131392,
}  # fmt: skip
_ELECTRODES: Final = {
    "I": "RA&LA", "II": "RA&LL", "III": "LA&LL", "aVR": "&RA", "aVL": "&LA", "aVF": "&LL",
    **{f"V{n}": f"&V{n}" for n in range(1, 7)},
}  # fmt: skip

# A 16-bit converter at the resolution most carts store, 4.88 µV: coarse enough that ignoring the scale is seen.
CHAPTER7_UV_PER_COUNT: Final = 4.88
_ADC: Final = "-32768&32767"

_EKG_STUDY: Final = "11524-6^EKG study^LN"
_PCD_WAVES: Final = "69121^MDC_OBS_WAVE_CTS^MDC"


def write_hl7v2(
    ecg: Ecg,
    *,
    variant: Variant,
    dicom: bytes | None = None,
    charset: Charset = "UNICODE UTF-8",
    family_name: str = "SIMULATED",
) -> bytes:
    """One CR-terminated message with the ECG's recorded leads; padding (NaN) becomes an empty value.

    `na`: ORU^R01, an integer array a lead in µV. `pcd`: ORU^R01 after IHE PCD, in mV with three decimals. `chapter7`:
    ORU^W01, one array of all leads, 4.88 µV a count. `ed_dicom`: ORU^R01 around the object `dicom`, which only this
    variant takes. The first clinical text is the reason for study (OBR-31), the others are notes.

    Raises ValueError if `dicom` is missing or superfluous, UnicodeEncodeError if `charset` lacks a character.
    """
    if (dicom is not None) != (variant == "ed_dicom"):
        raise ValueError("the variant ed_dicom needs a DICOM object, the others take none")
    arrays = {"na": _lead_arrays, "pcd": _pcd_arrays, "chapter7": _chapter7}
    observations = arrays[variant](ecg) if dicom is None else _encapsulated(dicom)
    segments = [*_head(ecg, variant, charset, family_name), *_observations(observations)]
    return ("\r".join(segments) + "\r").encode(_CODECS[charset])


def _segment(name: str, fields: dict[int, str]) -> str:
    """A segment of fields that are already escaped, by their numbers; MSH-1 is the separator itself."""
    first = 2 if name == "MSH" else 1
    return "|".join([name, *(fields.get(number, "") for number in range(first, max(fields) + 1))])


def _escaped(text: str | None) -> str:
    return STANDARD.escaped(text or "")


def _moment(moment: datetime) -> str:
    """An HL7 time stamp with its zone; the standard has room for tenths of milliseconds."""
    fraction = f".{moment.microsecond // 100:04d}" if moment.microsecond else ""
    return f"{moment:%Y%m%d%H%M%S}{fraction}{moment:%z}"


def _birth_date(ecg: Ecg) -> str:
    """Half a year more than the age ago, so that completed years come out as they went in; months for infants."""
    if ecg.patient.age_years is None:
        return ""
    months = round(ecg.patient.age_years * 12)
    months_ago = months + (6 if months >= 24 else 0)
    index = ecg.acquired_at.year * 12 + ecg.acquired_at.month - 1 - months_ago
    return f"{date(index // 12, index % 12 + 1, 1):%Y%m%d}"


def _head(ecg: Ecg, variant: Variant, charset: Charset, family_name: str) -> list[str]:
    """All segments before the results."""
    order, patient = ecg.order, ecg.patient
    # Sent, as carts do, a minute after the recording ended.
    sent_at = ecg.acquired_at + timedelta(seconds=60 + round(ecg.duration_s))
    placer, filler = _escaped(order.placer), _escaped(order.filler)
    header = {
        2: STANDARD.encoding_characters,
        3: _escaped(ecg.device) or "SIMULATOR",
        4: "ECG",
        7: _moment(sent_at),
        9: "ORU^W01^ORU_W01" if variant == "chapter7" else "ORU^R01^ORU_R01",
        10: _escaped(ecg.message_id),
        11: "P",
        12: "2.6" if variant == "pcd" else "2.5.1",
        18: charset,
    }
    if variant == "pcd":
        header[21] = "IHE_PCD_ORU_R01^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"
    reason, *notes = order.clinical_texts or ("",)
    request = {
        1: "1",
        2: placer,
        3: filler,
        4: _PCD_WAVES if variant == "pcd" else _EKG_STUDY,
        7: _moment(ecg.acquired_at),
        22: _moment(sent_at),
        24: "EC",
        25: "P",
        31: f"^{_escaped(reason)}" if reason else "",
    }
    return [
        _segment("MSH", header),
        _segment(
            "PID",
            {
                1: "1",
                3: f"{_escaped(patient.id)}^^^{_escaped(patient.assigner)}^MR",
                5: f"{_escaped(family_name)}^PATIENT",
                7: _birth_date(ecg),
                8: _SEXES[patient.sex],
            },
        ),
        _segment("PV1", {1: "1", 2: "E", 19: _escaped(order.encounter)}),
        _segment("ORC", {1: "RE", 2: placer, 3: filler}),
        _segment("OBR", request),
        *(_segment("NTE", {1: str(index), 3: _escaped(note)}) for index, note in enumerate(notes, 1)),
        _segment("TQ1", {1: "1", 9: _PRIORITIES[order.priority]}),
    ]


def _observations(observations: Iterable[dict[int, str]]) -> list[str]:
    """OBX segments, numbered; preliminary, as no human has read them."""
    return [_segment("OBX", {1: str(index), 11: "P", **fields}) for index, fields in enumerate(observations, 1)]


def _recorded(ecg: Ecg) -> list[str]:
    """A cart sends what it recorded; leads that a decoder derived are left for the next one to derive."""
    return [lead for lead in ecg.leads if lead not in ecg.derived_leads]


def _written(values: NDArray[np.floating], decimals: int) -> list[str]:
    # Adding zero makes what rounds to minus nought a plain one.
    rounded = np.round(values.astype(np.float64), decimals) + 0.0
    return ["" if isnan(value) else f"{value:.{decimals}f}" for value in rounded.tolist()]


def _lead_arrays(ecg: Ecg) -> Sequence[dict[int, str]]:
    rate = {2: "NM", 3: "0^MDC_ATTR_SAMP_RATE^MDC", 4: "1.0", 5: f"{ecg.sampling_hz:g}", 6: "Hz^^UCUM"}
    arrays = [
        {
            2: "NA",
            3: f"{_LEAD_CODES[lead]}^MDC_ECG_LEAD_{lead.upper()}^MDC",
            4: f"1.{index}",
            5: "^".join(_written(ecg.lead_uv(lead), 0)),
            6: "uV^^UCUM",
        }
        for index, lead in enumerate(_recorded(ecg), 1)
    ]
    return [rate, *arrays]


def _pcd_arrays(ecg: Ecg) -> Sequence[dict[int, str]]:
    """Waveform Content Module: MDS.VMD.CHAN.METRIC in OBX-4, and facets of the metric one level below it."""
    observations: list[dict[int, str]] = []
    for index, lead in enumerate(_recorded(ecg), 1):
        metric = f"1.1.1.{index}"
        values_mv = ecg.lead_uv(lead) / 1000
        unit, started = "266418^MDC_DIM_MILLI_VOLT^MDC", _moment(ecg.acquired_at)
        code = f"{_LEAD_CODES[lead]}^MDC_ECG_ELEC_POTL_{lead.upper()}^MDC"
        samples = "^".join(_written(values_mv, 3))
        rate = f"{ecg.sampling_hz:g}"
        observations += [
            {2: "NA", 3: code, 4: metric, 5: samples, 6: unit, 14: started},
            {2: "NM", 3: "0^MDC_ATTR_SAMP_RATE^MDC", 4: f"{metric}.1", 5: rate, 6: "264608^MDC_DIM_PER_SEC^MDC"},
            {2: "NR", 3: "0^MDC_ATTR_DATA_RANGE^MDC", 4: f"{metric}.2", 5: "-20.000^20.000", 6: unit},
        ]
    return observations


def _chapter7(ecg: Ecg) -> Sequence[dict[int, str]]:
    """Start, definitions (only the first says scale and rate, as the standard allows), and one multiplexed array."""
    leads = _recorded(ecg)
    shared = f"^{CHAPTER7_UV_PER_COUNT}&uV&UCUM^1&0&0^{ecg.sampling_hz:g}^{_ADC}"
    definitions = [
        f"{index}&{lead}^{_ELECTRODES[lead]}{shared if index == 1 else ''}" for index, lead in enumerate(leads, 1)
    ]
    rows = zip(*(_written(ecg.lead_uv(lead) / CHAPTER7_UV_PER_COUNT, 0) for lead in leads), strict=True)
    code = "93000&{}^ECG 12 lead^L"
    return [
        {2: "TS", 3: code.format("TIM"), 4: "1", 5: _moment(ecg.acquired_at)},
        *({2: "CD", 3: code.format("CHN"), 4: "1", 5: definition} for definition in definitions),
        {2: "MA", 3: code.format("WAV"), 4: "1", 5: "~".join(map("^".join, rows))},
    ]


def _encapsulated(dicom: bytes) -> Sequence[dict[int, str]]:
    return [{2: "ED", 3: _EKG_STUDY, 4: "1", 5: f"SIMULATOR^Application^DICOM^Base64^{b64encode(dicom).decode()}"}]
