"""The other end of an MLLP connection, doing exactly what a test says."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final

from adapters.mllp.framing import FrameReader, framed

# What to send after a message with this control id, in pieces; None ends the connection.
Answer = Callable[[str], list[bytes] | None]

MAX_MESSAGE_BYTES: Final = 1 << 20


def ack(code: str, control_id: str, error: str = "") -> bytes:
    segments = ["MSH|^~\\&|EHR||ECG-R1||20260303||ACK|1|P|2.5.1", f"MSA|{code}|{control_id}|text"]
    if error:
        segments.append(f"ERR|||{error}^what it means^HL70357|E")
    return "".join(f"{segment}\r" for segment in segments).encode()


def says(code: str, error: str = "") -> Answer:
    return lambda control_id: [framed(ack(code, control_id, error))]


def silence(_: str) -> list[bytes]:
    return []


def hangs_up(_: str) -> None:
    return None


class Peer:
    """Answers each message with the next answer, the last one for ever. `hang_up` resets the open connection."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._answers = list(answers)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port))
        self._current: socket.socket | None = None
        self._changed = threading.Condition()
        self.port = int(self._listener.getsockname()[1])
        self.messages: list[bytes] = []
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._note(connection)
                with contextlib.suppress(OSError), connection:
                    self._converse(self._tls.wrap_socket(connection, server_side=True) if self._tls else connection)
                self._note(None)

    def _converse(self, connection: socket.socket) -> None:
        model_identity = FrameReader(MAX_MESSAGE_BYTES)
        with connection:
            while data := connection.recv(65536):
                model_identity.feed(data)
                while (message := model_identity.next()) is not None:
                    answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                    with self._changed:
                        self.messages.append(message)
                        self._changed.notify_all()
                    pieces = answer(message.split(b"|")[9].decode())
                    if pieces is None:
                        return
                    for piece in pieces:
                        connection.sendall(piece)

    def _note(self, connection: socket.socket | None) -> None:
        with self._changed:
            self._current = connection
            self.connections += connection is not None
            self._changed.notify_all()

    def wait_for(self, said: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(said, timeout=10)

    def hang_up(self) -> None:
        """End the open connection with a reset, as a rebooted machine does, and wait until it is gone."""
        connection = self._current
        assert connection is not None
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
        self.wait_for(lambda: self._current is None)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._current is not None:
            with contextlib.suppress(OSError):
                self._current.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)


@contextlib.contextmanager
def peer(*answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Peer]:
    listening = Peer(*answers, tls=tls, port=port)
    try:
        yield listening
    finally:
        listening.close()
