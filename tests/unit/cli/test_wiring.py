"""What the stages are wired with, where no other test would see it missing."""

import json
from collections.abc import Hashable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from cli.settings import Settings
from cli.wiring.log import open_configured_log, say_if_new
from cli.wiring.model import identify_model
from cli.wiring.stages import running_stages
from worker.engine.echo import EchoEngine
from worker.engine.question import Answer, Question
from worker.model.errors import EngineError
from worker.operations import logs


class Failing(EchoEngine):
    """An engine whose every step fails."""

    def step(self) -> list[tuple[Hashable, Answer]]:
        raise ValueError("DOE^JANE^CANARY")


def counted(metric: str) -> float:
    return REGISTRY.get_sample_value(metric, {"reason": "engine.failed"}) or 0.0


def test_failures_of_the_engine_are_counted_logged_by_name_and_limited_by_the_setting(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logs.configure("WARNING")
    metrics = ("ecg_engine_retries_total", "ecg_engine_failures_total")
    before = [counted(metric) for metric in metrics]
    engine = Failing(slots=1, batch_s=0, question_s=0)
    settings = Settings.load(engine="echo", engine_failures=1)
    with running_stages(engine, identify_model(engine), settings) as (_, scheduler):
        scheduler.put(1, Question(np.zeros((8, 8, 3), np.uint8)))
        assert scheduler.take(timeout_s=10) is not None
        with pytest.raises(EngineError, match="ECG_ENGINE_FAILURES"):
            scheduler.take(timeout_s=10)
    assert [counted(metric) - earlier for metric, earlier in zip(metrics, before, strict=True)] == [1, 1]
    said = capfd.readouterr().err
    lines = [json.loads(line) for line in said.splitlines()]
    again, failed = [line for line in lines if line.get("reason") == "engine.failed"]
    assert (again["error_type"], failed["error_type"]) == ("ValueError", "ValueError")
    assert again["event"] != failed["event"]
    assert "CANARY" not in said


def test_a_log_that_is_made_where_there_was_none_is_told_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A worker whose disk is missing would else wait on an empty log, and everything would look well."""
    logs.configure("WARNING")
    settings = Settings.load(log=f"sqlite://{tmp_path}/log.db")

    def said() -> list[str]:
        return [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]

    say_if_new(settings)
    assert said() == ["there was no log, a new one is made"]
    with open_configured_log(settings):
        say_if_new(settings)
        assert said() == []
    (tmp_path / "log.db").write_bytes(b"")
    say_if_new(settings)
    assert said() == ["there was no log, a new one is made"]
    say_if_new(Settings.load(log="kafka://localhost:9092"))
    assert said() == []
