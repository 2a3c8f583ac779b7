"""A loopback TCP proxy before a Redis, for faults on the wire: a lost reply, a slow link, a peer that vanished.

It knows nothing of the protocol. A request is recognised by bytes in it, such as a task id or a script's digest.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

CHUNK = 65_536
TURN = 0.05
Hook = Callable[[], object]


class _Loss:
    """A reply that shall not arrive. `then` runs once the server has answered and before the client hears of it."""

    def __init__(self, needle: bytes, times: int, then: Hook | None, silent: bool) -> None:
        self.needle, self.left, self.then, self.silent = needle, times, then, silent


class _Link:
    """One client and its own connection to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy, self._client = proxy, client
        self._server = socket.create_connection(proxy.target, timeout=5)
        self._loss: _Loss | None = None
        self.silent = False
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        """Copies until one side ends, then ends both."""
        with contextlib.suppress(OSError), contextlib.closing(self._client), contextlib.closing(self._server):
            while self._turn():
                pass

    def cut(self) -> None:
        """Both sides see the end of their connection; the thread in `run` notices by itself."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _turn(self) -> bool:
        """One round of copying; False when the link is over."""
        if self.silent:
            time.sleep(TURN)
            return not self._proxy.closed
        if not self._proxy.flowing.wait(TURN):
            return not self._proxy.closed
        readable, _, _ = select.select([self._client, self._server], [], [], TURN)
        if self.silent or not self._proxy.flowing.is_set():
            return True
        if self._client in readable and not self._request():
            return False
        if self._server in readable and not self._reply():
            return False
        return not self._proxy.closed

    def _request(self) -> bool:
        data = self._client.recv(CHUNK)
        self._loss = self._loss or self._proxy.loss_for(data)
        self._server.sendall(data)
        return bool(data)

    def _reply(self) -> bool:
        data = self._server.recv(CHUNK)
        if self._loss:
            return self._lose()
        time.sleep(self._proxy.delay)
        self._client.sendall(self._proxy.edit(data))
        return bool(data)

    def _lose(self) -> bool:
        loss, self._loss = self._loss, None
        assert loss is not None
        self._proxy.count_loss()
        if loss.then:
            loss.then()
        return loss.silent


class Proxy:
    """Listens on a free loopback port and passes bytes on to `port`. Use as a context manager.

    `delay` holds every reply back for that many seconds. `edit` may change the bytes of a reply.
    """

    def __init__(
        self, port: int, *, delay: float = 0.0, edit: Callable[[bytes], bytes] = bytes, login: str = ""
    ) -> None:
        self.target, self.delay, self.edit, self.login = ("127.0.0.1", port), delay, edit, login
        self.closed = False
        self.flowing = threading.Event()
        self.flowing.set()
        self.lost = 0
        self._lock = threading.Lock()
        self._losses: list[_Loss] = []
        self._links: list[_Link] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def url(self) -> str:
        """Database 0 behind the proxy."""
        return f"redis://{self.login}127.0.0.1:{self.port}/0"

    def lose_reply(self, needle: bytes, *, times: int = 1, then: Hook | None = None, silent: bool = False) -> None:
        """The next requests that hold `needle` are served, but their replies never arrive.

        The client sees its connection end, or nothing at all when `silent`. `then` runs in between.
        """
        with self._lock:
            self._losses.append(_Loss(needle, times, then, silent))

    def black_hole(self) -> None:
        """Connections stay open, new ones are accepted, and nothing passes."""
        self.flowing.clear()

    def silence(self) -> None:
        """The connections that there are go half-open for good; new ones work. So does a firewall that forgets."""
        for link in list(self._links):
            link.silent = True

    def flow(self) -> None:
        """What waited passes on."""
        self.flowing.set()

    def cut(self) -> None:
        """End every connection that there is."""
        for link in list(self._links):
            link.cut()

    def loss_for(self, data: bytes) -> _Loss | None:
        """The first loss that is left and whose needle a request holds; it is used up by this."""
        with self._lock:
            for loss in self._losses:
                if loss.left and loss.needle in data:
                    loss.left -= 1
                    return loss
        return None

    def count_loss(self) -> None:
        """Links run on threads of their own, so the number is kept under the lock."""
        with self._lock:
            self.lost += 1

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self.closed:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), name="proxy-link", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            link = _Link(self, client)
        except OSError:
            client.close()  # the server is down, so the client is refused as well
            return
        self._links.append(link)
        try:
            link.run()
        finally:
            self._links.remove(link)

    def close(self) -> None:
        """Ends the listener and every connection; nothing can be opened again."""
        self.closed = True
        self.flowing.set()
        # A blocked accept() does not notice a close from another thread; a connection wakes it.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
