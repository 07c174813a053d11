"""What the eye is taught: each lead from the tokens over its own cell."""

import math

import torch

from simulator.hospital import A
from training.data.reasoning import READ_LEADS
from training.data.synthetic import Synthetic
from training.methods.lead_reading import LeadReading, cell_tokens, reading_loss, reading_targets, states_right
from worker.model.bundle import Grid
from worker.picture.layout import make_layout

LAYOUT = make_layout("3x4", 448, 196)
GRID = Grid(14, 32, 2)


def test_a_cells_tokens_are_those_under_it() -> None:
    shares = cell_tokens(LAYOUT, GRID).view(len(READ_LEADS), 7, 16)
    # V4 stands in the last column of the first row: 35 mm of two token rows, 62.5 mm of 3.6 token columns.
    v4 = shares[READ_LEADS.index("V4")]
    assert v4[:2, 14].min() > 0.8
    assert v4[3:].sum() == 0
    assert v4[:, :11].sum() == 0
    area_mm = shares.sum((1, 2)) * (28 / 1.6) ** 2
    assert torch.allclose(area_mm, torch.tensor(35 * 62.5), atol=1.0)


def test_a_lead_is_read_from_its_own_cell_alone() -> None:
    torch.manual_seed(0)
    reading = LeadReading(16, LAYOUT, GRID)
    tokens = torch.randn(1, 112, 16)
    outside = cell_tokens(LAYOUT, GRID)[READ_LEADS.index("V4")] == 0
    changed = tokens.clone()
    changed[0, outside] += 1.0
    before, after = (reading(item)["state"][0, READ_LEADS.index("V4")] for item in (tokens, changed))
    assert torch.equal(before, after)


def test_a_perfect_reading_has_almost_no_loss_and_a_wrong_one_has_much() -> None:
    examples = Synthetic(A, 1, 8, LAYOUT)[:8]
    targets = reading_targets(examples)
    perfect = {
        "state": torch.nn.functional.one_hot(targets["state"], 6).float() * 50,
        "amplitude": targets["amplitude"].nan_to_num(),
        "symmetry": targets["symmetry"].nan_to_num(),
        "interval": targets["interval"].nan_to_num(),
        "entity": torch.nn.functional.one_hot(targets["entity"], 26).float() * 50,
    }
    assert states_right(perfect, targets) == 1.0
    assert float(reading_loss(perfect, targets)) < 1e-6
    wrong = {**perfect, "amplitude": perfect["amplitude"] + 1}
    assert math.isclose(float(reading_loss(wrong, targets)), 0.95, abs_tol=1e-3)  # smooth L1 with beta 0.1
