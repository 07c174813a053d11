"""Controls take away one thing and leave everything else."""

import numpy as np

from simulator.hospital import A
from training.data.synthetic import Synthetic
from training.evaluation.ablations import derangement, with_blank_pictures, with_shuffled_pictures, without_texts
from training.evaluation.text_baseline import TextBaseline
from worker.picture.layout import make_layout

EXAMPLES = Synthetic(A, 5, 6, make_layout("3x4", 448, 196))


def test_blank_pictures_leave_text_and_truth() -> None:
    for before, after in zip(EXAMPLES, with_blank_pictures(EXAMPLES), strict=True):
        assert (after.image == 255).all()
        assert (after.facts, after.ischemic) == (before.facts, before.ischemic)


def test_shuffled_pictures_are_all_there_and_none_in_its_place() -> None:
    shuffled = list(with_shuffled_pictures(EXAMPLES))
    whole = list(EXAMPLES)
    for at, example in enumerate(shuffled):
        assert (example.facts, example.ischemic) == (whole[at].facts, whole[at].ischemic)
        assert not np.array_equal(example.image, whole[at].image)
        shown = next(item for item in whole if np.array_equal(item.image, example.image))
        assert example.inverted == shown.inverted, "leads are to be judged by the ECG that is shown"
        assert example.measured.measurements == shown.measured.measurements
    assert {item.image.tobytes() for item in shuffled} == {item.image.tobytes() for item in whole}


def test_without_texts_age_and_sex_stay() -> None:
    for before, after in zip(EXAMPLES, without_texts(EXAMPLES), strict=True):
        assert after.facts.clinical_texts == ()
        assert (after.facts.age_years, after.facts.sex) == (before.facts.age_years, before.facts.sex)
        assert np.array_equal(after.image, before.image)


def test_nothing_stays_where_it_was() -> None:
    for count in (2, 3, 50):
        order = derangement(count)
        assert sorted(order) == list(range(count))
        assert (order != np.arange(count)).all()


def test_the_text_alone_gives_more_than_guessing_and_less_than_all() -> None:
    baseline = TextBaseline.fit(list(Synthetic(A, 8, 600, make_layout("3x4", 280, 112))))
    held_out = list(Synthetic(A, 9, 300, make_layout("3x4", 280, 112)))
    right = np.mean([(baseline.probability(item.facts) >= 0.5) == item.ischemic for item in held_out])
    guessed = max(np.mean([item.ischemic for item in held_out]), np.mean([not item.ischemic for item in held_out]))
    assert guessed + 0.05 < right < 0.95
