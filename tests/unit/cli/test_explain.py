"""`explain` where the engine cannot answer: what cannot be brought about from outside the process."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from numpy.typing import NDArray

from cli.commands import files
from cli.settings import Settings
from simulator.edits import invert_t_waves, real_ecg
from simulator.writers.dicom import write_dicom
from worker.engine.engine import Engine


class SpoiltOnce:
    """An encoder whose second picture has no finite number."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.name, self.encoded = encoder, encoder.name, 0

    def encode(self, image: NDArray[np.uint8]) -> torch.Tensor:
        self.encoded += 1
        embeddings: torch.Tensor = self.encoder.encode(image)
        return embeddings * float("nan") if self.encoded == 2 else embeddings


@pytest.mark.slow  # it loads a model
def test_a_file_that_the_engine_cannot_answer_is_a_rejection_and_the_others_are_answered(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inverted = tmp_path / "inverted.dcm"
    inverted.write_bytes(write_dicom(invert_t_waves(real_ecg(), ("V2", "V3", "V4"), depth_mv=0.4)))

    def load(_settings: Settings, model: Path) -> Engine:
        engine = Engine.load(model, threads=1)
        monkeypatch.setattr(engine, "_vision", SpoiltOnce(engine._vision))
        return engine

    monkeypatch.setattr(files, "load_engine", load)
    with pytest.raises(typer.Exit) as ended:
        files.explain([inverted] * 3, model=tiny_model)
    first, second, third = map(json.loads, capsys.readouterr().out.splitlines())
    assert ended.value.exit_code == 1
    assert (second["schema"], second["reason"], second["stage"]) == ("ecg-rejection/1", "engine.not_finite", "ask")
    assert first["assessment"]["probability"] is not None
    assert first["assessment"] == third["assessment"]
