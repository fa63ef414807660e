"""What may answer where a queue server should: other servers, servers in trouble, silence."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Answer(socketserver.StreamRequestHandler):
    """Answers whatever comes with what the test wants."""

    said: Callable[[socketserver.StreamRequestHandler], None]

    def handle(self) -> None:
        try:
            type(self).said(self)
        except OSError:
            return


def says(answer: bytes) -> Callable[[socketserver.StreamRequestHandler], None]:
    def say(handler: socketserver.StreamRequestHandler) -> None:
        while handler.connection.recv(65_536):
            handler.wfile.write(answer)

    return say


def drips(handler: socketserver.StreamRequestHandler) -> None:
    """A byte now and then, for ever: no single wait is long."""
    handler.connection.recv(65_536)
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.005)


LIES: dict[str, Callable[[socketserver.StreamRequestHandler], None]] = {
    "http": says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "ok to everything": says(b"+OK\r\n"),
    "a number": says(b":12\r\n"),
    "a list": says(b"*2\r\n$2\r\nok\r\n:1\r\n"),
    "a number that is none": says(b":abc\r\n"),
    "a huge string": says(b"$999999999999\r\nabc"),
    "a huge list": says(b"*999999999\r\n"),
    "deep lists": says(b"*1\r\n" * 100_000),
    "bytes": says(bytes(range(256))),
    "an error": says(b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    "an error in no words": says(b"-\r\n"),
    "it loads": says(b"-LOADING Redis is loading the dataset in memory\r\n"),
    "a Cluster": says(b"-MOVED 3999 127.0.0.1:6381\r\n"),
    "it hangs up": lambda handler: None,
    "silence": lambda handler: time.sleep(2),
    "drips": drips,
}


@contextmanager
def answering(said: Callable[[socketserver.StreamRequestHandler], None]) -> Iterator[str]:
    handler = type("Handler", (Answer,), {"said": staticmethod(said)})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as listener:
        listener.daemon_threads = True
        listener.block_on_close = False
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"redis://:pw@127.0.0.1:{listener.server_address[1]}"
        listener.shutdown()
