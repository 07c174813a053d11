"""The reading heads: kept whole, on the tower's own tokens, and with the share of T waves named rightly."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer

from tests.support.measured import measured
from training.data.example import Example
from training.methods import pretrain
from training.methods.lead_reading import LeadReading, reading_loss, reading_targets, states_right
from training.methods.pretrain import READING, load_reading, save_reading
from worker.model.bundle import Grid
from worker.model.facts import PromptFacts
from worker.picture.layout import make_layout

FORM = make_layout("3x4", 280, 112)
GRID = Grid(rows=8, columns=20, merge=2)
WIDTH = 48
BUNDLE: Any = SimpleNamespace(config=SimpleNamespace(text_config=SimpleNamespace(hidden_size=WIDTH)), grid=GRID)
EXAMPLES = [
    Example("x", np.zeros((112, 280, 3), np.uint8), PromptFacts(), True, measured({"V2": depth}))
    for depth in (-0.3, 0.3)
]


def heads(seed: int = 1) -> LeadReading:
    torch.manual_seed(seed)
    return LeadReading(WIDTH, FORM, GRID)


def test_what_is_kept_is_what_is_loaded(tmp_path: Path) -> None:
    kept = heads()
    save_reading(kept, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [READING]
    loaded = load_reading(tmp_path, BUNDLE, FORM).state_dict()
    assert all(torch.equal(weight, loaded[name]) for name, weight in kept.state_dict().items())
    assert not all(torch.equal(weight, loaded[name]) for name, weight in heads(seed=2).state_dict().items())


def test_each_picture_is_read_from_its_own_tokens() -> None:
    tokens = torch.randn(2 * GRID.rows * GRID.columns // 4, WIDTH, generator=torch.Generator().manual_seed(3))
    asked: list[Any] = []

    class Tower(torch.nn.Module):
        def forward(self, pixels: torch.Tensor, grid_thw: torch.Tensor) -> Any:
            asked.append((pixels, grid_thw))
            return SimpleNamespace(pooler_output=tokens)

    reading, targets = heads().eval(), reading_targets(EXAMPLES)
    eye = pretrain._Eye(Tower(), reading).eval()
    pixels, grid = torch.zeros(4, 3), torch.tensor([[1, GRID.rows, GRID.columns]] * 2)
    out = eye(pixels, grid, targets)
    assert asked == [(pixels, grid)]
    first, second = tokens.chunk(2)
    for at, alone in enumerate((first, second)):
        torch.testing.assert_close(out["state"][at], reading(alone[None])["state"][0])
    torch.testing.assert_close(out["loss"], reading_loss(out, targets))


@pytest.fixture
def trainer() -> Any:
    made = pretrain._ReadingTrainer.__new__(pretrain._ReadingTrainer)
    made.right = []
    return made


def test_the_loss_is_the_models_own_and_the_share_of_every_batch_is_noted(trainer: Any) -> None:
    targets = reading_targets(EXAMPLES)
    read = heads().eval()(torch.randn(2, GRID.rows * GRID.columns // 4, WIDTH)) | {"loss": torch.tensor(1.5)}
    inputs = {"targets": targets}
    assert trainer.compute_loss(lambda **_: read, inputs) == 1.5
    loss, out = trainer.compute_loss(lambda **_: read, inputs, return_outputs=True)
    assert (loss, out is read) == (1.5, True)
    assert trainer.right == [states_right(read, targets)] * 2


def test_the_mean_share_is_logged_once(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, float]] = []
    monkeypatch.setattr(Trainer, "log", lambda _self, logs, *_args, **_kwargs: logged.append(dict(logs)))
    trainer.right = [0.5, 0.25]
    trainer.log({"loss": 1.0})
    trainer.log({"loss": 2.0})
    assert logged == [{"loss": 1.0, "t_waves_right": 0.375}, {"loss": 2.0}]
