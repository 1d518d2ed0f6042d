"""A fake W&B server on the loopback interface: it stores what runs send, refuses, or never answers."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from wandb.util import get_core_path

ENTITY = "tester"


def read_back(directory: Path | None) -> list[dict[str, Any]]:
    """Reads the records of an offline run: `wandb leet inspect --json DIRECTORY`, without its start-up."""
    assert directory is not None
    (file,) = directory.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "-no-observability", "-json", "-run-file", file]
    lines, deadline = [], time.monotonic() + 5
    while not lines and time.monotonic() < deadline:  # on a busy machine it once saw an empty file
        lines = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.splitlines()
    return [json.loads(line) for line in lines]


def of_type(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Returns the records of one kind."""
    return [record[kind] for record in records if record["type"] == kind]


@dataclass
class Remote:
    """A run as the server knows it.

    Attributes:
        fields: Of the run: group, tags, config (without W&B's own), and the like.
        history: Its rows, in the order in which they would be drawn.
        summary: Its summary.
        exit_code: None until it is finished.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def steps(self) -> list[int]:
        """Step of each row."""
        return [row["_step"] for row in self.history]


class WandbServer:
    """Answers the requests of W&B's process.

    Attributes:
        behaves: "keeps" what it is sent, "refuses" everything, or "hangs": it accepts and never answers.
        runs: What was sent, by the id of the run.
        uploads: Uploaded files by path, such as "/ARTIFACT/FILE".
        committed: Artifacts that were uploaded to the end.
        asked: Names of the GraphQL operations, in order.
    """

    def __init__(self, behaves: Literal["keeps", "refuses", "hangs"] = "keeps") -> None:
        self.behaves = behaves
        self.runs: dict[str, Remote] = {}
        self.committed: list[str] = []
        self.uploads: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def __enter__(self) -> WandbServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the server: nothing listens any more."""
        if not self.closed.is_set():
            self.closed.set()
            self._http.shutdown()
            self._http.server_close()

    def answer(self, path: str, body: bytes) -> Any:
        """Returns the JSON of the answer; `path` without its host."""
        with self._lock:
            if path == "/graphql":
                query = json.loads(body)
                name = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])[1]  # pyright: ignore
                self.asked.append(name)
                ask = getattr(self, f"_{name}", None)
                return {"data": ask(query.get("variables", {})) if ask else {}}
            if path.endswith("/file_stream"):
                return self._stream(path.split("/")[-2], json.loads(body))
            self.uploads[path] = body
            return {}

    def _Viewer(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        del asked
        return {"viewer": {**_entity(), "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    def _ArtifactType(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        del asked
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        artifact = {"id": asked["input"]["artifactCollectionName"], "state": "PENDING"}
        return {"createArtifact": {"artifact": {**artifact, "artifactSequence": {"latestArtifact": None}}}}

    def _CreateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        file = {"id": "file", "uploadUrl": f"{self.url}/manifest", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": asked["artifactID"], "file": file}}}

    def _CreateArtifactFiles(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        nodes = [
            {
                "uploadUrl": f"{self.url}/{file['artifactID']}/{file['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "storagePath": None,
                "artifact": {"id": file["artifactID"]},
            }
            for file in asked["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _CommitArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.committed.append(asked["artifactID"])
        return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": "digest"}}}

    def _RunResumeStatus(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.runs.get(asked["name"])
        bucket = run and {
            "id": asked["name"],
            "name": asked["name"],
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.fields.get("displayName"),
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "config": run.fields.get("config") or "{}",
            "tags": run.fields.get("tags") or [],
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {"id": "project", "name": asked["project"], "entity": _entity(), "bucket": bucket}}

    def _UpsertBucket(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        inserted = asked["name"] not in self.runs
        run = self.runs.setdefault(asked["name"], Remote())
        run.fields |= {key: value for key, value in asked.items() if value is not None}
        project = {"id": "project", "name": asked["project"] or "project", "entity": _entity()}
        bucket = {
            "id": asked["name"],
            "name": asked["name"],
            "displayName": run.fields.get("displayName"),
            "description": None,
            "config": run.fields.get("config"),
            "sweepName": run.fields.get("sweep"),
            "project": project,
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _CreateRunFiles(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        files = [{"name": name, "uploadUrl": f"{self.url}/{asked['run']}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def _stream(self, run_id: str, sent: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[run_id]
        for name, file in sent.get("files", {}).items():
            lines = [json.loads(line) for line in file["content"] if name.endswith(("history.jsonl", "summary.json"))]
            if name.endswith("history.jsonl"):
                run.history[file["offset"] :] = lines
            elif lines:
                run.summary = lines[-1]
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")
        return {"exitcode": None, "limits": {}}


def _entity() -> dict[str, str]:
    return {"id": ENTITY, "name": ENTITY}


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if server.behaves == "hangs":
                server.closed.wait()
                return
            if server.behaves == "refuses":
                self.send_error(403)
                return
            answer = json.dumps(server.answer(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST  # noqa: N815

        def handle(self) -> None:
            with suppress(ConnectionError):  # W&B's process hangs up without ceremony
                super().handle()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    return Handler
