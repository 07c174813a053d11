"""Network faults between workers and brokers, in user space: cut, slow, half open, reset at the end of a transaction.

One proxy stands in front of each broker, on the port that the broker tells its clients. Frames of the protocol are
told apart (a length, then the number of the request), so that a fault can strike at one kind of request.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

END_TXN: Final = 26  # the request that commits or aborts a transaction
CHUNK: Final = 64 * 1024

# cut        connections are reset and new ones refused, as when a switch dies
# half_open  connections stay and new ones are taken, but nothing passes, as when a firewall forgets them
# slow       everything passes late
# reset      the connection is reset when EndTxn arrives; the broker has not seen it
# reset_late the broker gets EndTxn, and the connection is reset before its answer
Fault = Literal["none", "cut", "half_open", "slow", "reset", "reset_late"]
FAULTS: Final[tuple[Fault, ...]] = ("cut", "half_open", "slow", "reset", "reset_late")
SLOW_S: Final = 1.5


@dataclass(frozen=True, slots=True)
class Route:
    """From the port that clients know to the port that a broker listens on."""

    port: int
    behind: int


class Proxies:
    """Proxies for all brokers, in a thread of their own. `inflict` changes what they do."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.resets = 0
        self._fault: Fault = "none"
        self._struck: frozenset[int] = frozenset()
        self._writers: dict[asyncio.StreamWriter, int] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._open = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(routes,), name="proxies", daemon=True)
        self._thread.start()
        self._ready.wait()

    def inflict(self, fault: Fault, ports: frozenset[int]) -> None:
        """Let a fault befall these ports from now on; "none" ends it."""
        self._in_loop(lambda: self._inflict(fault, ports))

    def close(self) -> None:
        """End all connections and the thread."""
        self._in_loop(self._reset_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _in_loop(self, action: Callable[[], object]) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait()

    def _run(self, routes: Sequence[Route]) -> None:
        asyncio.set_event_loop(self._loop)
        self._open.set()
        for route in routes:
            self._loop.run_until_complete(self._serve(route))
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, route: Route) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._connected(route, reader, writer)

        await asyncio.start_server(connected, "127.0.0.1", route.port)

    def _inflict(self, fault: Fault, ports: frozenset[int]) -> None:
        self._fault, self._struck = fault, ports
        if fault == "half_open":
            self._open.clear()
        else:
            self._open.set()
        if fault in ("cut", "none"):  # a firewall that forgot a connection resets it when it speaks again
            for writer, port in list(self._writers.items()):
                if fault == "none" or port in ports:
                    self._reset(writer)

    async def _connected(self, route: Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._strikes(route, "cut"):
            self._reset(writer)
            return
        try:
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", route.behind)
        except OSError:
            self._reset(writer)
            return
        pair = (writer, behind_writer)
        self._writers.update(dict.fromkeys(pair, route.port))
        tasks = [
            asyncio.ensure_future(self._requests(route, reader, behind_writer)),
            asyncio.ensure_future(self._answers(route, behind_reader, writer)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for item in pair:
            self._reset(item)

    async def _requests(self, route: Route, reader: asyncio.StreamReader, behind: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(6)
                length, request = struct.unpack(">ih", head)
                frame = head + await reader.readexactly(length - 2)
                if request == END_TXN and self._strikes(route, "reset"):
                    self.resets += 1
                    return
                await self._hold_up(route)
                behind.write(frame)
                await behind.drain()
                if request == END_TXN and self._strikes(route, "reset_late"):
                    self.resets += 1
                    return

    async def _answers(self, route: Route, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await behind.read(CHUNK):
                await self._hold_up(route)
                writer.write(data)
                await writer.drain()

    async def _hold_up(self, route: Route) -> None:
        if self._strikes(route, "slow"):
            await asyncio.sleep(SLOW_S)
        if self._strikes(route, "half_open"):
            await self._open.wait()

    def _strikes(self, route: Route, fault: Fault) -> bool:
        return self._fault == fault and route.port in self._struck

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        """Close with RST, as a cut does; what was not sent is lost."""
        self._writers.pop(writer, None)
        connection = writer.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
