"""What models see and say, counted in their processes and told by the server."""

from __future__ import annotations

import json
import os

import numpy as np

from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.monitor.device import Device
from edgekit_runtime.monitor.window import Window
from edgekit_runtime.serve.models import Opening

from ..conftest import X, double_manifest
from .conftest import row, standin_bundle
from .standin import REFUSE

INFER = "/v2/models/double/infer"
LOAD = "/v2/repository/models/double/load"
WINDOWS = "/v2/models/double/windows"
LONG = Opening(monitor=3600.0, backoff=0.01)


def metrics(client) -> dict[str, float]:
    lines = client("GET", "/metrics").body.decode().splitlines()
    return {n: float(v) for n, v in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def calls(client, digest: str) -> float:
    return metrics(client).get(f'edgekit_calls_total{{model="double",digest="{digest[:16]}"}}', 0)


def test_calls_are_counted_by_bundle_and_never_go_backwards(bundle, serving):
    with serving([bundle], LONG) as client:
        (model,) = client.app.repository
        first = model.source.digest
        for n in (1, 2, REFUSE):
            client("POST", INFER, row(n))
        assert calls(client, first) == 3
        assert metrics(client)[f'edgekit_call_errors_total{{model="double",digest="{first[:16]}"}}'] == 1
        os.kill(model.processes[0], 9)
        client("POST", INFER, row(1))
        assert calls(client, first) == 4
        second = standin_bundle(bundle, 3.0)
        assert client("POST", LOAD).status == 200
        client("POST", INFER, row(1))
        assert (calls(client, first), calls(client, second)) == (4, 1)
        found = metrics(client)
        assert found['edgekit_requests_total{model="double",status="200"}'] == 4
        assert found['edgekit_request_seconds_count{model="double"}'] == 5


def test_closed_windows_are_handed_out_until_they_have_arrived_and_outlive_their_process(bundle, serving):
    with serving([bundle], LONG) as client:
        (model,) = client.app.repository
        digest, manifest = model.source.digest, model.manifest
        client("POST", INFER, row(1))
        empty = client("GET", WINDOWS).json
        assert empty["windows"] == [] and empty["lost"] == 0
        os.kill(model.processes[0], 9)  # what it had told stays
        client("POST", INFER, row(1))
        client("POST", INFER, row(REFUSE))
        standin_bundle(bundle, 3.0)
        assert client("POST", LOAD).status == 200
        client.run(_one_process(model))
        found = client("GET", f"{WINDOWS}?since={empty['cursor']}").json
        assert [w["digest"] for w in found["windows"]] == [digest, digest]
        windows = [Window.from_plain(w["window"], manifest) for w in found["windows"]]
        assert [(w.requests, w.errors, w.latency.count) for w in windows] == [(1, 0, 1), (2, 1, 1)]
        assert all(w.ended is not None and w.ended >= w.begun for w in windows)
        # until it is said that they have arrived they are told again; another server's cursor says nothing
        for since in ("", "?since=", "?since=another-1", f"?since={empty['cursor']}"):
            assert client("GET", WINDOWS + since).json == found
        assert client("GET", f"{WINDOWS}?since={found['cursor']}").json["windows"] == []
        assert client("GET", WINDOWS).json["windows"] == []


async def _one_process(model):
    import asyncio

    while len(model.processes) > 1:
        await asyncio.sleep(0)


def test_a_window_that_is_over_is_closed_without_further_requests(bundle, serving):
    with serving([bundle], Opening(monitor=0.001)) as client:
        client("POST", INFER, row(1))
        found = []
        while not found:  # a millisecond may not be over yet
            found = client("GET", WINDOWS).json["windows"]
        assert [w["window"]["requests"] for w in found] == [1]


def test_the_devices_health_is_told_and_without_a_monitor_only_requests_are_counted(bundle, serving):
    with serving([bundle], Opening(monitor=None), device=Device()) as client:
        client("POST", INFER, row(1))
        found = metrics(client)
        assert found["edgekit_device_memory_bytes"] > 0
        assert found['edgekit_requests_total{model="double",status="200"}'] == 1
        assert not [n for n in found if n.startswith("edgekit_calls_total")]
        assert client("GET", WINDOWS).json["windows"] == []


def test_scores_of_tensors_and_of_raw_samples_are_sketched_and_their_drift_is_told(tmp_path, serving, needs_backend):
    from edgekit_runtime.manifest import DataInfo, DriftLimit, Monitoring, Quantiles

    needs_backend("litert")
    edges = tuple(np.linspace(0.0, 1.0, 33).tolist())
    manifest, members = double_manifest()
    reference = {f"y{i}": Quantiles(edges, limits=(DriftLimit(1, 0.7, 0.3, 0.3),)) for i in range(4)}
    write_bundle(
        tmp_path / "a.edgekit",
        manifest.replace(monitoring=Monitoring(outputs=reference), data=(DataInfo("reference", 500, "0" * 64),)),
        members,
    )
    body = json.dumps({"instances": X.tolist()}).encode()
    with serving([tmp_path / "a.edgekit"], Opening(monitor=0.3)) as client:
        for _ in range(50):
            assert client("POST", "/v1/models/double:predict", body).status == 200
        headers = {"Content-Type": "application/json"}
        assert (
            client("POST", "/v2/models/double/predict", json.dumps(X[0].tolist()).encode(), headers=headers).status
            == 200
        )
        (model,) = client.app.repository
        client.run(model.close(30))
        found = client("GET", WINDOWS).json["windows"]
        assert any(w["drift"].get("outputs.y0", "").startswith("psi ") for w in found)
        windows = [
            Window.from_plain(w["window"], manifest.replace(monitoring=Monitoring(outputs=reference))) for w in found
        ]
        assert sum(w.requests for w in windows) == 101
        assert sum(w.outputs["y0"].over for w in windows) == 51 and not sum(w.unfit for w in windows)
        name = 'edgekit_drift{model="double",digest="%s",side="output",feature="y0",statistic="ks"}'
        assert metrics(client)[name % model.source.digest[:16]] > 0.4
