"""Simulated examples: the worker's own pictures and questions, the same whenever they are asked for."""

import numpy as np
import pytest

from simulator.hospital import A, B
from training.data.example import Example
from training.data.restyle import blank, restyle
from training.data.synthetic import Augmentation, Synthetic
from worker.picture.layout import make_layout
from worker.verdict.claims import interpret
from worker.verdict.grounding import ground

LAYOUT = make_layout("3x4", 448, 196)


def same(one: Example, other: Example) -> bool:
    return (one.name, one.facts, one.target) == (other.name, other.facts, other.target) and np.array_equal(
        one.image, other.image
    )


def test_an_example_is_the_same_in_any_order_and_in_any_number() -> None:
    few, many = Synthetic(A, 7, 5, LAYOUT, Augmentation()), Synthetic(A, 7, 500, LAYOUT, Augmentation())
    assert same(few[4], many[4])
    assert same(few[4], few[2:][2])
    assert not same(few[4], Synthetic(A, 8, 5, LAYOUT, Augmentation())[4])
    with pytest.raises(IndexError):
        few[5]


def test_what_is_to_be_written_is_borne_out_by_the_waveform() -> None:
    for example in Synthetic(A, 1, 40, LAYOUT):
        assert example.reasoning is not None
        assert ground(example.reasoning, example.measured.measurements).grounded
        stated = {claim.lead for claim in interpret(example.reasoning) if claim.stated == "inverted"}
        assert stated == set(example.measured.measurements.t_wave_inversion) - set(example.measured.biphasic)
        assert example.target.endswith(f"<answer>{'yes' if example.ischemic else 'no'}</answer>")


def test_only_ecgs_that_the_worker_would_ask_about_become_examples() -> None:
    examples = Synthetic(B, 2, 40, LAYOUT)
    assert {example.ischemic for example in examples} == {True, False}
    for example in examples:
        assert example.measured.quality.usable
        assert example.measured.measurements.t_wave_inversion or example.measured.biphasic


def test_variety_withholds_texts_and_pictures() -> None:
    everything = Augmentation(restyle=1.0, without_text=1.0, blank=1.0)
    for example in Synthetic(A, 3, 5, LAYOUT, everything):
        assert example.facts.clinical_texts == ()
        assert (example.image == 255).all()
        assert example.reasoning is not None
        assert not interpret(example.reasoning), "claims of a picture that cannot be seen"


def test_hospital_b_prints_in_its_own_ink_and_place() -> None:
    image = Synthetic(B, 1, 1, LAYOUT)[0].image
    assert image.shape == (196, 448, 3)
    darkest = image.reshape(-1, 3)[image.sum(axis=2).argmin()]
    assert darkest[2] > darkest[0] + 30, "blue ink"


def test_a_reprint_moves_and_colours_and_leaves_white_paper_white() -> None:
    image = np.full((20, 30, 3), 255, np.uint8)
    image[5, 7] = 0
    moved = restyle(image, (10, 20, 30), 3, -2)
    assert moved[3, 10].tolist() == [10, 20, 30]
    assert (moved.sum(axis=2) < 765).sum() == 1
    assert np.array_equal(restyle(image, (0, 0, 0), 0, 0), image)
    assert (blank(image) == 255).all()
    assert image[5, 7].tolist() == [0, 0, 0], "the original was changed"


def test_the_digest_changes_with_what_is_learned_from() -> None:
    digest = Synthetic(A, 1, 40, LAYOUT).digest
    assert digest == Synthetic(A, 1, 40, LAYOUT).digest
    assert digest != Synthetic(A, 1, 41, LAYOUT).digest
    assert digest != Synthetic(A, 1, 40, make_layout("3x4", 448, 224)).digest
