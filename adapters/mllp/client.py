"""HL7 messages over TCP (MLLP release 1): one kept connection, each message acknowledged before the next.

A message is safe when an acknowledgement names its control id (MSA-2) and accepts it (MSA-1). Until then it is sent
again, within the bounds of `RetryPolicy`, always with the same control id, by which a receiver can tell a repetition.
Connections that cannot be made count against the time only: they say nothing about the message.
"""

import hashlib
import logging
import socket
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock
from typing import Final

from adapters.deadline import Deadline
from adapters.mllp.framing import MAX_ACK_BYTES, Ack, FrameReader, FramingError, framed, read_ack
from schemas.delivery import DeliveryReason, Undelivered

_CHUNK_BYTES: Final = 4096
# A firewall between two sites forgets a silent connection after some minutes; alerts can be hours apart.
_KEEPALIVE_S: Final = 60

_FINAL: Final = ("AR", "CR")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long and how often a message is tried.

    `max_sends` bounds how often it is sent, `total_s` all of it together, waiting included. Between two attempts lies a
    pause that doubles from `backoff_s` up to `longest_backoff_s`.
    """

    connect_s: float = 10.0
    ack_s: float = 30.0
    max_sends: int = 5
    total_s: float = 900.0
    backoff_s: float = 1.0
    longest_backoff_s: float = 30.0

    def pause_s(self, control_id: str, attempts: int) -> float:
        """The pause after this many tries: half to all of the doubled time, as the control id decides.

        Several senders that lost the same receiver thus return at different moments, and a test knows when.
        """
        full_s = min(self.longest_backoff_s, self.backoff_s * 2.0 ** min(attempts - 1, 30))
        draw = hashlib.sha256(f"{control_id}:{attempts}".encode()).digest()[0] / 255
        return full_s * (0.5 + draw / 2)


class MllpClient:
    """Sends messages to one receiver. `send` is not thread-safe; `close` may come from another and ends it.

    A connection that is just being made is not interrupted: `close` can take as long as `RetryPolicy.connect_s`.
    """

    def __init__(self, host: str, port: int, retry: RetryPolicy, tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._retry, self._tls = host, port, retry, tls
        self._connection: socket.socket | None = None
        self._sending = Lock()
        self._closed = Event()

    def send(self, message: bytes, control_id: str) -> None:
        """Return once the receiver accepted the message. Raises Undelivered, in bounded time."""
        with self._sending:
            self._send(framed(message), control_id, Deadline(self._retry.total_s))

    def close(self) -> None:
        """End the connection, and a `send` that is under way."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with self._sending:
            self._disconnect()

    def _send(self, frame: bytes, control_id: str, deadline: Deadline) -> None:
        sends = attempts = 0
        answer: Ack | None = None
        while True:
            attempts += 1
            try:
                connection = self._connected(deadline)
                sends += 1
                answer = self._exchange(connection, frame, control_id, deadline)
                if answer.refusal is None:
                    return
                _log.warning(f"the receiver answered {answer.refusal}")
            except (OSError, FramingError) as error:  # TimeoutError and every TLS error are OSErrors
                self._disconnect()
                _log.warning(f"no acknowledgement: {type(error).__name__}")
            pause_s = self._retry.pause_s(control_id, attempts)
            final = answer is not None and answer.refusal in _FINAL
            if final or sends >= self._retry.max_sends or deadline.remaining_s <= pause_s or self._closed.wait(pause_s):
                raise _undelivered(sends, answer)

    def _connected(self, deadline: Deadline) -> socket.socket:
        """The kept connection if the receiver did not end it meanwhile, else a new one."""
        if self._connection is not None and _is_open(self._connection):
            return self._connection
        self._disconnect()
        timeout_s = max(0.001, min(self._retry.connect_s, deadline.remaining_s))
        connection = socket.create_connection((self._host, self._port), timeout_s)
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

    def _exchange(self, connection: socket.socket, frame: bytes, control_id: str, deadline: Deadline) -> Ack:
        """Send, and wait for this message's acknowledgement; those of others are late ones, and ignored."""
        waiting = Deadline(min(self._retry.ack_s, deadline.remaining_s))
        connection.settimeout(max(0.001, waiting.remaining_s))
        connection.sendall(frame)
        reader = FrameReader()
        while True:
            while (message := reader.next()) is not None:
                ack = read_ack(message)
                if ack is not None and ack.control_id == control_id:
                    return ack
            if waiting.expired:
                raise TimeoutError
            connection.settimeout(max(0.001, waiting.remaining_s))
            data = connection.recv(_CHUNK_BYTES)
            if not data:
                raise ConnectionResetError
            reader.feed(data)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
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


def _undelivered(sends: int, answer: Ack | None) -> Undelivered:
    """What to say of a message that was sent so often, with this as the last answer to it."""
    if answer is not None:
        reason = DeliveryReason.RECEIVER_REJECTED if answer.refusal in _FINAL else DeliveryReason.RECEIVER_ERROR
        return Undelivered(reason, sends, answer.refusal, answer.error_code)
    return Undelivered(DeliveryReason.RECEIVER_NO_ACK if sends else DeliveryReason.RECEIVER_UNREACHABLE, sends)
