"""Swaps, previous bundles, batches and stores, with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.serve.models import Opening
from edgekit_runtime.serve.restarts import Restarts

from ..conftest import double_manifest
from .conftest import alive, ask, first, row, standin_bundle
from .standin import ABORT, REFUSE, WAIT

INFER = "/v2/models/double/infer"
LOAD = "/v2/repository/models/double/load"


def test_the_previous_bundle_comes_back_from_a_file_that_has_no_name_any_more(bundle, serving):
    with serving([bundle], Opening(backoff=0.001, restarts=1)) as client:
        before = client("GET", "/v2/models/double").json["parameters"]["digest"]
        after = standin_bundle(bundle, 3.0)
        assert client("POST", LOAD).status == 200
        assert client("GET", "/v2/models/double").json["parameters"]["digest"] == after
        assert first(client("POST", INFER, row(1))) == 3
        assert client("GET", "/v2/health/ready").json["degraded"] == {}
        assert client("POST", INFER, row(ABORT)).status == 503
        assert first(client("POST", INFER, row(1))) == 2
        said = client("GET", "/v2/health/ready").json["degraded"]["double"]
        assert f"the previous bundle {before[:16]} runs" in said and after[:16] in said and "SIGABRT" in said
        assert client("GET", "/v2/models/double").json["parameters"]["digest"] == before
        # whoever loads again wants the new one, and starts with a clean slate
        assert client("POST", LOAD).status == 200
        assert client("GET", "/v2/health/ready").json["degraded"] == {}


def test_without_a_previous_bundle_the_model_is_unavailable_says_why_and_comes_back(bundle, tmp_path, serving):
    with serving([bundle], Opening(backoff=0.001, restarts=1)) as client:
        (model,) = client.app.repository
        (tmp_path / "broken").touch()
        os.kill(model.processes[0], 9)

        async def until(state: str):
            while model.state != state:
                await asyncio.sleep(0)

        client.run(asyncio.wait_for(until("UNAVAILABLE"), 60))
        said = client("GET", "/v2/health/ready")
        assert said.status == 503 and "the accelerator is not there" in said.json["reasons"]["double"]
        refused = client("POST", INFER, row(1))
        assert refused.status == 503 and "the accelerator is not there" in refused.json["error"]
        (tmp_path / "broken").unlink()
        client.run(asyncio.wait_for(until("READY"), 60))
        assert first(client("POST", INFER, row(1))) == 2


def test_a_swap_lets_the_old_process_finish_and_leaves_one(bundle, tmp_path, serving):
    with serving([bundle]) as client:
        (model,) = client.app.repository
        (old,) = model.processes

        async def swap():
            slow = asyncio.ensure_future(ask(client.app, "POST", INFER, row(WAIT)))
            pipe = await asyncio.to_thread((tmp_path / "pipe").open, "wb")
            behind = asyncio.ensure_future(ask(client.app, "POST", INFER, row(1)))
            standin_bundle(bundle, 5.0)
            assert (await ask(client.app, "POST", LOAD)).status == 200
            assert len(model.processes) == 2 and model.processes[0] == old
            waited = await behind
            pipe.close()
            finished = await slow
            while len(model.processes) > 1:
                await asyncio.sleep(0)
            return waited, finished

        waited, finished = client.run(asyncio.wait_for(swap(), 60))
        assert first(waited) == 5, "the new one answers what waited"
        assert first(finished) == 2 * WAIT, "the old one answers what it had"
        assert not alive(old)
        stats = client("GET", "/v2/models/double/stats").json["model_stats"][0]
        assert stats["inference_stats"]["success"]["count"] == 2


def test_a_bundle_that_is_not_fit_changes_nothing(bundle, serving):
    with serving([bundle]) as client:
        (model,) = client.app.repository
        before = model.processes
        standin_bundle(bundle, 2.0, expected=2.5)
        refused = client("POST", LOAD)
        assert refused.status == 422 and "self-test failed" in refused.json["error"]
        assert first(client("POST", INFER, row(1))) == 2 and model.processes[-1:] == before


def test_the_process_dies_with_a_server_that_is_killed(bundle):
    words = [sys.executable, "-c", f"""
import asyncio, os, sys
sys.path[:] = {sys.path!r}
sys.executable = {sys.executable!r}
from edgekit_runtime.serve.models import Repository
async def main():
    repository = Repository([{str(bundle)!r}])
    repository.start()
    await repository.loaded()
    print(*[p for m in repository for p in m.processes], flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    process = int(done.stdout)
    assert done.returncode == -9
    try:
        descriptor = os.pidfd_open(process)
    except (ProcessLookupError, AttributeError):
        pass
    else:
        import select

        assert select.select([descriptor], [], [], 30)[0], "it is still there"
        os.close(descriptor)


def test_requests_that_wait_are_run_as_one_and_answered_as_alone(bundle, tmp_path, serving):
    with serving([bundle], Opening(max_batch=4)) as client:

        async def crowd(numbers):
            slow = asyncio.ensure_future(ask(client.app, "POST", INFER, row(WAIT)))
            pipe = await asyncio.to_thread((tmp_path / "pipe").open, "wb")
            others = [asyncio.ensure_future(ask(client.app, "POST", INFER, row(n))) for n in numbers]
            (model,) = client.app.repository
            while model.waiting < len(numbers):
                await asyncio.sleep(0)
            pipe.close()
            await slow
            return await asyncio.gather(*others)

        assert [first(f) for f in client.run(crowd([1, 2, 3, 4, 5]))] == [2, 4, 6, 8, 10]
        stats = client("GET", "/v2/models/double/stats").json["model_stats"][0]
        assert {b["batch_size"]: b["compute_infer"]["count"] for b in stats["batch_stats"]} == {1: 2, 4: 1}
        assert (stats["inference_count"], stats["execution_count"]) == (6, 3)
        for part in ("queue", "compute_input", "compute_infer", "compute_output"):
            assert stats["inference_stats"][part]["count"] == 6 and stats["inference_stats"][part]["ns"] > 0
        # one that the model refuses is not the others' fault
        found = client.run(crowd([1, REFUSE, 3]))
        assert [f.status for f in found] == [200, 422, 200] and first(found[2]) == 6


def test_a_request_alone_waits_for_the_batch_delay_and_no_longer(bundle, serving):
    with serving([bundle], Opening(max_batch=4, batch_delay=0.02)) as client:

        async def crowd():
            return await asyncio.gather(*(ask(client.app, "POST", INFER, row(n)) for n in (1, 2, 3)))

        assert [first(f) for f in client.run(crowd())] == [2, 4, 6]
        assert first(client("POST", INFER, row(7))) == 14
        batches = client("GET", "/v2/models/double/stats").json["model_stats"][0]["batch_stats"]
        assert {b["batch_size"]: b["compute_infer"]["count"] for b in batches} == {1: 1, 3: 1}


def store_of(root: Path, slots: dict[str, tuple[str, str | None]], *bundles: Path) -> Path:
    (root / "bundles").mkdir(parents=True)
    (root / "slots").mkdir()
    for path in bundles:
        from edgekit_runtime.bundle import Bundle

        with Bundle.open(path) as opened:
            digest = opened.digest
        (root / "bundles" / f"{digest}.edgekit").write_bytes(path.read_bytes())
    for name, slot in slots.items():
        point(root, name, *slot)
    return root


def point(root: Path, name: str, current: str, previous: str | None = None) -> None:
    (root / "slots" / f"{name}.json").write_text(json.dumps({"current": current, "previous": previous}))


def test_a_store_is_served_and_falls_back_at_the_start(bundle, tmp_path, serving):
    good = standin_bundle(tmp_path / "good.edgekit", 2.0)
    unfit = standin_bundle(tmp_path / "unfit.edgekit", 3.0, expected=4.0)
    newer = standin_bundle(tmp_path / "newer.edgekit", 7.0)
    files = [tmp_path / f"{n}.edgekit" for n in ("good", "unfit", "newer")]
    for broken in (unfit, "0" * 64):  # one that fails its self-test, one that is not there
        store = store_of(tmp_path / f"store{broken[:4]}", {"double": (broken, good)}, *files)
        with serving([], store=store) as client:
            said = client("GET", "/v2/health/ready")
            assert said.status == 200 and f"the previous bundle {good[:16]} runs" in said.json["degraded"]["double"]
            assert first(client("POST", INFER, row(1))) == 2
            assert client("POST", LOAD).status == 422
            point(store, "double", newer, good)
            assert client("POST", LOAD).status == 200
            assert first(client("POST", INFER, row(1))) == 7
            assert client("GET", "/v2/health/ready").json["degraded"] == {}


def test_a_slot_that_appears_later_is_picked_up_and_one_that_points_nowhere_says_so(bundle, tmp_path, serving):
    digest = standin_bundle(tmp_path / "a.edgekit", 2.0)
    store = store_of(tmp_path / "store", {"lost": ("1" * 64, None)}, tmp_path / "a.edgekit")
    with serving([], store=store) as client:
        assert "cannot open bundle" in client("GET", "/v2/health/ready").json["reasons"]["lost"]
        assert client("GET", "/v2/models/lost").status == 503
        assert client("POST", LOAD).status == client("POST", INFER, row(1)).status == 404
        point(store, "double", digest)
        assert client("POST", LOAD).status == 200 and first(client("POST", INFER, row(1))) == 2
        assert client("POST", "/v2/repository/models/..%2Fdouble/load").status == 404


def test_restarts_wait_longer_each_time_and_are_forgotten_after_a_while():
    now = [0.0]
    restarts = Restarts(3, 600.0, 0.5, lambda: now[0])
    waits = []
    for _ in range(6):
        restarts.lost()
        waits.append((restarts.used_up, restarts.pause))
    assert waits[:3] == [(False, 0.0), (False, 0.5), (False, 1.0)]
    assert all(used for used, _ in waits[3:]) and waits[3][1] < waits[4][1] < waits[5][1] <= 600
    now[0] = 601.0
    assert not restarts.used_up and restarts.recent == 0


def test_a_bundle_of_another_name_and_one_that_is_none_are_refused(bundle, serving):
    with serving([bundle]) as client:
        manifest, members = double_manifest()
        write_bundle(bundle, manifest.replace(name="other"), members, overwrite=True)
        refused = client("POST", LOAD)
        assert refused.status == 422 and "holds model 'other' now" in refused.json["error"]
        bundle.write_bytes(b"none")
        assert client("POST", LOAD).status == 422
        assert first(client("POST", INFER, row(1))) == 2
