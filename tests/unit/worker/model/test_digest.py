"""A worker that is told which bundle to serve serves no other."""

from pathlib import Path

import pytest

from cli.settings import Settings, SettingsError
from cli.wiring.model import load_engine
from worker.model.errors import BundleError
from worker.model.manifest import read_manifest


def test_the_named_bundle_is_loaded(tiny_model: Path) -> None:
    digest = read_manifest(tiny_model).digest
    engine = load_engine(Settings.load(model_digest=digest, threads=2), tiny_model)
    assert engine.bundle.digest == digest


def test_another_bundle_is_refused_before_any_of_its_files_is_read(tiny_model: Path, tmp_path: Path) -> None:
    manifest = (tiny_model / "ecg-model.json").read_text(encoding="utf-8")
    (tmp_path / "ecg-model.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(BundleError, match="not the bundle that ECG_MODEL_DIGEST names"):
        load_engine(Settings.load(model_digest="0" * 64), tmp_path)


def test_a_changed_threshold_is_another_bundle(tiny_model: Path, tmp_path: Path) -> None:
    named = read_manifest(tiny_model)
    changed = named.model_copy(update={"threshold": named.threshold / 2})
    (tmp_path / "ecg-model.json").write_text(changed.model_dump_json(by_alias=True), encoding="utf-8")
    with pytest.raises(BundleError, match="not the bundle that ECG_MODEL_DIGEST names"):
        load_engine(Settings.load(model_digest=named.digest), tmp_path)


@pytest.mark.parametrize("digest", ["", "latest", "sha256:" + "0" * 64, "A" * 64, "0" * 63])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(SettingsError, match="model_digest"):
        Settings.load(model_digest=digest)
