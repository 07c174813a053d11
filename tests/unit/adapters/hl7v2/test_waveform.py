from collections.abc import Iterable
from itertools import chain

import numpy as np
import pytest

from adapters.hl7v2.numbers import MAX_VALUES, matrix, number
from adapters.hl7v2.text import STANDARD
from adapters.hl7v2.waveform import MAX_CHANNELS
from schemas.ecg import INDEPENDENT_LEADS
from schemas.finding import QualityFlag
from schemas.rejection import Reason
from tests.support.hl7_messages import CODES, RATE, SAMPLING_HZ, array, arrays, decoded, message, refused, samples

TIM = "OBX|1|TS|93000&TIM|1|20260323085501-0500"
SCALE = f"^0.005&mV^1&0&0^{SAMPLING_HZ}^-32768&32767"


def mv(lead: str, factor: float) -> str:
    return "^".join(f"{value * factor:.6f}" for value in samples(lead))


def with_lead(lead: str, line: str) -> str:
    return message(obx=[RATE, *arrays({lead: line})])


def chn(place: int, lead: str, rest: str = "", sub_id: str = "1") -> str:
    return f"OBX|2|CD|93000&CHN|{sub_id}|{place}&{lead}^RA&LA{rest}"


def wav(value: str, kind: str = "NA", sub_id: str = "1") -> str:
    return f"OBX|3|{kind}|93000&WAV|{sub_id}|{value}"


def row(lead: str) -> str:
    return "^".join(map(str, samples(lead)))


def multiplexed(leads: Iterable[str] = INDEPENDENT_LEADS, times: slice = slice(None)) -> str:
    columns = [samples(lead)[times] for lead in leads]
    return "~".join("^".join(map(str, values)) for values in zip(*columns, strict=True))


def chapter7(*waves: str, scale: str = SCALE, tim: str = TIM) -> str:
    definitions = [chn(place, lead, scale if place == 1 else "") for place, lead in enumerate(INDEPENDENT_LEADS, 1)]
    return message(obx=[tim, *definitions, *waves])


def channels(scale: str = SCALE, first: str = "I") -> list[str]:
    """A CHN and a WAV a lead, each pair with an OBX-4 of its own; `first` names the first channel."""
    pairs = [
        (chn(n, first if n == 1 else lead, scale if n == 1 else "", str(n)), wav(row(lead), sub_id=str(n)))
        for n, lead in enumerate(INDEPENDENT_LEADS, 1)
    ]
    return list(chain.from_iterable(pairs))


# One OBX a lead


def test_arrays_are_read_in_microvolts() -> None:
    ecg = decoded(message())
    assert ecg.sampling_hz == SAMPLING_HZ
    assert ecg.derived_leads == ("III", "aVR", "aVL", "aVF")
    for lead in INDEPENDENT_LEADS:
        assert ecg.lead_uv(lead).tolist() == list(samples(lead))


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("266418^MDC_DIM_MILLI_VOLT^MDC", 0.001),
        ("266419^MDC_DIM_MICRO_VOLT^MDC", 1),
        ("mV^millivolt^UCUM", 0.001),
        ("mv", 0.001),
        ("^^^uV^microvolt^UCUM", 1),
        ("µV", 1),
        ("μV", 1),
        ("nV", 1000),
    ],
)
def test_every_lead_is_scaled_by_its_own_unit(unit: str, factor: float) -> None:
    ecg = decoded(with_lead("V2", array("V2", value=mv("V2", factor), unit=unit)))
    np.testing.assert_allclose(ecg.lead_uv("V2"), samples("V2"), atol=0.01)


@pytest.mark.parametrize("unit", ["", '""', "MV", "mm[Hg]", "1", "266418^MDC_DIM_MICRO_VOLT^MDC"])
def test_a_lead_without_one_clear_unit_is_rejected(unit: str) -> None:
    assert refused(with_lead("V2", array("V2", unit=unit))) is Reason.HL7_WAVEFORM


@pytest.mark.parametrize(
    "code",
    [
        "131332^MDC_ECG_ELEC_POTL_V2^MDC",
        "131332",
        "2:4^Lead V2^MDC",
        "5.6.3-9-4^V2^SCPECG",
        "MDC_ECG_LEAD_V2",
        "V2^Brustwandableitung 2^L",
        "W2^precordial^L^131332^MDC_ECG_LEAD_V2^MDC",
    ],
)
def test_leads_are_known_by_any_of_their_codes_and_names(code: str) -> None:
    assert decoded(with_lead("V2", array("V2", code=code))).lead_uv("V2").tolist() == list(samples("V2"))


@pytest.mark.parametrize(
    "code",
    [
        "131332^MDC_ECG_LEAD_V1^MDC",
        "131331^LEAD_I^MDC",
        "131332^MDC_ECG_LEAD_V7^MDC",
        "131335^V2^MDC^131332^V2^MDC",
        "131337^V2^MDC",
        "V2^V2^L^131331^^MDC",
    ],
)
def test_a_leads_code_and_name_must_agree(code: str) -> None:
    assert refused(with_lead("V2", array("V2", code=code))) is Reason.ECG_LEAD_NAMES


def test_arrays_that_are_no_standard_lead_are_left_out_and_counted() -> None:
    others = [
        "OBX|2|NA|150452^MDC_PULS_OXIM_PLETH^MDC|1.9|1^2^3|262656^MDC_DIM_DIMLESS^MDC",
        array("V2", code="131337^MDC_ECG_LEAD_V7^MDC"),
    ]
    ecg = decoded(message(obx=[RATE, *arrays(), *others]))
    assert ecg.notes == (QualityFlag(lead=None, problem="channel_ignored", value=2.0),)


def test_unknown_leads_only_are_no_lead_names_and_another_signal_is_no_waveform() -> None:
    unknown = [array(lead, code=f"L{n}^Channel {n}^L") for n, lead in enumerate(CODES)]
    assert refused(message(obx=[RATE, *unknown])) is Reason.ECG_LEAD_NAMES
    pulse = "OBX|2|NA|150452^MDC_PULS_OXIM_PLETH^MDC|1.9|1^2^3|262656^MDC_DIM_DIMLESS^MDC"
    assert refused(message(obx=[RATE, pulse])) is Reason.HL7_NO_WAVEFORM


def test_a_lead_given_twice_is_rejected() -> None:
    assert refused(message(obx=[RATE, *arrays(), array("V2")])) is Reason.ECG_LEADS


def test_a_missing_lead_or_one_cut_short_is_rejected() -> None:
    assert refused(message(obx=[RATE, *arrays()[:-1]])) is Reason.ECG_LEADS
    short = row("V2").rpartition("^")[0]
    assert refused(with_lead("V2", array("V2", value=short))) is Reason.ECG_LEADS
    assert refused(message()[:-200]) is Reason.HL7_WAVEFORM


@pytest.mark.parametrize(
    ("facet", "unit"),
    [
        ("0^MDC_ATTR_SAMP_RATE^MDC", "264608^MDC_DIM_PER_SEC^MDC"),
        ("MDC_ATTR_SAMP_RATE", "/s^per second^UCUM"),
        ("0^mdc_attr_samp_rate^MDC", "hz"),
    ],
)
def test_every_lead_may_have_a_sampling_rate_of_its_own_beneath_it(facet: str, unit: str) -> None:
    rates = [f"OBX|1|NM|{facet}|1.{code}.7|{SAMPLING_HZ}|{unit}" for code in CODES.values()]
    assert decoded(message(obx=[*arrays(), *rates])).sampling_hz == SAMPLING_HZ


@pytest.mark.parametrize("sub_id", ["1.0", "1.0.0.5", "9", "", "1.7"])
def test_a_rate_of_whatever_contains_the_leads_counts_for_all(sub_id: str) -> None:
    rate = RATE.replace("|1.0|", f"|{sub_id}|")
    assert decoded(message(obx=[rate, *arrays()])).sampling_hz == SAMPLING_HZ


def test_the_nearest_rate_counts() -> None:
    near = [f"OBX|1|NM|0^MDC_ATTR_SAMP_RATE^MDC|1.{code}.1|{SAMPLING_HZ}|Hz" for code in CODES.values()]
    assert decoded(message(obx=[RATE.replace("|250|", "|500|"), *arrays(), *near])).sampling_hz == SAMPLING_HZ


@pytest.mark.parametrize(
    "rate",
    [
        RATE.replace("|Hz", "|"),
        RATE.replace("|Hz", "|ms"),
        RATE.replace("|250|", "||"),
        RATE.replace("|250|", "|fast|"),
        RATE.replace("|250|", "|nan|"),
        RATE.replace("|1.0|", "|2.0|"),
        "OBX|1|TX|X||none",
        RATE + "\r" + RATE.replace("|250|", "|500|"),
        RATE + f"\rOBX|1|NM|0^MDC_ATTR_SAMP_RATE^MDC|1.{CODES['V2']}.1|500|Hz",
    ],
)
def test_without_one_sampling_rate_in_hertz_the_waveform_is_rejected(rate: str) -> None:
    assert refused(message(obx=[rate, *arrays()])) is Reason.HL7_WAVEFORM


def test_samples_outside_the_stated_data_range_are_rejected() -> None:
    def ranged(written: str) -> str:
        return message(obx=[RATE, *arrays(), f"OBX|1|NR|0^MDC_ATTR_DATA_RANGE^MDC|1.{CODES['V2']}.2|{written}|uV"])

    assert decoded(ranged("-500^500")).patient.id == "123"
    assert decoded(ranged("^")).patient.id == "123"
    assert refused(ranged("-300^500")) is Reason.HL7_WAVEFORM
    assert refused(ranged("-500^300")) is Reason.HL7_WAVEFORM


def test_values_left_out_are_padding() -> None:
    values = [str(value) for value in samples("V2")]
    values[:4] = ["", '""', "", "12.5"]
    v2_uv = decoded(with_lead("V2", array("V2", value="^".join(values)))).lead_uv("V2")
    assert np.isnan(v2_uv[:3]).all()
    assert v2_uv[3:].tolist() == [12.5, *samples("V2")[4:]]


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "1e999", "1_0", "x", "1,5", "٣", "0x1F", "1 2", "--1", "1^^^"])
def test_a_sample_that_is_no_finite_number_is_rejected(bad: str) -> None:
    reason = refused(with_lead("V2", array("V2", value=bad + "^" + row("V2").partition("^")[2])))
    assert reason is (Reason.ECG_LEADS if bad == "1^^^" else Reason.HL7_WAVEFORM)


def test_an_empty_array_is_rejected() -> None:
    assert refused(with_lead("V2", array("V2", value=""))) is Reason.HL7_WAVEFORM


def test_samples_may_stand_in_repetitions() -> None:
    column = array("V2", value="~".join(map(str, samples("V2"))))
    assert decoded(with_lead("V2", column)).lead_uv("V2").tolist() == list(samples("V2"))
    assert decoded(with_lead("V2", column.replace("|NA|", "|MA|"))).lead_uv("V2").tolist() == list(samples("V2"))


def test_two_rows_under_one_leads_name_are_rejected() -> None:
    assert refused(with_lead("V2", array("V2", value=row("V2") + "~" + row("V3")))) is Reason.HL7_WAVEFORM


def test_leads_recorded_one_after_another_are_rejected() -> None:
    later = {"V4": array("V4", f14="20260323085502"), "I": array("I", f14="20260323085500")}
    assert refused(message(obx=[RATE, *arrays(later)])) is Reason.HL7_WAVEFORM


def test_more_samples_than_any_ecg_has_are_rejected_unread() -> None:
    assert refused(with_lead("V2", array("V2", value="^" * MAX_VALUES))) is Reason.HL7_TOO_COMPLEX
    assert refused(with_lead("V2", array("V2", value="~" * MAX_VALUES))) is Reason.HL7_TOO_COMPLEX


def test_waveforms_under_two_orders_are_rejected() -> None:
    second = "\r".join(["OBR|2|P2|F2|EKG|||20260323090000", RATE, *arrays()])
    assert refused(message() + second) is Reason.HL7_WAVEFORM


@pytest.mark.parametrize(
    "obx",
    [
        [],
        ["OBX|1|NM|8867-4^HR^LN||61|/min", "OBX|2|TX|8601-7^Impression^LN||Normal"],
        ["OBX|1|RP|11524-6^EKG^LN||https://169.254.169.254/ecg.dcm^PACS^Application^DICOM"],
    ],
)
def test_numbers_texts_and_links_are_no_waveform(obx: list[str]) -> None:
    assert refused(message(obx=obx)) is Reason.HL7_NO_WAVEFORM


def test_numbers_are_read_exactly() -> None:
    assert matrix("1^-2^+3~4^5^6", STANDARD).tolist() == [[1, -2, 3], [4, 5, 6]]
    assert matrix("0.1^1e-3^.5", STANDARD).tolist() == [[0.1, 0.001, 0.5]]
    assert (number(" 4.88 "), number("1^2"), number(""), number("nan")) == (4.88, None, None, None)


# Chapter 7


def test_a_multiplexed_array_is_scaled_by_the_first_channels_definition() -> None:
    ecg = decoded(chapter7(wav(multiplexed(), "MA")))
    assert ecg.sampling_hz == SAMPLING_HZ
    for lead in INDEPENDENT_LEADS:
        np.testing.assert_allclose(ecg.lead_uv(lead), np.array(samples(lead)) * 5, atol=0.01)


def test_rows_arrays_in_turn_pairs_and_chunks_mean_the_same() -> None:
    expected_uv = decoded(chapter7(wav(multiplexed(), "MA"))).samples_uv
    rows = chapter7(wav("~".join(row(lead) for lead in INDEPENDENT_LEADS)))
    in_turn = chapter7(*(wav(row(lead)) for lead in INDEPENDENT_LEADS))
    pairs = message(obx=[TIM, *channels()])
    halves = slice(0, 1000), slice(1000, None)
    chunks = chapter7(*(wav(multiplexed(times=half), "MA") for half in halves))
    one = [chn(n, lead, SCALE, str(n)) for n, lead in enumerate(INDEPENDENT_LEADS, 1)]
    split = ["^".join(map(str, samples(lead)[half])) for lead in INDEPENDENT_LEADS for half in halves]
    chunk_pairs = message(obx=[TIM, *one, *(wav(text, sub_id=str(n // 2 + 1)) for n, text in enumerate(split))])
    repeated = "~".join(f"{n}&{lead}^{SCALE if n == 1 else ''}" for n, lead in enumerate(INDEPENDENT_LEADS, 1))
    one_definition = message(obx=[TIM, f"OBX|2|CD|93000&CHN|1|{repeated}", wav(multiplexed(), "MA")])
    for text in (rows, in_turn, pairs, chunks, chunk_pairs, one_definition):
        assert (decoded(text).samples_uv == expected_uv).all()


def test_baseline_correction_and_polarity_are_applied() -> None:
    pairs = channels()
    pairs[6] = chn(4, "V2", f"^-2.5&uV&&UCUM^2&10&0^{SAMPLING_HZ}^", "4")
    ecg = decoded(message(obx=[TIM, *pairs]))
    np.testing.assert_allclose(ecg.lead_uv("V2"), (np.array(samples("V2")) - 10) * -5, atol=0.01)
    np.testing.assert_allclose(ecg.lead_uv("V3"), np.array(samples("V3")) * 5, atol=0.01)


def test_a_stated_skew_is_noted() -> None:
    ecg = decoded(message(obx=[TIM, *channels(SCALE.replace("1&0&0", "&&0.002"))]))
    assert QualityFlag(lead="I", problem="channel_skew", value=2.0) in ecg.notes


@pytest.mark.parametrize(
    "scale",
    [
        f"^0.005&mV^1&0&0^^{'-32768&32767'}",
        f"^0.005^1&0&0^{SAMPLING_HZ}^",
        f"^&mV^1&0&0^{SAMPLING_HZ}^",
        f"^0&mV^1&0&0^{SAMPLING_HZ}^",
        f"^0.005&Pa^1&0&0^{SAMPLING_HZ}^",
        f"^^^{SAMPLING_HZ}^",
        f"^0.005&mV^one&0&0^{SAMPLING_HZ}^",
        f"^0.005&mV^1&0&0^{SAMPLING_HZ}^-100&100",
        "",
    ],
)
def test_an_incomplete_or_contradictory_definition_is_rejected(scale: str) -> None:
    assert refused(chapter7(wav(multiplexed(), "MA"), scale=scale)) is Reason.HL7_WAVEFORM


def test_wav_without_chn_or_with_another_number_of_channels_is_rejected() -> None:
    assert refused(message(obx=[TIM, wav(row("I"))])) is Reason.HL7_WAVEFORM
    assert refused(chapter7(wav(multiplexed(INDEPENDENT_LEADS[:7]), "MA"))) is Reason.HL7_WAVEFORM
    assert refused(chapter7(wav(multiplexed() + "~1^2", "MA"))) is Reason.HL7_WAVEFORM


def test_more_channels_than_any_system_has_are_rejected_unread() -> None:
    many = f"OBX|2|CD|93000&CHN|1|{'~1&I' * (MAX_CHANNELS + 1)}"
    assert refused(message(obx=[TIM, many, wav(row("I"))])) is Reason.HL7_TOO_COMPLEX


def test_channels_by_number_only_are_rejected() -> None:
    nameless = [line.replace(f"&{lead}^RA", "^RA") for line in channels() for lead in ["I"]]
    assert refused(message(obx=[TIM, *nameless])) is Reason.ECG_LEADS
    everything = [f"OBX|2|CD|93000&CHN|1|1^RA&LA{SCALE}", wav(row("I"))]
    assert refused(message(obx=[TIM, *everything])) is Reason.ECG_LEAD_NAMES


def test_a_channel_of_another_signal_is_left_out_and_one_given_twice_rejected() -> None:
    extra = ["OBX|2|CD|93000&CHN|99|9&RESP^chest^1&Ohm", wav("1^2^3", sub_id="99")]
    notes = decoded(message(obx=[TIM, *channels(), *extra])).notes
    assert notes == (QualityFlag(lead=None, problem="channel_ignored", value=1.0),)
    assert refused(message(obx=[TIM, *channels(first="II")])) is Reason.ECG_LEADS


def test_channels_of_different_rate_or_start_are_rejected() -> None:
    pairs = channels()
    pairs[2] = chn(2, "II", "^0.005&mV^^500^", "2")
    assert refused(message(obx=[TIM, *pairs])) is Reason.HL7_WAVEFORM
    later = "OBX|1|TS|93000&TIM|2|20260323085503-0500"
    assert refused(message(obx=[TIM, later, *channels()])) is Reason.HL7_WAVEFORM


def test_tim_dates_the_ecg_if_obr_does_not() -> None:
    text = message(obr="OBR|1|P1|F1|EKG", obx=[TIM, *channels()])
    assert decoded(text).acquired_at.isoformat() == "2026-03-23T08:55:01-05:00"


def test_annotations_say_nothing_about_the_waveform() -> None:
    note = "OBX|4|CE|93000&ANO|1|1^R wave^L"
    assert decoded(message(obx=[TIM, *channels(), note])).notes == ()


def test_two_notations_in_one_message_are_rejected() -> None:
    assert refused(message(obx=[TIM, *channels(), RATE, *arrays()])) is Reason.HL7_WAVEFORM
