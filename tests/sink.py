"""An HTTP server on loopback that takes what Apprise posts, refuses it, or never answers."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Sink:
    """What came, and when. status: the answer; None: there is none."""

    def __init__(self, status: int | None) -> None:
        self.status = status
        self.taken: list[tuple[int, dict[str, Any]]] = []  # when, in nanoseconds of the system's clock, and what
        self.refused = 0
        self.over = threading.Event()
        self.port = 0

    @property
    def texts(self) -> list[str]:
        return [str(message["message"]) for _, message in self.taken]

    def wait_for(self, count: int, within_s: float = 10) -> None:
        deadline = time.monotonic() + within_s
        while len(self.taken) + self.refused < count:
            assert time.monotonic() < deadline, f"{len(self.taken) + self.refused} of {count} messages came"
            time.sleep(0.005)


@contextmanager
def sink(status: int | None = 200) -> Iterator[Sink]:
    found = Sink(status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if found.status is None:
                found.over.wait(30)
                return
            if found.status == 200:
                found.taken.append((time.time_ns(), json.loads(body)))
            else:
                found.refused += 1
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, _format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        server.shutdown()
        server.server_close()
