from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import get_args

import numpy as np
import pytest
from hl7apy.parser import parse_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.dicom.decode import decode_dicom
from adapters.recording.assemble import Identity, Waveform, assemble
from schemas.ecg import INDEPENDENT_LEADS, LEADS, Ecg, Order, Patient, Priority
from simulator.edits import real_ecg, resample
from simulator.writers.dicom import write_dicom
from simulator.writers.hl7v2 import CHAPTER7_UV_PER_COUNT, Charset, Variant, write_hl7v2
from tests.support.hl7_messages import SITE, decoded

VARIANTS: tuple[Variant, ...] = get_args(Variant)
# Half a unit in the last place of what each variant writes, in microvolts.
ROUNDING_UV = {"na": 0.5, "pcd": 0.5, "chapter7": CHAPTER7_UV_PER_COUNT / 2, "ed_dicom": 0.625}

ECG = replace(
    resample(real_ecg(), 250),
    acquired_at=datetime(2026, 3, 23, 8, 55, 1, 250_000, tzinfo=timezone(timedelta(hours=-5))),
    patient=Patient("00|1^2", "H&C", 58.0, "male"),
    order=Order("V~7", "P\\1", "F1", "stat", ("chest pain | 2 h", "diabetic\nsmoker")),
    message_id="M^1",
    device="ELI 250 & co",
)


@cache
def dicom_object() -> bytes:
    """The same ECG; DICOM's order numbers cannot hold a backslash, so it goes without."""
    return write_dicom(replace(ECG, order=Order()))


def written(ecg: Ecg, variant: Variant) -> bytes:
    return write_hl7v2(ecg, variant=variant, dicom=dicom_object() if variant == "ed_dicom" else None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_written_is_read_back(variant: Variant) -> None:
    ecg = decoded(written(ECG, variant))
    assert np.abs(ecg.samples_uv - ECG.samples_uv).max() <= ROUNDING_UV[variant] + 0.01
    assert (ecg.patient, ecg.order, ecg.acquired_at) == (ECG.patient, ECG.order, ECG.acquired_at)
    assert (ecg.sampling_hz, ecg.message_id) == (250, "M^1")
    assert ecg.notes == ()
    assert ecg.device == ECG.device if variant != "ed_dicom" else ecg.device


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_ecg_gives_the_same_bytes(variant: Variant) -> None:
    assert written(ECG, variant) == written(replace(ECG), variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_hl7apy_keeps_every_segment_of_what_is_written(variant: Variant) -> None:
    lines = written(ECG, variant).decode().rstrip("\r").split("\r")
    skeleton = []
    for line in lines:
        fields = line.split("|")
        if fields[0] == "OBX":
            fields[5] = ""
        skeleton.append("|".join(fields).rstrip("|"))
    parsed = parse_message("\r".join(skeleton), find_groups=False)
    assert [segment.name for segment in parsed.children] == [line[:3] for line in lines]
    # It escapes the mark of \X0A\ once more; apart from that it gives back what it got.
    er7 = [segment.to_er7().rstrip("|").replace("\\E\\X0A\\E\\", "\\X0A\\") for segment in parsed.children]
    assert er7 == skeleton


@pytest.mark.parametrize("variant", VARIANTS)
def test_segments_end_in_cr_and_texts_cannot_add_any(variant: Variant) -> None:
    lines = written(ECG, variant).decode().split("\r")
    assert lines[-1] == ""
    names = [line[:3] for line in lines[:-1]]
    assert names[:7] == ["MSH", "PID", "PV1", "ORC", "OBR", "NTE", "TQ1"]
    assert set(names[7:]) == {"OBX"}
    assert "\n" not in "".join(lines)


def test_each_variant_is_the_message_that_its_senders_send() -> None:
    heads = {variant: written(ECG, variant).split(b"\r")[0].decode().split("|") for variant in VARIANTS}
    assert {variant: head[8] for variant, head in heads.items()} == {
        "na": "ORU^R01^ORU_R01",
        "pcd": "ORU^R01^ORU_R01",
        "chapter7": "ORU^W01^ORU_W01",
        "ed_dicom": "ORU^R01^ORU_R01",
    }
    assert heads["pcd"][20] == "IHE_PCD_ORU_R01^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"
    assert b"|266418^MDC_DIM_MILLI_VOLT^MDC|" in written(ECG, "pcd")
    assert b"|MA|93000&WAV^" in written(ECG, "chapter7")


@pytest.mark.parametrize("variant", ["na", "pcd", "chapter7"])
def test_derived_leads_are_left_to_the_reader_and_padding_stays_padding(variant: Variant) -> None:
    channels_uv = {lead: ECG.lead_uv(lead).astype(float) for lead in INDEPENDENT_LEADS}
    channels_uv["V6"][:25] = np.nan
    eight = assemble(
        Identity("hl7v2", "M2", ECG.patient, ECG.acquired_at, ECG.order, ECG.device), Waveform(channels_uv, 250)
    )
    ecg = decoded(written(eight, variant))
    assert ecg.derived_leads == ("III", "aVR", "aVL", "aVF")
    assert np.isnan(ecg.lead_uv("V6")[:25]).all()
    assert np.isfinite(ecg.lead_uv("V6")[25:]).all()
    assert ecg.leads == LEADS


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("UNICODE UTF-8", "胸痛 ü"),
        ("8859/1", "Übelkeit"),
        ("GB 18030-2000", "胸痛"),
        ("BIG-5", "胸痛"),
        ("ISO IR87", "胸の痛み"),
    ],
)
def test_every_character_set_is_written_as_declared(charset: Charset, text: str) -> None:
    ecg = replace(ECG, order=replace(ECG.order, clinical_texts=(text,)))
    payload = write_hl7v2(ecg, variant="na", charset=charset, family_name=text)
    assert decoded(payload).order.clinical_texts == (text,)


def test_a_character_that_the_set_lacks_is_refused() -> None:
    ecg = replace(ECG, order=replace(ECG.order, clinical_texts=("胸",)))
    with pytest.raises(UnicodeEncodeError):
        write_hl7v2(ecg, variant="na", charset="8859/1")


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_object_is_taken_by_its_own_variant_only(variant: Variant) -> None:
    dicom = None if variant == "ed_dicom" else b"DICM"
    with pytest.raises(ValueError, match="DICOM"):
        write_hl7v2(ECG, variant=variant, dicom=dicom)


def test_the_object_inside_is_the_one_given() -> None:
    inside = decode_dicom(dicom_object(), SITE)
    assert (decoded(written(ECG, "ed_dicom")).samples_uv == inside.samples_uv).all()


words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=20
).filter(lambda text: text != '""')
texts = st.builds("\n".join, st.lists(words, min_size=1, max_size=3))


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    patient=st.builds(
        Patient,
        words,
        st.none() | words,
        st.none() | st.integers(0, 110).map(float) | st.integers(0, 23).map(lambda months: months / 12),
        st.sampled_from(["female", "male", None]),
    ),
    order=st.builds(
        Order,
        st.none() | words,
        st.none() | words,
        st.none() | words,
        st.sampled_from(get_args(Priority)),
        st.lists(texts, max_size=3, unique=True).map(tuple),
    ),
    acquired_at=st.datetimes(
        datetime(1990, 1, 1),
        datetime(2040, 1, 1),
        timezones=st.just(UTC) | st.integers(-720, 840).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    ).map(lambda moment: moment.replace(microsecond=moment.microsecond // 100 * 100)),
)
def test_any_identity_is_read_back(patient: Patient, order: Order, acquired_at: datetime) -> None:
    ecg = replace(EIGHT_SECONDS, patient=patient, order=order, acquired_at=acquired_at)
    again = decoded(write_hl7v2(ecg, variant="na"))
    assert (again.patient, again.order, again.acquired_at) == (patient, order, acquired_at)


EIGHT_SECONDS = decoded(written(ECG, "na"))
