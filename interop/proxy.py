"""A TCP proxy between a client and the broker, whose connections a test can cut."""

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

CHUNK = 65536


class CuttableProxy:
    """Passes bytes on, both ways, until `cut`; new connections are served again after it.

    `refuse()` instead makes new connections fail until `accept()`.
    """

    def __init__(self, broker_host: str, broker_port: int) -> None:
        self._broker = (broker_host, broker_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self.connections_accepted = 0
        self._accepted_one = threading.Condition()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._refusing = False
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept_all, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # shutdown, as close alone does not wake a thread that waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        self.cut()

    def refuse(self) -> None:
        self._refusing = True

    def accept(self) -> None:
        self._refusing = False

    def wait_for_connections(self, count: int, timeout_s: float) -> bool:
        """Waits until `count` were accepted or refused in all; False after the timeout."""
        with self._accepted_one:
            return self._accepted_one.wait_for(
                lambda: self.connections_accepted >= count, timeout_s
            )

    def cut(self) -> None:
        """Resets every connection, both ways, as a failing network does: no close frames."""
        with self._lock:
            for pair in self._pairs:
                for end in pair:
                    _reset(end)
            self._pairs.clear()

    def _accept_all(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._accepted_one:
                self.connections_accepted += 1
                self._accepted_one.notify_all()
            if self._refusing:
                _reset(client)
                continue
            broker = socket.create_connection(self._broker)
            with self._lock:
                self._pairs.append((client, broker))
            for source, target in ((client, broker), (broker, client)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    # An OSError on either side means that the connection was cut or lost: it ends for both.
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _reset(end: socket.socket) -> None:
    # Linger 0 turns close into a TCP reset; shutdown wakes the pump that reads from it.
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    end.close()
