"""A TCP proxy on loopback that cuts connections where a test wants it: in the middle of a reply."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable

_CHUNK = 1 << 16
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that turns closing into a reset, so that nothing buffered still arrives."""


class Proxy:
    """Listens on ``port``; every connection goes on to ``upstream``, a TCP port or a socket's path.

    Runs in a thread of its own. Faults are armed from other threads: `cut_after`, `watch_for`.
    """

    def __init__(self, upstream: int | str | None = None) -> None:
        self.upstream = upstream
        self.port = 0
        self.cuts = 0
        """How often connections were cut."""
        self._bytes_left: int | None = None
        self._pattern = b""
        self._action: Callable[[], None] | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def cut_after(self, reply_bytes: int) -> None:
        """Let so many more bytes of replies pass, over all connections, then reset them all."""
        self._loop.call_soon_threadsafe(self._arm, reply_bytes)

    def watch_for(self, pattern: bytes, action: Callable[[], None]) -> None:
        """When ``pattern`` comes by in a request, half of it passes; then ``action``, and a cut."""
        self._loop.call_soon_threadsafe(self._arm_watch, pattern, action)

    def disarm(self) -> bool:
        """Cancel what is armed; return whether something still was."""
        armed = self._bytes_left is not None or self._action is not None
        self._bytes_left, self._action = None, None
        return armed

    def close(self) -> None:
        """Cut everything and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- in the thread ---------------------------------------------------------------------------

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        self._cut()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def _arm(self, reply_bytes: int) -> None:
        self._bytes_left = reply_bytes

    def _arm_watch(self, pattern: bytes, action: Callable[[], None]) -> None:
        self._pattern, self._action = pattern, action

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        up_writer: asyncio.StreamWriter | None = None
        try:
            if isinstance(self.upstream, str):
                up_reader, up_writer = await asyncio.open_unix_connection(self.upstream)
            else:
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            self._writers.add(up_writer)
            requests = asyncio.ensure_future(self._pass(reader, up_writer, self._seen_request))
            replies = asyncio.ensure_future(self._pass(up_reader, writer, self._seen_reply))
            await asyncio.wait((requests, replies), return_when=asyncio.FIRST_COMPLETED)
            for task in (requests, replies):
                task.cancel()
            await asyncio.gather(requests, replies, return_exceptions=True)
        except OSError:
            pass  # nobody listens there now: the client sees its connection end
        finally:
            for each in (writer, up_writer):
                if each is not None:
                    self._writers.discard(each)
                    each.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        seen: Callable[[bytes], tuple[bytes, Callable[[], None] | None]],
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            part, then = seen(chunk)
            writer.write(part)
            await writer.drain()
            if then is not None:
                then()
                self._cut()
                return

    def _seen_reply(self, chunk: bytes) -> tuple[bytes, Callable[[], None] | None]:
        if self._bytes_left is None:
            return chunk, None
        self._bytes_left -= len(chunk)
        if self._bytes_left > 0:
            return chunk, None
        part = chunk[: len(chunk) + self._bytes_left]
        self._bytes_left = None
        return part, lambda: None

    def _seen_request(self, chunk: bytes) -> tuple[bytes, Callable[[], None] | None]:
        if self._action is None or self._pattern not in chunk:
            return chunk, None
        action, self._action = self._action, None
        rest = chunk.index(self._pattern) + len(self._pattern)
        return chunk[: rest + (len(chunk) - rest) // 2], action

    def _cut(self) -> None:
        self.cuts += 1
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
