"""HL7 messages over TCP (MLLP release 1): one kept connection, each message acknowledged before the next.

A message is safe when an acknowledgement names its control id (MSA-2) and accepts it (MSA-1). `send` is one try;
whether there is another, and when, is its caller's to say. Each has the same control id, by which a receiver can tell
a repetition. A receiver that answers, but not to the message, is told apart from a silent one: its operators have to
look at what it answers, not at the network.
"""

import logging
import socket
import ssl
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock
from typing import Final

from adapters.deadline import Deadline
from adapters.mllp.framing import MAX_ACK_BYTES, Ack, FrameReader, FramingError, framed, read_ack
from schemas.delivery import Refused, Unanswered

_CHUNK_BYTES: Final = 4096
# A firewall between two sites forgets a silent connection after some minutes; alerts can be hours apart.
_KEEPALIVE_S: Final = 60
# Of a message that was answered on this connection a second acknowledgement may follow, as in enhanced mode (CA, then
# AA). For so many messages back it is taken for that.
_ANSWERED_KEPT: Final = 100

OTHER_MESSAGES: Final = "answers to other messages"
NO_ACKNOWLEDGEMENT: Final = "no acknowledgement"
_CHECKS: Final = {
    OTHER_MESSAGES: "MSA-2 of the acknowledgement has to be the MSH-10 that was sent",
    NO_ACKNOWLEDGEMENT: "an answer has to be an HL7 message between VT and FS CR, with AA, AE or AR in MSA-1 and the "
    "MSH-10 that was sent in MSA-2",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Waits:
    """How long one try may take: until there is a connection, and from then until the acknowledgement. Seconds."""

    connect_s: float = 10.0
    ack_s: float = 30.0


@dataclass(slots=True)
class _Heard:
    """What came while an acknowledgement was waited for. Nothing of its content."""

    anything: bool = False
    late: bool = False
    no_acknowledgement: bool = False
    to_other_messages: bool = False

    @property
    def instead(self) -> str | None:
        """What came in the place of the acknowledgement; None: nothing, or only what was late."""
        if self.to_other_messages:
            return OTHER_MESSAGES
        return NO_ACKNOWLEDGEMENT if self.no_acknowledgement or (self.anything and not self.late) else None


class MllpClient:
    """Sends messages to one receiver. `send` is not thread-safe; `close` may come from another and ends it.

    A connection that is just being made is not interrupted: `close` can take as long as `Waits.connect_s`.
    """

    def __init__(self, host: str, port: int, waits: Waits, tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._waits, self._tls = host, port, waits, tls
        self._connection: socket.socket | None = None
        self._answered: deque[str] = deque(maxlen=_ANSWERED_KEPT)  # control ids, on this connection
        self._sending = Lock()
        self._closed = Event()

    def send(self, message: bytes, control_id: str) -> None:
        """Send it once; return if the receiver accepted it. Raises Unanswered or Refused, in bounded time.

        Raises FramingError for what MLLP cannot carry, before anything is sent.
        """
        frame = framed(message)
        with self._sending:
            answer = self._answer_to(frame, control_id)
        if answer.refusal is not None:
            _log.warning(f"the receiver answered {answer.refusal}")
            raise Refused(answer.refusal, answer.error_code)

    def close(self) -> None:
        """End the connection, and a `send` that is under way."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with self._sending:
            self._disconnect()

    def _answer_to(self, frame: bytes, control_id: str) -> Ack:
        sent, heard = False, _Heard()
        try:
            connection = self._connected()
            sent = True
            ack = self._exchange(connection, frame, control_id, heard)
        except (OSError, FramingError) as error:  # TimeoutError and every TLS error are OSErrors
            self._disconnect()
            cause = heard.instead or type(error).__name__
            raise Unanswered(sent=sent, cause=cause, check=_CHECKS.get(cause)) from None
        self._answered.append(control_id)
        return ack

    def _connected(self) -> socket.socket:
        """The kept connection if the receiver did not end it meanwhile, else a new one."""
        if self._connection is not None and _is_open(self._connection):
            return self._connection
        self._disconnect()
        connection = socket.create_connection((self._host, self._port), self._waits.connect_s)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if sys.platform == "linux":
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_hostname=self._host)
        except OSError:
            connection.close()
            raise
        self._connection = connection
        if self._closed.is_set():  # `close` came while there was nothing to shut down
            raise ConnectionAbortedError
        return connection

    def _exchange(self, connection: socket.socket, frame: bytes, control_id: str, heard: _Heard) -> Ack:
        """Send, and wait for this message's acknowledgement; whatever else comes is noted, and passed over."""
        waiting = Deadline(self._waits.ack_s)
        connection.settimeout(max(0.001, waiting.remaining_s))
        connection.sendall(frame)
        reader = FrameReader()
        while True:
            while (message := reader.next()) is not None:
                ack = read_ack(message)
                if ack is None:
                    heard.no_acknowledgement = True
                elif ack.control_id == control_id:
                    return ack
                elif ack.control_id in self._answered:
                    heard.late = True
                else:
                    heard.to_other_messages = True
            if waiting.expired:
                raise TimeoutError
            connection.settimeout(max(0.001, waiting.remaining_s))
            data = connection.recv(_CHUNK_BYTES)
            if not data:
                raise ConnectionResetError
            heard.anything = True
            reader.feed(data)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._answered.clear()
        if connection is not None:
            with suppress(OSError):
                connection.close()


def _is_open(connection: socket.socket) -> bool:
    """Whether the other side has not ended the connection. What it sent unasked is a late acknowledgement: dropped."""
    connection.settimeout(0)
    try:
        for _ in range(MAX_ACK_BYTES // _CHUNK_BYTES):
            if not connection.recv(_CHUNK_BYTES):
                return False
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False  # it never stops
