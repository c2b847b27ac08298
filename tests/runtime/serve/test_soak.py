"""The short form of benchmarks/soak.py: swaps under load, in this process and the models' own."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from edgekit_runtime.serve.models import Opening

from .conftest import ask, row, standin_bundle

SWAPS = 4


def memory(process: int) -> int:
    """Bytes in RAM that are a process's own."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def test_swaps_under_load_fail_no_request_and_leave_no_memory_behind(tmp_path, serving, plugin):
    path = tmp_path / "double.edgekit"
    standin_bundle(path, 2.0)
    with serving([path], Opening(monitor=3600.0)) as client:
        (model,) = client.app.repository

        async def soak():
            over = asyncio.Event()
            scales: list[float] = []
            sizes: list[tuple[int, int]] = []

            async def load():
                mine = []
                while not over.is_set():
                    found = await ask(client.app, "POST", "/v2/models/double/infer", row(1))
                    assert found.status == 200, found.body
                    mine.append(found.json["outputs"][0]["data"][0])
                    scales.append(mine[-1])
                assert mine == sorted(mine), "an old process was asked after the new one had taken over"

            crowd = [asyncio.ensure_future(load()) for _ in range(3)]
            for turn in range(SWAPS):
                standin_bundle(path, 3.0 + turn)
                assert (await ask(client.app, "POST", "/v2/repository/models/double/load")).status == 200
                seen = len(scales)
                while len(model.processes) > 1 or len(scales) < seen + 10:
                    await asyncio.sleep(0)
                sizes.append((memory(os.getpid()), memory(model.processes[0])))
            over.set()
            await asyncio.gather(*crowd)
            return scales, sizes

        scales, sizes = client.run(asyncio.wait_for(soak(), 120))
        assert set(scales) == {2.0 + turn for turn in range(SWAPS + 1)}
        server, child = zip(*sizes)
        assert server[-1] < server[0] + 8 * 2**20 and child[-1] < child[0] + 8 * 2**20
        stats = client("GET", "/v2/models/double/stats").json["model_stats"][0]
        assert (
            stats["inference_stats"]["success"]["count"] == len(scales)
            and not stats["inference_stats"]["fail"]["count"]
        )
        descriptors = [str(p.readlink()) for p in Path("/proc/self/fd").iterdir() if p.is_symlink()]
        assert sum(str(tmp_path) in d for d in descriptors) <= 3, "the bundle, the one before it, and the plug-in"
