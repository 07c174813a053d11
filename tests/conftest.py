"""Fixtures for more than one folder of tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.kafka.broker import Broker, BrokerUnavailable, running_broker


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model directory in the smallest useful size, built once. A test that changes it makes a copy."""
    from training.checkpoint import build_untrained

    return build_untrained(tmp_path_factory.mktemp("tiny-model") / "model")


def _skip_or_fail(reason: str) -> NoReturn:
    """On a developer's machine a missing broker skips tests; where CI is set it must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"Kafka tests must run here, but {reason}")
    pytest.skip(f"{reason}; or set ECG_TEST_KAFKA=host:port")


@pytest.fixture(scope="session")
def kafka_url() -> Iterator[str]:
    """A Kafka broker that all tests of the session share: use topics and groups of your own."""
    if address := os.environ.get("ECG_TEST_KAFKA"):
        yield f"kafka://{address}"
        return
    try:
        with running_broker() as broker:
            yield f"kafka://{broker.address}"
    except BrokerUnavailable as error:
        _skip_or_fail(str(error))


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A Kafka broker for one test, which may kill or freeze it."""
    try:
        with running_broker() as broker:
            yield broker
    except BrokerUnavailable as error:
        _skip_or_fail(str(error))
