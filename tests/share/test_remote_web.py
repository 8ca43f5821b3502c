"""A remote behind a static file server: read without credentials, never written; cut and failing answers."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tunekit.share import remote_web


class Server:
    """Serves a folder on loopback. `faults`: what to do with the next requests whose path contains the word:
    `(word, how often, how)`."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.faults: list[list] = []
        handler = partial(_Handler, self, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, path: str) -> str:
        for fault in self.faults:
            if fault[0] in path and fault[1] > 0:
                fault[1] -= 1
                return str(fault[2])
        return ""


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: Server, *args, **more) -> None:
        self.owner = server
        super().__init__(*args, **more)

    def do_GET(self) -> None:
        self.owner.asked.append(self.path)
        how = self.owner.fault(self.path)
        if how.isdigit():
            self.send_response(int(how))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif how == "cut":
            data = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif how == "endless":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for _ in range(10_000):
                    self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            except OSError:
                self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server(machines, pushed, monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(remote_web, "_PAUSE", 0.001)
    found = Server(machines.remote)
    yield found
    found.stop()


def test_a_build_reads_it(machines, server):
    yours = machines.make("yours", url=server.url)
    assert yours.build().one("summary")["fetched"] == ["dataset:c"]
    folders = [path.split("/")[1] for path in server.asked]
    assert set(folders) == {"ac", "cas"} and folders.count("ac") == 3


def test_it_is_not_written(machines, server, built):
    built.manifest((built.root / "tunekit.toml").read_text().replace(str(machines.remote), server.url))
    done = built.run("push")
    assert done.code == 2 and "error[remote-read-only]" in done.err


@pytest.mark.parametrize("how", ["cut", "500", "503", "429"])
def test_two_failures_are_tried_again(machines, server, how):
    server.faults = [["cas/", 2, how], ["ac/", 2, how]]
    yours = machines.make("yours", url=server.url)
    done = yours.build()
    assert done.one("summary")["executed"] == [] and done.err == ""


@pytest.mark.parametrize("how", ["cut", "endless"])
def test_an_object_that_never_comes_whole_is_made_anew(machines, server, pushed, how):
    folder = Path(pushed.run("path", "dataset:c").out.strip())  # of a result: parts may be larger, and nobody needs one
    name = os.path.basename(os.path.realpath(next(folder.rglob("*.arrow"))))
    server.faults = [[name, 99, how]]
    yours = machines.make("yours", url=server.url)
    done = yours.build("dataset:a", "dataset:b", "dataset:c")
    summary = done.one("summary")
    assert done.code == 0 and summary["executed"] and "warning[remote-poisoned]" in done.err
    assert f"cas/{name}" in done.err


@pytest.mark.parametrize(("how", "slug"), [("500", "remote-unreachable"), ("403", "remote-denied")])
def test_a_server_that_fails_is_left_alone(machines, server, how, slug):
    server.faults = [["/", 10_000, how]]
    yours = machines.make("yours", url=server.url)
    done = yours.build()
    assert done.ran == machines.labels and done.err.count("warning[") == 1 and f"warning[{slug}]" in done.err
    assert len(server.asked) <= 8 * 3
    done = machines.make("other", url=server.url).build("--require-remote")
    assert done.code == 1 and f"error[{slug}]" in done.err


def test_nobody_listens(machines):
    done = machines.make("yours", url="http://127.0.0.1:9").build()
    assert done.ran == machines.labels and "warning[remote-unreachable]" in done.err
