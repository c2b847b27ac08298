"""The metrics page: what it says, and that Prometheus itself reads it so."""

import json
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from edgekit_runtime.monitor.device import Device
from edgekit_runtime.monitor.outbox import Outbox
from edgekit_runtime.monitor.prometheus import CONTENT_TYPE, Family, exposition, of_device, of_model, of_outbox
from edgekit_runtime.monitor.recorder import Monitor

from .test_device import PI, device
from .test_recorder import Clock, manifest_of

HOSTILE = 'a "quoted"\\ name\nin two lines é'


def page(tmp_path) -> str:
    clock = Clock()
    monitor = Monitor(manifest_of(), seconds=60, clock=clock)
    generator = np.random.default_rng(2)
    for i in range(300):
        monitor.count(0.001 * (i + 1), raw=dict(zip("abc", generator.random(3))), scores=generator.random(4))
    for _ in range(7):
        monitor.failed()
    clock.now += 60
    (window,) = monitor.take()
    labels = {"model": HOSTILE}
    outbox = Outbox(tmp_path / "o.db", "d", boot="b")
    outbox.put([("state", b"x")])
    return exposition(
        [
            *of_model(monitor.current()[0], labels, monitor.drift(window)),
            *of_device(device(tmp_path, PI).read(), {}),
            *of_outbox(outbox, {}),
        ]
    )


def test_the_page_holds_what_was_counted(tmp_path):
    lines = page(tmp_path).splitlines()
    model = r'model="a \"quoted\"\\ name\nin two lines é"'
    assert f"edgekit_requests_total{{{model}}} 307" in lines
    assert f"edgekit_errors_total{{{model}}} 7" in lines
    assert f'edgekit_latency_seconds_bucket{{{model},le="0.25"}} 249' in lines
    assert f'edgekit_latency_seconds_bucket{{{model},le="+Inf"}} 300' in lines
    assert f"edgekit_latency_seconds_count{{{model}}} 300" in lines
    assert 'edgekit_device_temperature_celsius{zone="cpu-thermal"} 61.35' in lines
    assert 'edgekit_device_throttling{flag="throttled"} 1' in lines
    assert 'edgekit_device_absent{what="gpu"} 1' in lines
    assert 'edgekit_outbox_waiting{priority="state"} 1' in lines
    assert not [line for line in lines if line.startswith("edgekit_device_gpu")]
    assert sum("edgekit_drift{" in line for line in lines) == 7 * 3


def test_names_that_prometheus_refuses_are_refused_and_families_are_joined():
    for wrong in ("1st", "a-b", ""):
        with pytest.raises(ValueError, match="not a metric name"):
            exposition([Family(wrong, "gauge", "")])
        with pytest.raises(ValueError, match="not a label name"):
            exposition([Family("a", "gauge", "").add(1, {wrong: "x"})])
    with pytest.raises(ValueError, match="a gauge and a counter"):
        exposition([Family("a", "gauge", ""), Family("a", "counter", "")])
    two = [Family("a", "gauge", "about").add(v, {"m": m}) for m, v in (("1", float("nan")), ("2", float("-inf")))]
    assert exposition(two) == '# HELP a about\n# TYPE a gauge\na{m="1"} NaN\na{m="2"} -Inf\n'
    assert exposition([Family("a", "gauge", "").add(None, {})]) == ""


@pytest.mark.tool("promtool")
def test_promtool_finds_nothing_to_say(tmp_path):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.tool("prometheus")
def test_prometheus_scrapes_it(tmp_path):
    text = page(tmp_path).encode()

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "scrape_configs:\n- job_name: edge\n  scrape_interval: 1s\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{server.server_port}']\n"
    )
    child = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
         f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def ask(query):
        url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]["result"]

    try:
        found: list = []
        deadline = time.monotonic() + 60
        while not found and time.monotonic() < deadline:
            time.sleep(0.2)
            try:
                found = ask("edgekit_requests_total")
            except OSError:  # not up yet
                assert child.poll() is None
        assert [(r["metric"]["model"], r["value"][1]) for r in found] == [(HOSTILE, "307")]
        assert ask("up")[0]["value"][1] == "1"
        assert ask('edgekit_latency_seconds_bucket{le="0.25"}')[0]["value"][1] == "249"
        assert len(ask("edgekit_drift")) == 21
        (median,) = ask("histogram_quantile(0.5, edgekit_latency_seconds_bucket)")
        assert float(median["value"][1]) == pytest.approx(0.15, rel=0.1)
    finally:
        child.terminate()
        child.wait()
        server.shutdown()
        server.server_close()


def test_a_real_device_can_be_exposed():
    assert "edgekit_device_" in exposition(of_device(Device().read(), {"device": "here"}))
