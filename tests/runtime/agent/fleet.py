"""A fleet server of the protocol's messages alone, on the standard library's HTTP server; it may misbehave when told to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from edgekit_runtime.agent import protocol as p

TOKEN = "enrolment-token"  # noqa: S105


class Fleet:
    """What a server would store, in memory.

    Attributes:
        files: Digest to the bundle's file.
        job: What the device is ordered to do.
        polls: Every poll, as it came.
        reports: Report by (boot, sequence).
        asked: ``(path, Range)`` of every download.
        answer: Called before a request is answered, with the handler; True where it answered itself.
    """

    def __init__(self) -> None:
        self.devices: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.job: p.Job | None = None
        self.cancel: tuple[str, ...] = ()
        self.polls: list[p.Poll] = []
        self.reports: dict[tuple[str, int], p.Report] = {}
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], bool] = lambda handler: False
        self.changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def order(self, number: str, slot: str, content: bytes, digest: str, **more) -> p.Job:
        """Put a file up and order the device to take it."""
        self.files[digest] = content
        sha = more.pop("sha256", hashlib.sha256(content).hexdigest())
        self.job = p.Job(number, slot, digest, more.pop("size", len(content)), sha, **more)
        return self.job

    def wait(self, condition: Callable[[], object], timeout: float = 300.0) -> None:
        """Until something is so; looked at after every request."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), f"not within {timeout:g} s; polls: {self.polls[-2:]}"

    def state(self, number: str) -> str:
        """What the device said last of a job."""
        for poll in reversed(self.polls):
            for job in poll.jobs:
                if job.job == number:
                    return job.state
        return ""

    def detail(self, number: str) -> str:
        """And why."""
        found = [j.detail for poll in self.polls for j in poll.jobs if j.job == number]
        return found[-1] if found else ""

    def states(self, number: str) -> list[str]:
        """Every state of a job that was reported, in order, once each."""
        bodies = [r.body for _, r in sorted(self.reports.items(), key=lambda r: r[0][1])]
        return [b["state"] for b in bodies if b.get("kind") == "job" and b["job"] == number]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fleet = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words) -> None: ...

            def say(self, status: int, content: bytes, **head: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                for name, value in head.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(content)

            def refuse(self, status: int, sentence: str) -> None:
                self.say(status, json.dumps({"error": sentence}).encode())

            def do_GET(self) -> None:
                span = self.headers.get("Range") or ""
                fleet.asked.append((self.path, span))
                if fleet.answer(self):
                    return
                content = fleet.files.get(self.path.rpartition("/")[2])
                if content is None or not self.known():
                    self.refuse(404, "there is no such bundle")
                    return
                start = int(span.removeprefix("bytes=").removesuffix("-") or 0)
                where = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.say(206 if span else 200, content[start:], Content_Range=where)

            def known(self) -> bool:
                device, _, secret = self.headers["Authorization"].removeprefix("Bearer ").partition(":")
                return fleet.devices.get(device) == hashlib.sha256(secret.encode()).hexdigest()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if fleet.answer(self):
                    return
                with fleet.changed:
                    self.answer(body)
                    fleet.changed.notify_all()

            def answer(self, body: bytes) -> None:
                if self.path == "/api/v1/enroll":
                    asked = p.from_json(p.Enroll, body)
                    if self.headers["Authorization"] != f"Bearer {TOKEN}":
                        self.refuse(401, "the token is not right")
                    elif fleet.devices.setdefault(asked.device, asked.secret_sha256) != asked.secret_sha256:
                        self.refuse(409, f"another device is called {asked.device}")
                    else:
                        self.say(200, p.to_json(p.Enrolled(asked.device, 0.1)))
                elif not self.known():
                    self.refuse(401, "the device is not known")
                elif self.path == "/api/v1/poll":
                    poll = p.from_json(p.Poll, body)
                    fleet.polls.append(poll)
                    ended = tuple(j.job for j in poll.jobs if j.state in p.ENDED)
                    self.say(200, p.to_json(p.Orders(0.0, 0.1, fleet.job, fleet.cancel, ended)))
                else:
                    reports = p.from_json(p.Reports, body).reports
                    highest: dict[str, int] = {}
                    for report in reports:
                        fleet.reports.setdefault((report.boot, report.sequence), report)
                        highest[report.boot] = max(highest.get(report.boot, 0), report.sequence)
                    self.say(200, p.to_json(p.Received(highest)))

        return Handler
