"""A bundle to learn with: the demo model's picture, small dimensions, random weights."""

from pathlib import Path

import pytest

from training.models.build import Dimensions, build_untrained


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose answers take few tokens. A test that changes it makes a copy."""
    dimensions = Dimensions(vision_width=32, vision_layers=1, text_width=48, text_layers=1, text_hidden=64)
    return build_untrained(
        tmp_path_factory.mktemp("small") / "model",
        width_px=280,
        height_px=112,
        layout="3x4",
        dimensions=dimensions,
        context_tokens=200,
        max_new_tokens=48,
    )
