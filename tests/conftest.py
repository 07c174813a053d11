"""Fixtures for more than one folder of tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.broker import Broker, BrokerUnavailable, running_broker, skip_or_fail


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model directory in the smallest useful size, built once. A test that changes it makes a copy."""
    from training.checkpoint import build_untrained

    return build_untrained(tmp_path_factory.mktemp("tiny-model") / "model")


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
        skip_or_fail(str(error))


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A Kafka broker for one test, which may kill or freeze it."""
    try:
        with running_broker() as broker:
            yield broker
    except BrokerUnavailable as error:
        skip_or_fail(str(error))
