"""When the model is asked, when there is nothing to ask, and when nobody can say."""

from itertools import pairwise

import numpy as np
import pytest

from schemas.ecg import LEADS, Ecg
from schemas.finding import LeadMeasurements, Measurements, Quality, QualityFlag
from simulator.edits import flatten, invert_t_waves, real_ecg
from tests.support.analytic import analytic_ecg, ecg_of
from worker.verdict.screening import CONTIGUOUS, REASONS, Screening, screen
from worker.waveform.measure import Measured, measure

ECG = analytic_ecg()


def screened(ecg: Ecg) -> Screening:
    return screen(ecg, measure(ecg))


def measured(t_mv: dict[str, float | None], biphasic: tuple[str, ...] = ()) -> Measured:
    """Normal T waves in all leads but those given."""
    heights: dict[str, float | None] = {**dict.fromkeys(LEADS, 0.3), "aVR": -0.3, **t_mv}
    leads = {
        lead: LeadMeasurements(t_mv=height, st_mv=None, r_mv=None, s_mv=None, t_symmetry=None)
        for lead, height in heights.items()
    }
    measurements = Measurements(
        heart_rate_bpm=None, pr_ms=None, qrs_ms=None, qt_ms=None, qtc_ms=None, axis_deg=None, sokolow_lyon_mv=None,
        leads=leads, t_wave_inversion=(),
    )  # fmt: skip
    return Measured(measurements, Quality(usable=True, flags=()), biphasic)


def test_a_normal_ecg_needs_no_model() -> None:
    assert screened(real_ecg()) == Screening("no_t_wave_inversion", "no_contiguous_t_wave_inversion")


@pytest.mark.parametrize("leads", [("V2", "V3"), ("V3", "V4", "V5"), ("II", "III"), ("V5", "V6")])
def test_two_contiguous_inversions_ask_the_model(leads: tuple[str, ...]) -> None:
    assert screened(invert_t_waves(real_ecg(), leads, depth_mv=0.25)) == Screening(None, "t_wave_inversion")


@pytest.mark.parametrize("chain", CONTIGUOUS)
def test_every_neighbouring_pair_counts(chain: tuple[str, ...]) -> None:
    for one, other in pairwise(chain):
        t_mv: dict[str, float | None] = {
            lead.removeprefix("-"): 0.2 if lead == "-aVR" else -0.2 for lead in (one, other)
        }
        assert screen(ECG, measured(t_mv)).verdict is None, (one, other)


@pytest.mark.parametrize("pair", [("V1", "V3"), ("V2", "V5"), ("aVL", "V6"), ("I", "II"), ("III", "V1"), ("II", "III")])
def test_inversions_that_are_no_neighbours_do_not(pair: tuple[str, str]) -> None:
    assert screen(ECG, measured(dict.fromkeys(pair, -0.3))).verdict == "no_t_wave_inversion"


@pytest.mark.parametrize("lead", ["III", "aVL", "V1"])
def test_one_inversion_alone_is_normal(lead: str) -> None:
    assert screen(ECG, measured({lead: -0.3})).verdict == "no_t_wave_inversion"


def test_an_inversion_of_just_a_tenth_counts() -> None:
    assert screen(ECG, measured({"V3": -0.1, "V4": -0.1})).verdict is None
    assert screen(ECG, measured({"V3": -0.1, "V4": -0.099})).verdict == "no_t_wave_inversion"


def test_minus_avr_is_inverted_from_a_tenth_upright_on() -> None:
    assert screen(ECG, measured({"aVR": 0.1, "II": -0.1})) == Screening(None, "t_wave_inversion")
    assert screen(ECG, measured({"aVR": 0.099, "II": -0.1})).verdict == "no_t_wave_inversion"
    assert screen(ECG, measured({"aVR": -0.1, "II": -0.1})).verdict == "no_t_wave_inversion"


def test_a_biphasic_avr_does_not_count() -> None:
    assert screen(ECG, measured({"II": -0.2}, biphasic=("aVR",))).verdict == "no_t_wave_inversion"


def test_one_t_wave_that_ends_inverted_counts_beside_an_inverted_one() -> None:
    assert screen(ECG, measured({"V3": -0.1}, biphasic=("V2",))).verdict is None
    assert screen(ECG, measured({"V4": -0.1}, biphasic=("V2",))).verdict == "no_t_wave_inversion"


@pytest.mark.parametrize("lost", ["I", "II"])
def test_an_avr_upside_down_has_neighbours_that_can_be_lost(lost: str) -> None:
    assert screen(ECG, measured({"aVR": 0.2, lost: None})).verdict == "indeterminate"
    assert screen(ECG, measured({"aVR": -0.2, lost: None})).verdict == "no_t_wave_inversion"


def test_an_inversion_that_is_seen_counts_more_than_a_lead_that_is_not() -> None:
    assert screen(ECG, measured({"V1": None, "V2": -0.2, "V3": -0.2})).verdict is None


def test_a_t_wave_that_ends_inverted_counts() -> None:
    assert screen(ECG, measured({}, biphasic=("V2", "V3"))) == Screening(None, "t_wave_inversion")


@pytest.mark.parametrize("lost", [{"V2": None}, {"V3": None, "V4": None}, {"V2": None, "V1": -0.2}])
def test_an_unusable_lead_is_not_taken_for_an_upright_one(lost: dict[str, float | None]) -> None:
    expected = "no_t_wave_inversion" if lost == {"V2": None} else "indeterminate"
    assert screen(ECG, measured(lost)).verdict == expected


def test_an_unusable_lead_beside_an_inversion_says_why() -> None:
    ecg = flatten(invert_t_waves(real_ecg(), ["V3"], depth_mv=0.3), "V4")
    assert screened(ecg) == Screening("indeterminate", "unusable_lead_beside_inversion")


def test_an_unusable_lead_elsewhere_does_not_keep_the_model_from_being_asked() -> None:
    assert screened(flatten(invert_t_waves(real_ecg(), ["V2", "V3"], depth_mv=0.3), "V6")).verdict is None


def test_a_lead_that_was_never_recorded_is_an_unusable_one() -> None:
    rows = [row for row, lead in enumerate(LEADS) if lead != "V2"]
    ecg = ecg_of(real_ecg().samples_uv[rows], 1000, tuple(LEADS[row] for row in rows))
    assert screened(ecg) == Screening("indeterminate", "unusable_lead_beside_inversion")


def test_an_unusable_ecg_is_indeterminate_and_says_why() -> None:
    lost = flatten(flatten(flatten(real_ecg(), "V1"), "V3"), "V5")
    assert screened(lost) == Screening("indeterminate", "too_few_good_leads")
    noise_uv = 100 * np.random.default_rng(0).standard_normal((12, 5000))
    assert screened(ecg_of(noise_uv, 500)) == Screening("indeterminate", "too_few_beats")
    flag = QualityFlag(lead=None, problem="lead_reversal_suspected", value=-20.0)
    reversed_leads = Measured(measured({}).measurements, Quality(usable=False, flags=(flag,)))
    assert screen(ECG, reversed_leads) == Screening("indeterminate", "lead_reversal_suspected")


@pytest.mark.parametrize(
    ("problems", "reason"),
    [
        (("too_few_beats", "lead_reversal_suspected"), "too_few_beats"),
        (("lead_reversal_suspected",), "lead_reversal_suspected"),
        ((), "too_few_good_leads"),
    ],
)
def test_an_unusable_recording_gives_the_first_of_its_own_reasons(problems: tuple[str, ...], reason: str) -> None:
    of_a_lead = QualityFlag(lead="V2", problem="too_few_beats", value=2.0)
    flags = (of_a_lead, *(QualityFlag(lead=None, problem=problem) for problem in problems))
    unusable = Measured(measured({"V2": -0.3, "V3": -0.3}).measurements, Quality(usable=False, flags=flags))
    assert screen(ECG, unusable) == Screening("indeterminate", reason)


def test_every_reason_is_published() -> None:
    assert all(code.replace("_", "").isalpha() and meaning.endswith(".") for code, meaning in REASONS.items())
    assert screened(real_ecg()).reason in REASONS
