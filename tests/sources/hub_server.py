"""A hub on the loopback interface: repositories with commits, branches, tags and large files, and its failures.

It speaks the part of the hub's protocol that huggingface_hub's own client uses to look up, download and commit (large
files by git's own protocol for them, not by xet).
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
from urllib.parse import unquote, urlsplit

from loopback import Loopback

LARGE = (".safetensors", ".parquet", ".bin", ".gguf")  # what `git lfs track` would name


class Repo:
    """`commits`: sha → path → bytes. `refs`: branch or tag → sha."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.commits: dict[str, dict[str, bytes]] = {}
        self.refs: dict[str, str] = {}
        self.gated = False

    def commit(self, files: dict[str, str | bytes], *refs: str) -> str:
        body = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
        sha = hashlib.sha1(f"{len(self.commits)}{sorted(body.items())}".encode()).hexdigest()
        self.commits[sha] = body
        for ref in ("main", *refs):
            self.refs[ref] = sha
        return sha


def git_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class HubServer(Loopback):
    """`add("datasets/org/name")`. `failures`: statuses for the next requests whose path holds the key, with headers."""

    protocol = "HTTP/1.1"

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, str] = {}  # old name → new name, both as in `repos`
        self.failures: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.replaced: dict[str, bytes] = {}  # path → what is served in its place, under the same commit
        self.lies: dict[str, dict[str, object]] = {}  # path → what its entry in a listing says instead
        self.cuts = 0  # how many of the next downloads break in the middle
        self.token = ""  # what private repositories ask for
        self.private: set[str] = set()
        self.page = 1000  # entries in one page of a listing
        self.requests: list[tuple[str, str, str]] = []  # method, path, Range
        self.tokens: list[str] = []
        self.waits: list[float] = []  # what the client waited, where a test writes it down
        self.uploaded: dict[str, bytes] = {}  # sha256 → large files that were sent
        self.created: list[dict[str, object]] = []  # what was asked for with each new repository
        self.broken: dict[str, bytes] = {}  # path → what a commit keeps in place of what was sent
        super().__init__()

    def add(self, name: str) -> Repo:
        self.repos[name] = Repo(name)
        return self.repos[name]

    # -- answering ---------------------------------------------------------------------------

    def serve(self, request: http.server.BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        path = url.path
        self.requests.append((request.command, unquote(path), request.headers.get("Range", "")))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.tokens += [token] if any(name in path for name in self.repos) else []
        for key, statuses in self.failures.items():
            if key in f"{request.command} {unquote(path)}" and statuses:
                status, headers = statuses.pop(0)
                return self._answer(request, status, b"no", headers)
        if request.command in ("POST", "PUT"):
            return self._write(request, unquote(path), token)
        if path.startswith("/api/"):
            return self._api(request, path.removeprefix("/api/"), url.query, token)
        return self._resolve(request, path.removeprefix("/"), token)

    def _repo(self, request: http.server.BaseHTTPRequestHandler, name: str, token: str) -> Repo | None:
        repo = self.repos.get(name)
        if repo is None or (name in self.private and token != self.token):
            error = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            self._answer(request, 404 if token else 401, b"", error)
            return None
        return repo

    def _api(self, request: http.server.BaseHTTPRequestHandler, path: str, query: str, token: str) -> None:
        if path.count("/") < 2:  # what the client asks of a hub beside the protocol
            return self._answer(request, 404, b"", {})
        kind, org, name, *rest = path.split("/")
        full = ("datasets/" if kind == "datasets" else "") + f"{org}/{name}"
        if full in self.moved:
            new = "/".join(["/api", kind, self.moved[full].removeprefix("datasets/"), *rest])
            return self._answer(request, 307, b"", {"Location": new})
        repo = self._repo(request, full, token)
        if repo is None:
            return None
        revision = unquote(rest[1]) if len(rest) > 1 else "main"
        sha = repo.refs.get(revision, revision)
        if sha not in repo.commits:
            error = {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}
            return self._answer(request, 404, b"", error)
        if rest[:1] == ["tree"]:
            return self._tree(request, repo.commits[sha], query)
        body = {"id": repo.name.removeprefix("datasets/"), "sha": sha, "private": False, "tags": [], "siblings": []}
        return self._answer(request, 200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    # -- writing -----------------------------------------------------------------------------

    def _write(self, request: http.server.BaseHTTPRequestHandler, path: str, token: str) -> None:
        data = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        if path.startswith("/large/"):  # a signed address: no token
            name = path.removeprefix("/large/")
            good = hashlib.sha256(data).hexdigest() == name
            self.uploaded |= {name: data} if good else {}
            return self._answer(request, 200 if good else 400, b"", {})
        if not self.token or token != self.token:
            return self._answer(request, 401, b"", {"X-Error-Message": "Invalid credentials"})
        if path == "/api/validate-yaml":
            return self._json(request, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(request, json.loads(data))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(request, json.loads(data))
        name, _, rest = path.removeprefix("/api/models/").rpartition("/")
        name, _, verb = name.rpartition("/")
        assert rest == "main"
        repo = self.repos[name]
        if verb == "preupload":
            files = [{"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular",
                      "shouldIgnore": False} for f in json.loads(data)["files"]]  # fmt: skip
            return self._json(request, {"files": files})
        assert verb == "commit"
        return self._commit(request, repo, [json.loads(line) for line in data.splitlines()])

    def _json(self, request: http.server.BaseHTTPRequestHandler, body: object) -> None:
        self._answer(request, 200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _create(self, request: http.server.BaseHTTPRequestHandler, body: dict[str, object]) -> None:
        name = f"{body['organization']}/{body['name']}"
        self.created.append(body)
        self.add(name).commit({".gitattributes": "*.safetensors filter=lfs"})
        if body.get("visibility") == "private":
            self.private.add(name)
        self._json(request, {"url": f"{self.base}/{name}", "name": name})

    def _batch(self, request: http.server.BaseHTTPRequestHandler, body: dict[str, object]) -> None:
        objects = []
        for wanted in body["objects"]:
            actions = {"upload": {"href": f"{self.base}/large/{wanted['oid']}", "header": {}}}
            objects.append(wanted | ({} if wanted["oid"] in self.uploaded else {"actions": actions}))
        self._json(request, {"transfer": "basic", "objects": objects})

    def _commit(self, request: http.server.BaseHTTPRequestHandler, repo: Repo, lines: list[dict]) -> None:
        head, *operations = lines
        parent = head["value"].get("parentCommit")
        if parent and parent != repo.refs["main"]:
            return self._answer(request, 412, b"", {"X-Error-Message": "A commit has happened since"})
        files = dict(repo.commits[repo.refs["main"]])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                del files[value["path"]]
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.uploaded[value["oid"]]
            else:
                assert operation["key"] == "file"
                files[value["path"]] = base64.b64decode(value["content"])
            files |= {p: d for p, d in self.broken.items() if p == value["path"]}
        sha = repo.commit(files)
        self._json(request, {"success": True, "commitOid": sha, "commitUrl": f"{self.base}/{repo.name}/commit/{sha}"})

    # -- reading -----------------------------------------------------------------------------

    def _tree(self, request: http.server.BaseHTTPRequestHandler, files: dict[str, bytes], query: str) -> None:
        entries: list[dict[str, object]] = [
            {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            for folder in sorted({p.rpartition("/")[0] for p in files} - {""})
        ]
        for path, data in sorted(files.items()):
            entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": git_name(data)}
            if path.endswith(LARGE):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
                entry["oid"] = "1" * 40  # git's name of the pointer
            entries.append(entry | self.lies.get(path, {}))
        start = int(dict(p.split("=") for p in query.split("&") if "=" in p).get("cursor", "0"))
        headers = {"Content-Type": "application/json"}
        if start + self.page < len(entries):
            place = f"{self.base}{urlsplit(request.path).path}?recursive=true&cursor={start + self.page}"
            headers["Link"] = f'<{place}>; rel="next"'
        self._answer(request, 200, json.dumps(entries[start : start + self.page]).encode(), headers)

    def _resolve(self, request: http.server.BaseHTTPRequestHandler, path: str, token: str) -> None:
        name, _, rest = path.partition("/resolve/")
        if name in self.moved:
            return self._answer(request, 307, b"", {"Location": f"/{self.moved[name]}/resolve/{rest}"})
        repo = self._repo(request, name, token)
        if repo is None:
            return None
        revision, _, file = rest.partition("/")
        sha, file = repo.refs.get(unquote(revision), revision), unquote(file)
        if repo.gated:
            error = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            return self._answer(request, 403, b"", error)
        if sha not in repo.commits or file not in repo.commits[sha]:
            code = "EntryNotFound" if sha in repo.commits else "RevisionNotFound"
            return self._answer(request, 404, b"", {"X-Error-Code": code})
        true = repo.commits[sha][file]
        data = self.replaced.get(file, true)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{git_name(true)}"', "Accept-Ranges": "bytes"}
        if file.endswith(LARGE):
            headers["X-Linked-Etag"] = f'"{hashlib.sha256(true).hexdigest()}"'
            headers["X-Linked-Size"] = str(len(data))
        return self._answer(request, 200, data, headers)

    def _answer(
        self, request: http.server.BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str]
    ) -> None:
        wanted = request.headers.get("Range", "")
        if status == 200 and wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            status, data = 206, data[start:]
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command == "HEAD":
            return
        if self.cuts and "/resolve/" in request.path and status in (200, 206):
            self.cuts -= 1
            data = data[: len(data) // 2]
            request.close_connection = True
        request.wfile.write(data)
        request.wfile.flush()
