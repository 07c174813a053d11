"""Fixtures for more than one folder of tests."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from cli.failure import CHATTY
from tests.kafka.broker import Broker, BrokerUnavailable, running_broker, skip_or_fail

# What an example does is asserted; how long it takes depends on what else the machine does.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _logging_stays_as_it_was() -> Iterator[None]:
    """The command line configures logging for its process; a test that runs it in this one must not do so for all."""
    root, loggers = logging.getLogger(), [logging.getLogger(name) for name in CHATTY]
    before = root.handlers[:], root.level, [logger.level for logger in loggers]
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for logger, level in zip(loggers, before[2], strict=True):
        logger.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model directory in the smallest useful size, built once. A test that changes it makes a copy."""
    from training.models.build import build_untrained

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
