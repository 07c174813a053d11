"""Validators and a real API server take the manifests, and would notice if there were something wrong with them.

The first run builds kube-apiserver, which takes 5 minutes on two idle cores; later ones take seconds.
"""

from pathlib import Path

import pytest

from deploy.checks import admission, validate
from deploy.checks.apiserver import Cluster
from deploy.checks.render import Document, only
from deploy.checks.toolbox import ROOT, CheckFailed
from tests.manifests.conftest import skipping

pytestmark = [pytest.mark.manifests, pytest.mark.timeout(1800)]


@pytest.fixture
def written(rendered: str, tmp_path: Path) -> Path:
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered, encoding="utf-8")
    return path


def test_the_schema_is_kept(written: Path) -> None:
    with skipping():
        validate.schema(written)


def test_a_field_that_kubernetes_does_not_know_is_found(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    written.write_text(text.replace("terminationGracePeriodSeconds", "terminationGraceSeconds"), encoding="utf-8")
    with skipping(), pytest.raises(CheckFailed, match="terminationGraceSeconds"):
        validate.schema(written)


def test_there_are_no_bad_habits(written: Path) -> None:
    with skipping():
        validate.habits(written)


@pytest.mark.parametrize("overlay", ["prod"], scope="session", indirect=True)
def test_a_writable_root_is_a_bad_habit(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    written.write_text(text.replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"), encoding="utf-8")
    with skipping(), pytest.raises(CheckFailed, match="CKV_K8S_22"):
        validate.habits(written)


def test_the_dockerfile_is_clean() -> None:
    with skipping():
        validate.dockerfile(ROOT / "deploy" / "Dockerfile")


def test_a_sloppy_dockerfile_is_found(tmp_path: Path) -> None:
    sloppy = tmp_path / "Dockerfile"
    sloppy.write_text("FROM debian\nRUN apt-get install curl\n", encoding="utf-8")
    with skipping(), pytest.raises(CheckFailed, match="DL3006"):
        validate.dockerfile(sloppy)


def test_the_api_server_takes_every_object_and_refuses_bad_pods(cluster: Cluster, found: list[Document]) -> None:
    assert "8 bad pods refused" in admission.check(cluster, found)


def test_a_misspelt_field_is_refused(cluster: Cluster, found: list[Document]) -> None:
    budget = only(found, "PodDisruptionBudget")
    budget["spec"]["maxUnavailabel"] = budget["spec"].pop("maxUnavailable")
    with pytest.raises(CheckFailed, match="maxUnavailabel"):
        admission.check(cluster, found)


def test_a_namespace_that_enforces_nothing_is_noticed(cluster: Cluster, found: list[Document]) -> None:
    for document in found:
        if document["kind"] == "Namespace":
            document["metadata"]["labels"] = {}
            document["metadata"]["name"] = "lax"
        elif "namespace" in document["metadata"]:
            document["metadata"]["namespace"] = "lax"
    with pytest.raises(CheckFailed, match="was not refused"):
        admission.check(cluster, found)
