"""What every use of the Kafka client library needs here: no leftovers, no lost request, one kind of error."""

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from socket import socket
from types import MappingProxyType
from typing import Any, Final, TypeVar

from kafka.errors import (
    AuthorizationError,
    ClusterAuthorizationFailedError,
    IllegalSaslStateError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    PolicyViolationError,
    RetriableError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.errors import KafkaConnectionError as Disconnected
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from adapters.deadline import Deadline, call_with_deadline
from adapters.kafka.contact import reach, refusal, why_out_of_reach
from adapters.kafka.options import ANYWHERE, THIS_MACHINE
from adapters.log import LogError, LogUnavailable

T = TypeVar("T")

Rights = Mapping[type[KafkaError], str]
"""Which right a refusal means in what is being done, by the kind of the refusal."""

LOGGER: Final = logging.getLogger(__name__)

# At DEBUG the library logs keys, values and passwords. INFO and above name topics, partitions and brokers only.
LIBRARY_LOGGER: Final = logging.getLogger("kafka")

REQUEST_PAUSE_S: Final = 0.2

FIRST_CONTACT_MS: Final = 4000  # of the library, to a broker that takes connections

# Rights that brokers before 2.8 ask of everybody who publishes in transactions.
EVERYWHERE: Final[Rights] = {ClusterAuthorizationFailedError: "IdempotentWrite on the cluster"}


REMEDIES: Final[Mapping[type[KafkaError], str]] = {
    InvalidTopicError: "a topic's name is at most 249 letters, digits, '.', '_' and '-'; correct the setting with it",
    InvalidReplicationFactorError: "so many brokers are not up; give another number of --replicas",
    PolicyViolationError: "the cluster's own policy forbids such a topic; have it made by who runs the cluster, as "
    "'What a topic keeps' in docs/delivery.md lists it",
}


class ClosingSocket(KafkaNetSocket):  # type: ignore[misc] # the library ships no types
    """The library's plain connection, but a socket that could not connect is closed, not left to the collector.

    During an outage every client tries again each second. The library's door to other ways of connecting is the proxy.
    """

    SCHEMES = (ANYWHERE.removesuffix("://"),)

    async def sock_connect(self, net: Any, sock: socket, sockaddr: Any, timeout_at: float | None = None) -> Any:
        """Connect, or close the socket and raise."""
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise


class LoopbackSocket(ClosingSocket):
    """A connection that stays on this machine, whatever addresses the brokers name."""

    SCHEMES = (THIS_MACHINE.removesuffix("://"),)

    async def sock_connect(self, net: Any, sock: socket, sockaddr: Any, timeout_at: float | None = None) -> Any:
        """Connect, or close the socket and raise."""
        if not ip_address(sockaddr[0]).is_loopback:
            sock.close()
            LOGGER.error("a broker is on another machine: the way there has to be encrypted, and its name checked")
            raise Disconnected("not a loopback address")
        return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)


# What a broker that was asked for a way in will say again, however often it is asked.
REFUSALS: Final = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError)


class NotingManager(KafkaConnectionManager):  # type: ignore[misc] # the library ships no types
    """The library's connections, with a note of why the last one to each broker failed: it only logs that, each time.

    While `hasty`, a refusal is final; later a password may just be changing, and is tried again.

    Every failure is one of the library's own errors. It lets some of the system's through (a peer that resets the
    connection before the TLS handshake, a certificate that cannot be read just now), and the loop that keeps a client's
    view of the cluster fresh ends for ever at the first of them.

    What a broker says last is heard. It sends a refusal and ends the connection in one go, and the library throws away
    what came together with the end.
    """

    def __init__(self, net: Any, **settings: Any) -> None:
        super().__init__(net, **settings)
        self.failures: dict[object, BaseException] = {}
        self.hasty = False

    def get_connection(self, node_id: object, *arguments: Any, **settings: Any) -> Any:
        """The connection to a broker, made if there is none."""
        failure = self.failures.get(node_id)
        if self.hasty and isinstance(failure, REFUSALS):
            raise failure
        connection = super().get_connection(node_id, *arguments, **settings)
        if not hasattr(connection, "noted"):
            connection.noted = True
            connection.connection_lost = functools.partial(_lost, connection.connection_lost)
            connection.init_future.add_callback(lambda _: self.failures.pop(node_id, None))
            connection.init_future.add_errback(functools.partial(self._note, node_id))
        return connection

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        transport = await super()._build_transport(node, timeout_at=timeout_at)
        transport._sock_recv = functools.partial(_words_before_the_end, transport._sock_recv)
        return transport

    def _note(self, node_id: object, failure: BaseException) -> None:
        is_news = node_id not in self.failures
        if self.hasty and isinstance(self.failures.get(node_id), REFUSALS):
            return  # what ends the connection after a refusal says less than the refusal did
        self.failures[node_id] = failure
        node = self.cluster.broker_metadata(node_id)
        if is_news and node is not None and not self.closed and not self.hasty:
            said = failure if isinstance(failure, Disconnected | KafkaTimeoutError) else type(failure).__name__
            LOGGER.warning(
                f"kafka://{node.host}:{node.port} cannot be reached: {refusal(failure, self.config) or said}"
            )


def _lost(lose: Callable[[BaseException | None], None], failure: BaseException | None) -> None:
    if isinstance(failure, Exception) and not isinstance(failure, KafkaError):
        failure = Disconnected(f"{type(failure).__name__}: {failure}")
    lose(failure)


def _words_before_the_end(receive: Callable[[], tuple[bytes, Exception | None]]) -> tuple[bytes, Exception | None]:
    """What came, or else how the connection ended: a socket that has ended says so again when it is next asked."""
    received, ended = receive()
    return received, None if received else ended


class RequestTrackingClient(KafkaNetClient):  # type: ignore[misc] # the library ships no types
    """The producer's network client, with a patch for one bug of kafka-python 3.0.12 and one fact kept.

    The bug: the sender asks `await_ready` before it sends a transactional request. It expects False for a broker that
    cannot be reached, but gets an exception, and then forgets the request: its caller waits for ever.

    The fact: `lost_contact` says whether any request failed on the way. The library sends such a request again by
    itself. Its first copy may still arrive, late, in the middle of the next transaction, and would end that one early:
    the transaction protocol of this client cannot tell the two apart. Only a new producer epoch makes the copy void.
    """

    def __init__(self, **settings: Any) -> None:
        net = NetworkSelector(**settings)
        super().__init__(net=net, manager=NotingManager(net, **settings))
        self.lost_contact = False

    @property
    def connections(self) -> NotingManager:
        """The connections to brokers."""
        manager: NotingManager = self._manager
        return manager

    def await_ready(self, node_id: object, timeout_ms: float = 30_000) -> bool:
        """Whether the broker can be reached now, or within the time allowed."""
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except Disconnected:
            return False

    def send(self, node_id: object, request: object, **settings: Any) -> Any:
        """Send a request, and take note if it fails."""
        future = super().send(node_id, request, **settings)
        future.add_errback(self._note_failure)
        return future

    def _note_failure(self, _error: BaseException) -> None:
        self.lost_contact = True


def connect_first(kind: Callable[..., Any], settings: dict[str, Any]) -> Any:
    """A client for the first contact of this process: one that fails soon, and says why. Raises LogUnavailable."""
    reach(settings)
    limit_ms = min(settings["bootstrap_timeout_ms"], FIRST_CONTACT_MS)
    client, _ = connect(kind, {**settings, "bootstrap_timeout_ms": limit_ms}, hasty=True)
    return client


def connect(
    kind: Callable[..., Any], settings: dict[str, Any], *, hasty: bool = False
) -> tuple[Any, RequestTrackingClient]:
    """A consumer, producer or admin client, connected, and the network client in it.

    If it cannot connect nothing stays behind: the library would leave sockets, and a thread that tries for ever. It is
    `hasty` if a broker's refusal is taken for an answer. Raises LogUnavailable, with what kept it from connecting.
    """
    LIBRARY_LOGGER.setLevel(max(LIBRARY_LOGGER.level, logging.INFO))
    made: list[RequestTrackingClient] = []

    def client(**configs: Any) -> RequestTrackingClient:
        made.append(RequestTrackingClient(**configs))
        made[-1].connections.hasty = hasty
        return made[-1]

    try:
        connected = kind(**settings, kafka_client=client)
    except BaseException as error:
        failures = [failure for item in made for failure in item.connections.failures.values()]
        for item in made:
            item.close()
        if isinstance(error, (KafkaTimeoutError, *REFUSALS)):
            raise LogUnavailable(why_out_of_reach(settings, failures)) from None
        raise
    made[0].connections.hasty = False
    return connected, made[0]


def request(deadline: Deadline, send: Callable[[], T]) -> T:
    """The answer to a request that may be sent twice, sent again while the brokers are not ready to answer."""
    while True:
        try:
            return call_with_deadline(deadline, "kafka-request", send)
        except RetriableError:
            if deadline.remaining_s < REQUEST_PAUSE_S:
                raise
            time.sleep(REQUEST_PAUSE_S)


def in_words(error: type[KafkaError]) -> str:
    """The kind of an error, with what to do where somebody who runs the worker can do it."""
    return error.__name__ + (f"; {remedy}" if (remedy := REMEDIES.get(error)) else "")


def denied(doing: str, error: AuthorizationError, rights: Rights) -> LogError:
    """What to say of a refusal: the right that is missing, as whoever grants it would word it."""
    right = rights.get(type(error)) or EVERYWHERE.get(type(error)) or type(error).__name__
    return LogError(f"{doing}: not allowed; grant {right}")


@contextmanager
def translate_errors(doing: str, rights: Rights = MappingProxyType({})) -> Iterator[None]:
    """Raise the library's errors as ours, by their kind: their texts are not ours to vouch for."""
    try:
        yield
    except (KafkaTimeoutError, TimeoutError):
        raise LogUnavailable(f"{doing}: no broker answered in time; are all of them up, and in reach?") from None
    except RetriableError as error:
        raise LogUnavailable(f"{doing}: {type(error).__name__}; are all brokers up, and in reach?") from None
    except AuthorizationError as error:
        raise denied(doing, error, rights) from None
    except KafkaError as error:
        raise LogError(f"{doing}: {in_words(type(error))}") from None
