"""The overlays as they would be sent, and an API server to send them to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.checks.apiserver import Cluster, running_cluster
from deploy.checks.render import OVERLAYS, Document, documents, render
from deploy.checks.toolbox import Unavailable


@contextmanager
def skipping() -> Iterator[None]:
    """Without a tool a test is skipped; in CI it fails."""
    try:
        yield
    except Unavailable as lack:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(lack))


@pytest.fixture(scope="session", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    """The name of an overlay."""
    return str(request.param)


@pytest.fixture(scope="session")
def rendered(overlay: str) -> str:
    """Its YAML."""
    with skipping():
        return render(overlay)


@pytest.fixture
def found(rendered: str) -> list[Document]:
    """Its objects, each test's own."""
    return documents(rendered)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """An API server, shared by all tests."""
    with skipping(), running_cluster() as running:
        yield running
