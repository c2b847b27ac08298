"""Real processes that die and hang: nobody else's request fails, and what is amiss is said. Quick enough for boards."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from edgekit_runtime.serve.models import Opening

from .conftest import alive, ask, first, row
from .standin import ABORT, HANG

INFER = "/v2/models/double/infer"
QUICK = Opening(backoff=0.01)


def test_a_model_is_a_process_of_its_own_and_the_server_knows_no_numpy(bundle, serving):
    program = (
        "import sys; import edgekit_runtime.serve.app, edgekit_runtime.serve.server, edgekit_runtime.cli; "
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode == 0  # fmt: skip
    with serving([bundle]) as client:
        (model,) = client.app.repository
        (process,) = model.processes
        assert process != os.getpid() and alive(process)
        assert client("POST", "/v2/repository/models/double/unload").status == 200
        client.run(model.close(30))
        assert not alive(process)


def test_a_request_that_kills_is_tried_once_more_and_the_others_are_answered(bundle, serving):
    with serving([bundle], QUICK) as client:
        (model,) = client.app.repository

        async def crowd():
            return await asyncio.gather(*(ask(client.app, "POST", INFER, row(n)) for n in (1, ABORT, 2, 3)))

        good, bad, *rest = client.run(crowd())
        assert [first(f) for f in (good, *rest)] == [2, 4, 6]
        assert (
            bad.status == 503 and "died twice on this request (its process was ended by SIGABRT)" in bad.json["error"]
        )
        said = client("GET", "/v2/health/ready")
        assert said.status == 200 and "started again 2 times" in said.json["degraded"]["double"]
        lines = client("GET", "/metrics").body.decode().splitlines()
        assert 'edgekit_degraded{model="double"} 1' in lines
        assert 'edgekit_restarts_total{model="double"} 2' in lines
        assert len(model.processes) == 1


def test_a_process_killed_between_requests_is_noticed_and_no_request_fails(bundle, serving):
    with serving([bundle], QUICK) as client:
        (model,) = client.app.repository
        (before,) = model.processes
        os.kill(before, 9)
        assert first(client("POST", INFER, row(4))) == 8
        assert model.processes != [before] and "SIGKILL" in client("GET", "/v2/health/ready").json["degraded"]["double"]


def test_an_inference_that_hangs_in_c_is_ended_and_told(bundle, serving):
    with serving([bundle], Opening(stuck_after=0.3)) as client:

        async def crowd():
            return await asyncio.gather(*(ask(client.app, "POST", INFER, row(n)) for n in (HANG, 5)))

        stuck, other = client.run(crowd())
        assert stuck.status == 504 and "did not answer within 0.3 seconds" in stuck.json["error"]
        assert first(other) == 10
        assert client("GET", "/v2/models/double/ready").status == 200
