"""What monitoring costs a prediction, and what the resident agent's modules cost in memory.

python benchmarks/monitoring.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from side_by_side import side_by_side

from edgekit.evaluate.reference import quantiles
from edgekit_runtime.backends import backend
from edgekit_runtime.manifest import (
    SCHEMA,
    Binding,
    ConfidenceBin,
    DataInfo,
    Manifest,
    Monitoring,
    SourceInfo,
    SpecificationData,
    TensorInfo,
    Variant,
)
from edgekit_runtime.monitor.drift import compare
from edgekit_runtime.monitor.outbox import Outbox
from edgekit_runtime.monitor.recorder import Monitor, Watched
from edgekit_runtime.monitor.sketch import Sketch
from edgekit_runtime.monitor.watching import MOST, OTHERS
from edgekit_runtime.runtime import Runtime

EVEN = quantiles([i / 500 for i in range(500)])
TABLE = tuple(ConfidenceBin(i / 10, (i + 1) / 10, 50, i / 10) for i in range(10))
PICTURE = ("brightness", "contrast", "sharpness")
AGENT = """
import edgekit_runtime.monitor.device, edgekit_runtime.monitor.prometheus, edgekit_runtime.monitor.outbox, sys
assert "numpy" not in sys.modules
print([line for line in open("/proc/self/status") if line.startswith("VmRSS")][0].split()[1])
"""


def row_model() -> tuple[Runtime, object]:
    """Four columns, four classes, on LiteRT: what a call costs besides is as small as it gets."""
    labels = ("a", "b", "c", "d")
    names = [f"column {i}" for i in range(4)]
    chosen = backend("litert")
    variant = Variant(
        "v", "tflite", "fp32", "m", (Binding("x", "x", (1, 4)),), (Binding("y", "y", (1, 4)),), ("litert",)
    )
    manifest = Manifest(
        SCHEMA, "m", "generic-cpu", "classification", (TensorInfo("x", (1, 4)),), (TensorInfo("y", (1, 4)),),
        SpecificationData("table", ({"step": "columns", "names": names},), ({"step": "softmax"}, {"step": "top_k"})),
        (variant,), "v", SourceInfo("onnx", "m", "0"), labels=labels, data=(DataInfo("reference", 500, "0" * 64),),
        monitoring=Monitoring(dict.fromkeys(names, EVEN), dict.fromkeys(labels, EVEN), confidence=TABLE),
    )  # fmt: skip
    runtime = Runtime(manifest, variant, chosen, chosen.open(chosen.probe_model(), threads=1))
    return runtime, dict(zip(names, (0.1, 0.4, 0.6, 0.9), strict=True))


def main() -> None:
    runtime, row = row_model()
    watched = Watched(runtime)
    pair = side_by_side(lambda: watched(row), lambda: runtime(row), rounds=600, each=50)
    print(
        f"4 columns, 4 classes: {(pair.ours - pair.theirs) * 1e6:.1f} us more with a monitor "
        f"({pair.ours * 1e6:.1f} against {pair.theirs * 1e6:.1f})"
    )
    for features, classes in ((10, 10), (30, 10), (0, 100), (0, 1000)):
        names, labels = [f"f{i}" for i in range(features)], tuple(f"c{i}" for i in range(classes))
        watched = [*labels[:MOST], OTHERS] if classes > MOST else labels  # as the exporter makes it
        manifest = runtime.manifest.replace(
            labels=labels,
            specification=SpecificationData("table"),
            monitoring=Monitoring(dict.fromkeys(names, EVEN), dict.fromkeys(watched, EVEN), confidence=TABLE),
        )
        monitor = Monitor(manifest)
        values = np.random.default_rng(0).random(features).tolist()
        raw, scores = dict(zip(names, values, strict=True)), np.random.default_rng(1).random(classes, np.float32)
        count = side_by_side(
            lambda m=monitor, r=raw, s=scores: m.count(0.001, raw=r, scores=s), lambda: None, rounds=300, each=20
        )
        size = len(json.dumps(monitor.take(everything=True)[0].to_plain()))
        print(f"{features} features, {classes} classes: {count.ours * 1e6:.1f} us a count, {size} bytes a window")
    for side in (96, 224, 480):
        picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        manifest = runtime.manifest.replace(
            specification=SpecificationData("image"), monitoring=Monitoring(dict.fromkeys(PICTURE, EVEN))
        )
        monitor, calls = Monitor(manifest), 20_000
        begin = time.perf_counter()
        for _ in range(calls):
            monitor.count(0.001, raw=picture)
        taken = (time.perf_counter() - begin) / calls
        share = monitor.current()[1].inputs["brightness"].count / calls
        print(f"pictures of {side}x{side}: {taken * 1e6:.1f} us a count, {share:.1%} of them summarised")
    sketch = Sketch(EVEN.edges)
    for value in np.random.default_rng(0).random(1234).tolist():
        sketch.add(value)
    judged = side_by_side(lambda: compare(sketch, 500, EVEN.limits), lambda: None, rounds=300, each=5)
    print(f"drift of one number in a closed window: {judged.ours * 1e3:.2f} ms")
    with tempfile.TemporaryDirectory() as folder:
        for batch in (1, 50):
            box = Outbox(Path(folder) / f"{batch}.db", "d")
            begin, puts = time.perf_counter(), 60
            for _ in range(puts):
                assert box.put([("sketch", bytes(600))] * batch)
            print(f"outbox, commits of {batch}: {puts * batch / (time.perf_counter() - begin):.0f} messages of 600 B/s")
    bare = subprocess.run([sys.executable, "-c", AGENT.splitlines()[-1]], capture_output=True, text=True, check=True)
    agent = subprocess.run([sys.executable, "-c", AGENT], capture_output=True, text=True, check=True)
    print(
        f"device, prometheus and outbox imported: {int(agent.stdout) / 1024:.1f} MiB RSS (Python: {int(bare.stdout) / 1024:.1f})"
    )


if __name__ == "__main__":
    main()
