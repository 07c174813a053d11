"""What every use of the Kafka client library needs here: no leftovers, no lost request, one kind of error."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from socket import socket
from types import MappingProxyType
from typing import Any, Final, TypeVar

from kafka.errors import AuthorizationError, KafkaError, KafkaTimeoutError, RetriableError
from kafka.errors import KafkaConnectionError as Disconnected
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket

from adapters.deadline import Deadline, call_with_deadline
from adapters.kafka.options import ANYWHERE, THIS_MACHINE
from adapters.log import LogError, LogUnavailable

T = TypeVar("T")

Rights = Mapping[type[KafkaError], str]
"""Which right a refusal means in what is being done, by the kind of the refusal."""

LOGGER: Final = logging.getLogger(__name__)

# At DEBUG the library logs keys, values and passwords. INFO and above name topics, partitions and brokers only.
LIBRARY_LOGGER: Final = logging.getLogger("kafka")

ASK_PAUSE_S: Final = 0.2


class TidySocket(KafkaNetSocket):  # type: ignore[misc] # the library ships no types
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


class LoopbackSocket(TidySocket):
    """A connection that stays on this machine, whatever addresses the brokers name."""

    SCHEMES = (THIS_MACHINE.removesuffix("://"),)

    async def sock_connect(self, net: Any, sock: socket, sockaddr: Any, timeout_at: float | None = None) -> Any:
        """Connect, or close the socket and raise."""
        if not ip_address(sockaddr[0]).is_loopback:
            sock.close()
            LOGGER.error("a broker is on another machine: the way there has to be encrypted, and its name checked")
            raise Disconnected("not a loopback address")
        return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)


class PatientClient(KafkaNetClient):  # type: ignore[misc] # the library ships no types
    """The producer's network client, with one bug of kafka-python 3.0.12 mended and one fact kept.

    The bug: the sender asks `await_ready` before it sends a transactional request. It expects False for a broker that
    cannot be reached, but gets an exception, and then forgets the request: its caller waits for ever.

    The fact: `lost_contact` says whether any request failed on the way. The library sends such a request again by
    itself. Its first copy may still arrive, late, in the middle of the next transaction, and would end that one early:
    the transaction protocol of this client cannot tell the two apart. Only a new producer epoch makes the copy void.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.lost_contact = False

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


def connect(kind: Callable[..., Any], settings: dict[str, Any]) -> tuple[Any, PatientClient]:
    """A consumer, producer or admin client, connected, and the network client in it.

    If it cannot connect nothing stays behind: the library would leave sockets, and a thread that tries for ever.
    """
    LIBRARY_LOGGER.setLevel(max(LIBRARY_LOGGER.level, logging.INFO))
    made: list[PatientClient] = []

    def client(**configs: Any) -> PatientClient:
        made.append(PatientClient(**configs))
        return made[-1]

    try:
        return kind(**settings, kafka_client=client), made[0]
    except BaseException as error:
        for each in made:
            each.close()
        if isinstance(error, KafkaTimeoutError):  # whatever the reason was: the library tells it only to its log
            raise LogUnavailable(
                "no broker answered in time, or none accepted our credentials or certificate"
            ) from None
        raise


def ask(deadline: Deadline, question: Callable[[], T]) -> T:
    """The answer to a question that changes nothing, asked again while the brokers are not ready to answer."""
    while True:
        try:
            return call_with_deadline(deadline, "kafka-ask", question)
        except RetriableError:
            if deadline.remaining_s < ASK_PAUSE_S:
                raise
            time.sleep(ASK_PAUSE_S)


def denied(doing: str, error: AuthorizationError, rights: Rights) -> LogError:
    """What to say of a refusal: the right that is missing, as whoever grants it would word it."""
    return LogError(f"{doing}: not allowed; grant {rights.get(type(error)) or type(error).__name__}")


@contextmanager
def translated(doing: str, rights: Rights = MappingProxyType({})) -> Iterator[None]:
    """Raise the library's errors as ours, by their kind: their texts are not ours to vouch for."""
    try:
        yield
    except (RetriableError, TimeoutError) as error:
        raise LogUnavailable(f"{doing}: {type(error).__name__}") from None
    except AuthorizationError as error:
        raise denied(doing, error, rights) from None
    except KafkaError as error:
        raise LogError(f"{doing}: {type(error).__name__}") from None
