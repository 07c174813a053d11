"""The client library's lost request, with the library's own sender and no broker: the port is closed."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaConnectionError, KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import InitProducerIdHandler, TransactionManager
from kafka.protocol.metadata import CoordinatorType, FindCoordinatorResponse

from adapters.kafka.client import RequestTrackingClient, _lost

NOWHERE = {"bootstrap_servers": "127.0.0.1:1", "request_timeout_ms": 200}


@pytest.fixture(params=[KafkaNetClient, RequestTrackingClient])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = request.param(**NOWHERE)
    yield made
    made.close()


def coordinator(client: Any) -> Any:
    """The name under which the client knows a coordinator that is away."""
    answer = FindCoordinatorResponse(error_code=0, node_id=7, host="127.0.0.1", port=1, version=2)
    return client.cluster.add_coordinator(answer, CoordinatorType.TRANSACTION, "ecg-r1-worker-a")


def waiting_requests(client: Any) -> list[str]:
    """What is left to be sent after the sender tried the coordinator in vain with one transactional request."""
    manager = TransactionManager("ecg-r1-worker-a", metadata=client.cluster)
    sender = Sender(client, client.cluster, RecordAccumulator(), transaction_manager=manager, request_timeout_ms=200)
    manager.initialize_transactions()
    manager._transaction_coordinator = coordinator(client)
    assert sender._maybe_send_pending_request()
    return sorted(type(handler).__name__ for _, _, handler in manager._pending_requests)


def test_a_request_whose_coordinator_is_away_is_kept(client: Any) -> None:
    left = waiting_requests(client)
    assert "FindCoordinatorHandler" in left
    # Once this fails for the library's own client, its bug is fixed and `RequestTrackingClient.await_ready` can go.
    assert (InitProducerIdHandler.__name__ in left) == isinstance(client, RequestTrackingClient)


def test_our_client_says_no_where_the_library_raises(client: Any) -> None:
    if isinstance(client, RequestTrackingClient):
        assert client.await_ready(coordinator(client), timeout_ms=200) is False
    else:
        with pytest.raises(KafkaConnectionError):
            client.await_ready(coordinator(client), timeout_ms=200)


def test_a_request_that_fails_is_remembered() -> None:
    client = RequestTrackingClient(**NOWHERE)
    before = client.lost_contact
    client._note_failure(KafkaConnectionError())
    assert (before, client.lost_contact) == (False, True)
    client.close()


@pytest.mark.parametrize("kind", [KafkaNetClient, RequestTrackingClient])
def test_a_failure_of_the_system_is_one_of_the_library(kind: Any, tmp_path: Path) -> None:
    """Or the loop that refreshes what a client knows of the cluster ends for ever: it expects the library's errors."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        settings = {**NOWHERE, "bootstrap_servers": address, "security_protocol": "SSL"}
        client = kind(**settings, ssl_cafile=str(tmp_path / "being-replaced.crt"))
        with closing(client), pytest.raises((KafkaError, OSError)) as failed:
            client._manager.run(client.cluster.refresh_metadata, "bootstrap-0")
    # Once this fails for the library's own client, its bug is fixed and `client._lost` can go.
    assert isinstance(failed.value, KafkaError) == (kind is RequestTrackingClient)


@pytest.mark.parametrize("failure", [None, KafkaConnectionError("away"), KeyboardInterrupt()])
def test_what_the_library_expects_is_passed_on_as_it_is(failure: BaseException | None) -> None:
    heard: list[BaseException | None] = []
    _lost(heard.append, failure)
    assert heard == [failure]


@pytest.mark.parametrize("failure", [ConnectionResetError(104, "reset"), ValueError("odd")])
def test_what_it_does_not_expect_becomes_a_lost_connection_that_says_what_it_was(failure: Exception) -> None:
    heard: list[BaseException | None] = []
    _lost(heard.append, failure)
    (told,) = heard
    assert isinstance(told, KafkaConnectionError)
    assert type(failure).__name__ in str(told)


class Hearing:
    """A protocol that takes note of what came, in order."""

    _sensors = None

    def __init__(self) -> None:
        self.heard: list[bytes | str] = []

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def connection_lost(self, failure: Exception | None) -> None:
        self.heard.append(str(failure))


@pytest.mark.parametrize("kind", [KafkaNetClient, RequestTrackingClient])
def test_what_a_broker_says_together_with_the_end_is_heard(kind: Any) -> None:
    """A broker refuses a password so: without this, the refusal reads like a broken connection on a busy machine."""
    hearing = Hearing()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with closing(kind(**{**NOWHERE, "bootstrap_servers": address})) as client:
            (node,) = client.cluster.bootstrap_brokers()
            transport = client._manager.run(client._manager._build_transport, node)
            peer, _ = server.accept()
            peer.sendall(b"refused")
            peer.close()
            transport.set_protocol(hearing)
            transport.resume_reading()
            while not transport.is_closing():
                client.poll(timeout_ms=50)
    # Once this fails for the library's own client, its bug is fixed and `client._words_before_the_end` can go.
    last_words = [b"refused"] if kind is RequestTrackingClient else []
    assert hearing.heard == [*last_words, "KafkaConnectionError: socket disconnected"]
