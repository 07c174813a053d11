"""From settings to a loaded model, and what findings say of it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cli import output
from cli.settings import Settings, SettingsError
from worker.model.errors import BundleError
from worker.operations import logs

if TYPE_CHECKING:
    from worker.engine.echo import EchoEngine
    from worker.engine.engine import Engine
    from worker.provenance import ModelIdentity


# It lies beside the packages, in the repository as in an installation.
DEMO_MODEL: Final = Path(__file__).parents[2] / "deploy" / "models" / "ecg-r1-demo"

OnLoading = Callable[[Path, float | None], None]
"""Hears of a model directory before it is loaded, with None, and after, with the seconds that it took."""


def notify_loading(model: Path, elapsed_s: float | None) -> None:
    """Say it to the person at the terminal."""
    output.notify(
        f"loading the model {model} ..." if elapsed_s is None else f"the model is loaded, after {elapsed_s:.1f} s"
    )


def log_loading(model: Path, elapsed_s: float | None) -> None:
    """Say it in the log of a service."""
    if elapsed_s is None:
        logs.get_logger().info("loading the model", model=str(model))
    else:
        logs.get_logger().info("the model is in memory", elapsed_s=round(elapsed_s, 1))


def load_engine(settings: Settings, model: Path, on_loading: OnLoading = notify_loading) -> "Engine":
    """The model, loaded and self-tested. Raises BundleError, also if it is not the one that is set, or EngineError."""
    from worker.model.manifest import read_manifest

    # Before anything is loaded, the libraries included; loading then checks every file against the manifest.
    digest = read_manifest(model).digest
    if settings.model_digest not in (None, digest):
        raise BundleError(
            f"{model} is not the bundle that ECG_MODEL_DIGEST names. Mount that one, or set its digest, {digest}."
        )
    on_loading(model, None)
    began = time.monotonic()  # before the imports, which are most of the wait for a small model
    from worker.engine.engine import Engine

    chosen = settings.engine
    engine = Engine.load(model, provider=chosen.provider, dtype=chosen.dtype, threads=chosen.threads)
    on_loading(model, time.monotonic() - began)
    return engine


def load_configured_engine(settings: Settings, on_loading: OnLoading = notify_loading) -> "Engine | EchoEngine":
    """The model, or the engine without one if that is what the settings say. Raises SettingsError if they name none."""
    if settings.engine.kind == "echo":
        from worker.engine.echo import EchoEngine

        chosen = settings.engine
        return EchoEngine(chosen.echo_slots, chosen.echo_batch_s, chosen.echo_question_s)
    if settings.model is None:
        raise SettingsError("no model: give --model DIR or set ECG_MODEL")
    return load_engine(settings, settings.model, on_loading)


def identify_model(engine: "Engine | EchoEngine") -> "ModelIdentity":
    """What findings say of the model and the engine that made them."""
    from schemas.finding import EngineRef, ModelRef
    from worker.provenance import VERSION, ModelIdentity, fingerprint

    bundle, description = engine.bundle, engine.description
    layout = bundle.manifest.layout.layout()
    return ModelIdentity(
        model=ModelRef(name=bundle.manifest.name, digest=bundle.digest, training=bundle.manifest.training),
        threshold=bundle.manifest.threshold,
        prompt_digest=bundle.prompt_digest,
        engine=EngineRef(provider=description.provider, dtype=description.dtype, shapes=description.shapes),
        layout=layout.name,
        fingerprint=fingerprint(
            {
                "bundle": bundle.digest,
                "engine": description,
                "layout": layout.digest,
                "worker": VERSION,
            }
        ),
    )


def model_or_demo(settings: Settings) -> Path:
    """The model directory of the settings; without one, the demo model, announced.

    For looking at files only: `run` insists on a model that somebody chose.
    """
    if settings.model is not None:
        return settings.model
    output.notify("No --model given: using the DEMO model, which knows simulated ECGs only; every finding says so.")
    return DEMO_MODEL
