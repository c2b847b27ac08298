"""``/metrics`` of a watching process, on loopback."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Callable

from edgekit_runtime.capture.pipeline import Pipeline
from edgekit_runtime.capture.sinks import About
from edgekit_runtime.capture.sinks.outlet import Outlet
from edgekit_runtime.errors import UsageError
from edgekit_runtime.monitor.prometheus import CONTENT_TYPE, Family, exposition, of_model
from edgekit_runtime.monitor.recorder import Monitor


def page(pipeline: Pipeline, monitor: Monitor, outlets: list[Outlet], about: About) -> str:
    """Everything in Prometheus' text format."""
    labels = {"model": about.model, "digest": about.digest}
    counts = pipeline.counts
    samples = Family("edgekit_watch_samples_total", "counter", "Samples by what became of them.")
    for name in ("seen", "dropped", "skipped", "answered", "failed", "told"):
        samples.add(getattr(counts, name), {**labels, "state": name})
    sent = Family("edgekit_watch_messages_total", "counter", "Messages by sink and what became of them.")
    waiting = Family("edgekit_watch_messages_waiting", "gauge", "Messages that wait, by sink.")
    for outlet in outlets:
        for name in ("sent", "lost", "refused"):
            sent.add(getattr(outlet, name), {**labels, "sink": outlet.name, "state": name})
        waiting.add(outlet.waiting(), {**labels, "sink": outlet.name})
    connected = Family("edgekit_watch_source_up", "gauge", "1 while the source gives samples.")
    reopened = Family("edgekit_watch_source_reopened_total", "counter", "Times the source was opened again.")
    totals, _ = monitor.current()
    return exposition(
        [
            *of_model(totals, labels),
            samples,
            sent,
            waiting,
            connected.add(pipeline.connected, labels),
            reopened.add(counts.reopened, labels),
        ]
    )


class _Handler(BaseHTTPRequestHandler):
    text: Callable[[], str]

    def do_GET(self) -> None:
        if self.path != "/metrics":
            self.send_error(404)
            return
        body = type(self).text().encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are not worth a line each."""


def serve_metrics(port: int, text: Callable[[], str]) -> ThreadingHTTPServer:
    """Answer on 127.0.0.1 in a thread of its own until `shutdown`.

    Raises:
        UsageError: The port is taken.
    """
    handler = type("Handler", (_Handler,), {"text": staticmethod(text)})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UsageError(f"cannot listen on 127.0.0.1:{port} ({error.strerror or error})") from error
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
