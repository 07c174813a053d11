"""Every contract test runs on each implementation of the Log protocol."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.kafka.options import KafkaOptions, Timeouts
from adapters.log import Log
from adapters.open_log import open_log

OpenLog = Callable[[], Log]

# Rebalances wait for heartbeats, a third of the session apart.
QUICK = KafkaOptions(timeouts=Timeouts(session_s=1.5))


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def open_another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenLog]:
    """Opens a further connection to the same log, as another process would."""
    with ExitStack() as opened:

        def another() -> Log:
            if request.param == "sqlite":
                log = open_log(f"sqlite://{tmp_path}/log.db")
            else:
                log = open_log(request.getfixturevalue("kafka_url"), QUICK)
            return opened.enter_context(closing(log))

        yield another


@pytest.fixture
def log(open_another: OpenLog) -> Log:
    return open_another()


@pytest.fixture
def inbound(log: Log) -> str:
    """A topic with four partitions that no other test uses."""
    topic = f"inbound-{uuid4().hex[:8]}"
    log.create_topics({topic: 4})
    return topic


@pytest.fixture
def findings(log: Log) -> str:
    """A topic with two partitions that no other test uses."""
    topic = f"findings-{uuid4().hex[:8]}"
    log.create_topics({topic: 2})
    return topic


@pytest.fixture
def group() -> str:
    return f"group-{uuid4().hex[:8]}"
