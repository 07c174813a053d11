"""Why an address cannot be reached, told by sockets of this machine's own; a broker's refusals are in tests/kafka."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaConnectionError, SaslAuthenticationFailedError

from adapters.kafka import contact
from adapters.kafka.contact import reach, refusal, why_out_of_reach
from adapters.kafka.options import KafkaOptions
from adapters.log import LogUnavailable
from adapters.open_log import open_log
from tests.kafka.broker import free_ports
from tests.kafka.helpers import certificate

Serve = Callable[[Callable[[socket.socket], object]], str]


@pytest.fixture(autouse=True)
def _one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "REACH_LIMIT_S", 0.0)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that does this to every connection, and gives its address."""
    servers: list[socket.socket] = []

    def start(answer: Callable[[socket.socket], object]) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def loop() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with closing(connection), suppress(OSError):
                        answer(connection)

        threading.Thread(target=loop, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def closed_port() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


def why(*servers: str, options: KafkaOptions | None = None) -> str:
    with pytest.raises(LogUnavailable) as said:
        reach((options or KafkaOptions(allow_plaintext=True)).client_settings(list(servers)))
    assert "\n" not in str(said.value)
    return str(said.value)


def tls_server(folder: Path, **names: str) -> Callable[[socket.socket], object]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder, "broker", **names))

    def answer(connection: socket.socket) -> None:
        with closing(context.wrap_socket(connection, server_side=True)) as wrapped:
            wrapped.recv(1)

    return answer


def test_a_closed_port_refuses() -> None:
    port = closed_port()
    assert why(port) == f"kafka://{port}: connection refused; is a broker listening there? Check ECG_LOG"


def test_a_name_that_is_none_is_not_resolved() -> None:
    assert "kafka://broker.invalid:9092: the name cannot be resolved" in why("broker.invalid:9092")


def test_each_address_is_named_and_each_cause_once() -> None:
    one, other = closed_port(), closed_port()
    said = why(one, "broker.invalid:9092", other)
    assert f"kafka://{one},{other}: connection refused" in said
    assert said.count("connection refused") == said.count("cannot be resolved") == 1


def test_one_address_that_takes_connections_is_enough(serve: Serve) -> None:
    reach(KafkaOptions().client_settings([closed_port(), serve(lambda connection: connection.recv(1))]))


@pytest.mark.parametrize(
    ("kind", "said"), [(OSError(113, "No route to host"), "no route to it"), (TimeoutError(), "no answer within 3 s")]
)
def test_what_the_network_says_is_passed_on(kind: OSError, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise kind

    monkeypatch.setattr(socket, "create_connection", connect)
    assert f"kafka://10.0.0.1:9092: {said}" in why("10.0.0.1:9092")


def test_a_lookup_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "PROBE_LIMIT_S", 0.2)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: time.sleep(2))
    assert "no answer within" in why("10.0.0.1:9092")


def test_a_port_without_tls_is_told(serve: Serve) -> None:
    server = serve(lambda connection: (connection.recv(10_000), connection.send(b"HTTP/1.1 400\r\n\r\n")))
    assert "no TLS there" in why(server, options=KafkaOptions("SSL"))
    assert "no TLS there" in why(serve(lambda _: None), options=KafkaOptions("SSL"))


def test_a_certificate_that_is_not_trusted_or_for_another_name_is_told(serve: Serve, tmp_path: Path) -> None:
    stranger, other_name = serve(tls_server(tmp_path)), serve(tls_server(tmp_path, address="127.0.0.2"))
    assert "is not trusted (self-signed certificate); set ECG_KAFKA_CA_FILE" in why(
        stranger, options=KafkaOptions("SSL")
    )
    said = why(other_name, options=KafkaOptions("SSL", ca_file=tmp_path / "broker.crt"))
    assert "is for another name" in said
    assert "127.0.0.1" in said


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.touch()
    assert f"{missing}: No such file or directory" in why("a:1", options=KafkaOptions("SSL", ca_file=missing))
    assert f"TLS files cannot be used: {empty}: " in why("a:1", options=KafkaOptions("SSL", ca_file=empty))


def test_a_broker_s_refusal_goes_before_all_else() -> None:
    settings: dict[str, Any] = {"bootstrap_servers": ["a:1"], "sasl_mechanism": "PLAIN"}
    said = why_out_of_reach(settings, [KafkaConnectionError("x"), SaslAuthenticationFailedError("hunter2")])
    assert said.startswith("kafka://a:1: the user name or the password was refused (PLAIN)")
    assert "hunter2" not in said
    assert "token was refused" in str(refusal(SaslAuthenticationFailedError(), {"sasl_mechanism": "OAUTHBEARER"}))


def test_the_first_contact_fails_soon(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(contact, "REACH_LIMIT_S", 2.0)
    began = time.monotonic()
    with pytest.raises(LogUnavailable, match="connection refused"):
        open_log(f"kafka://{closed_port()}")
    assert 1 < time.monotonic() - began < 20  # a broker that is being started has a moment
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@pytest.mark.parametrize(
    ("mechanism", "said"), [(None, "ask for TLS or a password"), ("PLAIN", "does it offer PLAIN?")]
)
def test_a_listener_that_ends_connections_without_a_word_is_asked_about_what_we_said(
    serve: Serve, mechanism: str | None, said: str
) -> None:
    server = serve(lambda connection: None)
    settings = KafkaOptions(allow_plaintext=True).client_settings([server]) | {"sasl_mechanism": mechanism}
    assert said in why_out_of_reach(settings, [])
