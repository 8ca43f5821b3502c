"""An HTTP server of a test, on the loopback interface."""

from __future__ import annotations

import http.server
import threading


class Loopback:
    """Runs from the moment it is made until `close`. `serve` answers, in a thread of its own for each connection."""

    protocol = "HTTP/1.0"  # 1.1 keeps connections open: every answer then says how long it is

    def __init__(self) -> None:
        ours = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = ours.protocol

            def do_GET(self) -> None:
                ours.serve(self)

            do_HEAD = do_POST = do_PUT = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def serve(self, request: http.server.BaseHTTPRequestHandler) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
