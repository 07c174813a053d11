"""From samples to the median beat: filters against sines, beats against records whose beats are known."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.analytic import WAVES, analytic_ecg, beat, bump, onsets_s
from worker.waveform.beats import Beats, find_beats
from worker.waveform.spectrum import RATE_HZ, spectrum, to_samples

VOTING = np.ones(8, bool)
HEIGHTS = np.linspace(0.5, 1.5, 8)[:, None]


def sine(frequency_hz: float, hz: float = 500, seconds: float = 10.0) -> NDArray[np.float32]:
    """One lead of 1 mV that mirroring at both ends continues without a corner."""
    t_s = np.arange(round(seconds * hz)) / hz
    lead_uv = np.asarray(1000 * np.cos(2 * np.pi * frequency_hz * t_s), np.float32)
    return lead_uv.reshape(1, -1)


def middle(rows: NDArray[Any]) -> NDArray[Any]:
    """Away from the ends of the record."""
    return rows[:, 2 * RATE_HZ : -2 * RATE_HZ]


def spikes(at_s: NDArray[np.float64] | list[float], heights: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """Eight leads of 10 s with one narrow QRS at each time and nothing else."""
    t_s = np.arange(5000) / 500
    scale = np.ones(len(at_s)) if heights is None else heights
    one = np.sum([scale[n] * bump(t_s, at - 0.02, 0.04) for n, at in enumerate(at_s)], axis=0)
    rng = np.random.default_rng(1)
    return np.asarray(1000 * (HEIGHTS * one + 0.003 * rng.standard_normal((8, 5000))), np.float32)


def found(
    rows_uv: NDArray[np.float32], voting: NDArray[np.bool_] = VOTING, gaps: NDArray[np.bool_] | None = None
) -> Beats:
    beats = find_beats(spectrum(rows_uv, 500), voting, gaps)
    assert beats is not None
    return beats


@pytest.mark.parametrize(("seconds", "samples"), [(0.0, 0), (0.002, 1), (0.35, 175), (1.0, 500), (0.0251, 13)])
def test_a_time_is_a_whole_number_of_samples(seconds: float, samples: int) -> None:
    assert to_samples(seconds) == samples


@pytest.mark.parametrize("hz", [250.0, 500.0, 1000.0, 2000.0])
def test_what_lies_between_the_cut_offs_arrives_in_millivolts_at_500_hz_and_in_phase(hz: float) -> None:
    band = spectrum(sine(10, hz), hz).band(0.5, 100.0)
    assert band.shape == (1, 5000)
    np.testing.assert_allclose(middle(band), middle(sine(10) / 1000), atol=0.01)


@pytest.mark.parametrize(("frequency_hz", "gain"), [(4.0, 0.06), (8.0, 0.71), (14.0, 1.0), (25.0, 0.71), (50.0, 0.06)])
def test_a_band_keeps_seven_tenths_at_its_edges_and_little_beyond(frequency_hz: float, gain: float) -> None:
    band = spectrum(sine(frequency_hz), 500).band(8.0, 25.0)
    assert np.abs(middle(band)).max() == pytest.approx(gain, abs=0.03)


def test_a_band_is_made_of_the_leads_asked_for() -> None:
    rows = np.concatenate([sine(10), sine(20)])
    band = spectrum(rows, 500).band(0.5, 100.0, np.array([1]))
    np.testing.assert_allclose(middle(band), middle(sine(20) / 1000), atol=0.01)


def test_an_offset_is_no_signal() -> None:
    band = spectrum(np.full((1, 5000), 3000, np.float32), 500).band(0.5, 100.0)
    np.testing.assert_allclose(band, 0, atol=1e-3)


@pytest.mark.parametrize("hz", [250.0, 500.0, 1000.0])
def test_wander_is_the_peak_to_peak_of_what_is_slower_than_half_a_hertz(hz: float) -> None:
    slow, fast = sine(0.25, hz, 12.0), sine(2.0, hz, 12.0)
    wander_mv = spectrum(np.concatenate([slow, fast, slow + fast]), hz).wander_mv()
    np.testing.assert_allclose(wander_mv, [2.0, 0.0, 2.0], atol=0.03)


def test_every_beat_is_found_and_those_with_their_whole_window_are_kept() -> None:
    beats = found(spikes(onsets_s(60)))
    assert beats.detected == 10
    assert beats.kept == 9  # the first one's window would begin before the record
    assert beats.rr_s == pytest.approx(1.0, abs=0.004)
    assert beats.windows_mv.shape == (8, 9, 525)
    assert beats.median_mv.shape == (8, 525)
    assert beats.anchor == 175


def test_the_median_beat_is_the_beat() -> None:
    at_s = onsets_s(60)
    beats = found(spikes(at_s))
    peak = beats.median_mv.argmax(axis=1)
    assert np.abs(peak - beats.anchor).max() <= 3
    np.testing.assert_allclose(beats.median_mv.max(axis=1), HEIGHTS[:, 0], rtol=0.05)


@pytest.mark.parametrize(("first_s", "kept"), [(0.30, 5), (0.40, 6)])
def test_a_beat_needs_350_ms_before_it(first_s: float, kept: int) -> None:
    assert found(spikes([first_s, 2, 3, 4, 5, 6])).kept == kept


@pytest.mark.parametrize(("last_s", "kept"), [(9.27, 6), (9.35, 5)])
def test_a_beat_needs_700_ms_behind_it(last_s: float, kept: int) -> None:
    assert found(spikes([3, 4, 5, 6, 7, last_s])).kept == kept


@pytest.mark.parametrize("at_s", [[], [5.0], [0.2, 9.9]])
def test_less_than_two_whole_beats_are_none(at_s: list[float]) -> None:
    assert find_beats(spectrum(spikes(at_s), 500), VOTING, None) is None


def test_two_whole_beats_are_some() -> None:
    assert found(spikes([4.0, 5.0])).kept == 2


def test_two_beats_that_are_not_alike_are_none() -> None:
    t_s = np.arange(5000) / 500
    other = np.where(np.arange(8) % 2, -1, 1)[:, None] * (bump(t_s, 4.94, 0.12) - bump(t_s, 5.06, 0.16))
    rows = spikes([4.0]) + (1000 * other).astype(np.float32)
    assert find_beats(spectrum(rows, 500), VOTING, None) is None


def test_noise_alone_has_no_beats() -> None:
    noise_uv = (100 * np.random.default_rng(4).standard_normal((8, 5000))).astype(np.float32)
    assert find_beats(spectrum(noise_uv, 500), VOTING, None) is None


def test_without_a_lead_that_votes_there_are_no_beats() -> None:
    assert find_beats(spectrum(spikes(onsets_s(60)), 500), np.zeros(8, bool), None) is None


def test_leads_that_do_not_vote_have_no_say_and_are_measured() -> None:
    rows = spikes(onsets_s(60))
    rows[5:] = spikes(onsets_s(90))[5:]
    beats = found(rows, np.arange(8) < 5)
    assert beats.rr_s == pytest.approx(1.0, abs=0.004)
    assert np.isfinite(beats.median_mv).all()


def test_a_voting_lead_without_quiet_between_its_peaks_loses_its_vote() -> None:
    rows, clean = spikes(onsets_s(60)), found(spikes(onsets_s(60)))
    rows[0] = 3000 * np.random.default_rng(6).standard_normal(5000)
    beats = found(rows)
    assert (beats.detected, beats.kept) == (clean.detected, clean.kept)
    np.testing.assert_allclose(beats.median_mv[1:], clean.median_mv[1:], atol=0.02)


@pytest.mark.parametrize(("apart_s", "both"), [(0.23, False), (0.28, True)])
def test_after_a_beat_nothing_is_a_beat_for_250_ms(apart_s: float, both: bool) -> None:
    pairs = [at for start in (1.0, 3.0, 5.0, 7.0) for at in (start, start + apart_s)]
    assert found(spikes(pairs)).detected == (8 if both else 4)


@pytest.mark.parametrize(("share", "counts"), [(0.25, False), (0.5, True)])
def test_a_small_beat_is_one_from_a_third_of_the_tall_ones_on(share: float, counts: bool) -> None:
    heights = np.array([1.0, 1.0, 1.0, share, 1.0, 1.0, 1.0, 1.0])
    beats = found(spikes(list(np.arange(1.0, 9.0)), heights))
    assert beats.detected == (8 if counts else 7)


def ectopic(every: int, early_s: float = 0.0) -> NDArray[np.float32]:
    """Beats at 60 a minute, of which one in `every` is wide, upside down and early."""
    t_s = np.arange(5000) / 500
    rows = np.zeros((8, 5000))
    for number, onset in enumerate(np.arange(0.5, 9.0)):
        for row, waves in enumerate(WAVES.values()):
            if number % every == every - 1:
                at_s = onset - early_s
                rows[row] += 1.8 * bump(t_s, at_s - 0.05, 0.08) - 1.8 * bump(t_s, at_s + 0.01, 0.1)
            else:
                rows[row] += beat(t_s, onset, 60, waves)
    return (1000 * rows).astype(np.float32)


def usual() -> NDArray[np.float32]:
    """The median beat of a record without ectopic beats."""
    rows = np.zeros((8, 5000))
    for onset in np.arange(0.5, 9.0):
        for row, waves in enumerate(WAVES.values()):
            rows[row] += beat(np.arange(5000) / 500, onset, 60, waves)
    return found((1000 * rows).astype(np.float32)).median_mv


def test_beats_of_another_shape_are_counted_and_not_kept() -> None:
    beats = found(ectopic(4))
    assert beats.detected == 9
    assert beats.kept == 7
    np.testing.assert_allclose(beats.median_mv[:, 150:330], usual()[:, 150:330], atol=0.08)


def test_of_two_equally_frequent_shapes_the_less_premature_is_kept() -> None:
    rows = ectopic(2, early_s=0.25)[:, 500:4500]
    beats = found(rows)
    assert (beats.detected, beats.kept) == (8, 3)  # of each shape one has no whole window
    assert beats.median_mv[2, 150:200].max() < 0.6  # R of V1; the early beats are taller there


def test_beats_that_come_a_little_early_or_late_are_aligned() -> None:
    regular = np.arange(0.5, 9.0)
    jitter = np.array([0, 3, -5, 8, -2, 6, -7, 1, 4]) / 500
    beats = found(spikes(list(regular + jitter)))
    np.testing.assert_allclose(beats.median_mv.max(axis=1), HEIGHTS[:, 0], rtol=0.05)
    tops = beats.windows_mv[7].argmax(axis=1)
    assert np.ptp(tops) <= 1


def test_beats_whose_energy_has_no_sharp_summit_are_aligned_too() -> None:
    at_s = np.arange(0.5, 9.0)
    notched = spikes(list(at_s)) + np.float32(0.9) * spikes(list(at_s + 0.09))
    noise_uv = 40 * np.random.default_rng(7).standard_normal((8, 5000))
    beats = found(notched + noise_uv.astype(np.float32))
    tops = beats.windows_mv[7].argmax(axis=1)
    assert np.ptp(tops) == 0


def test_the_window_stands_on_its_own_level_before_the_qrs() -> None:
    beats = found(spikes(onsets_s(60)) + 500 * sine(0.7)[0] / 1000)
    level = beats.windows_mv[:, :, beats.anchor - 50 : beats.anchor - 30].mean(axis=2)
    np.testing.assert_allclose(level, 0, atol=1e-5)


def test_a_beat_with_padding_in_it_is_torn_in_that_lead_alone() -> None:
    gaps = np.zeros((8, 5000), bool)
    gaps[3, 2600] = True  # in the window of the beat at 5.3 s
    beats = found(spikes(onsets_s(60)), gaps=gaps)
    torn = np.isnan(beats.windows_mv).all(axis=2)
    assert np.argwhere(torn).tolist() == [[3, 4]]
    assert np.isnan(beats.windows_mv).any(axis=2).sum() == 1
    assert np.isfinite(beats.median_mv).all()


def test_a_lead_without_a_whole_beat_has_no_median() -> None:
    gaps = np.zeros((8, 5000), bool)
    gaps[3] = True
    beats = found(spikes(onsets_s(60)), gaps=gaps)
    assert np.isnan(beats.median_mv[3]).all()
    assert np.isfinite(np.delete(beats.median_mv, 3, axis=0)).all()


@pytest.mark.parametrize(("count", "expected"), [(4, 1.05), (5, 1.1)])
def test_the_median_of_an_even_number_is_the_mean_of_its_middle(count: int, expected: float) -> None:
    heights = np.array([1.0, 1.0, 1.1, 1.2, 1.3][:count]) if count == 5 else np.array([1.0, 1.0, 1.1, 1.2])
    beats = found(spikes(list(np.arange(2.0, 2.0 + count)), heights))
    assert beats.kept == count
    assert beats.median_mv[7].max() == pytest.approx(expected * 1.5, rel=0.02)


def test_every_rate_gives_the_same_beats() -> None:
    medians = []
    for hz in (250.0, 500.0, 1000.0):
        ecg = analytic_ecg(60, hz, noise_mv=0.0)
        rows = np.stack([ecg.lead_uv(lead) for lead in WAVES])
        beats = find_beats(spectrum(rows, hz), VOTING, None)
        assert beats is not None
        assert (beats.detected, beats.anchor) == (10, 175)
        medians.append(beats.median_mv)
    np.testing.assert_allclose(medians[0], medians[1], atol=0.05)
    np.testing.assert_allclose(medians[2], medians[1], atol=0.05)
