"""A package outside this tree adds a target, a source kind, a pass and a back end, and the command line has them.

The package is written as pip would leave it, code and ``.dist-info`` side by side, on the path of a child process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

ENTRY_POINTS = """
[edgekit.targets]
acme-board = acme.board:TARGET

[edgekit.sources]
acme-linear = acme.linear:KIND

[edgekit.passes]
onnx-w8 = acme.weights:EightBitWeights

[edgekit_runtime.backends]
acme-evaluator = acme.evaluator:BACKEND
"""

FILES = {
    "acme/__init__.py": "",
    "acme/board.py": """
from edgekit.targets import Target
from edgekit_converters.limits import TargetLimits

TARGET = Target(
    name="acme-board",
    title="Acme board, one core",
    limits=TargetLimits(formats=("onnx",), precisions=("w8", "fp32"), max_opset=20),
    backends={"onnx": ("acme-evaluator", "onnx")},
    python=("3.11",),
    extra="onnx",
    notes=("It has one core.",),
)
""",
    "acme/linear.py": '''
"""Linear models as JSON: {"weights": [[...], ...], "bias": [...]}."""

import hashlib
import json
from pathlib import Path

import numpy as np

from edgekit_converters.errors import SourceError
from edgekit_converters.source import Source, SourceKind
from edgekit_converters.sources.onnx import converted_onnx
from edgekit_runtime.manifest import TensorInfo


class Linear(Source):
    framework = "acme-linear"
    tools = {"acme": "1.0"}

    def __init__(self, path):
        try:
            content = path.read_bytes()
            plain = json.loads(content)
            self.weights, self.bias = (np.array(plain[name], np.float32) for name in ("weights", "bias"))
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"{path.name} is no linear model ({error})") from error
        self.name, self.sha256 = path.name, hashlib.sha256(content).hexdigest()
        self.inputs = (TensorInfo("x", (-1, len(self.weights))),)
        self.outputs = (TensorInfo("y", (-1, len(self.bias))),)

    def run(self, feeds):
        return {"y": feeds["x"] @ self.weights + self.bias}


def to_onnx(source, folder, limits):
    import onnx
    from onnx import helper, numpy_helper

    ends = [helper.make_tensor_value_info(i.name, 1, [None, *i.shape[1:]]) for i in (*source.inputs, *source.outputs)]
    constants = [numpy_helper.from_array(source.weights, "w"), numpy_helper.from_array(source.bias, "b")]
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], "linear", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, ir_version=limits.max_ir, opset_imports=[helper.make_opsetid("", limits.max_opset)])
    onnx.save(model, str(folder / "linear.onnx"))
    return converted_onnx(folder / "linear.onnx", source)


class LinearKind(SourceKind):
    name = "acme-linear"
    extra = "quantize"

    def claims(self, request):
        return request.model.endswith(".linear")

    def load(self, request):
        return Linear(Path(request.model))

    def conversions(self):
        return {"onnx": to_onnx}


KIND = LinearKind()
''',
    "acme/weights.py": '''
from dataclasses import dataclass, replace

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.passes.outcome import new_file, recorded
from edgekit_converters.recipe import Pass


@dataclass(frozen=True)
class EightBitWeights(Pass):
    """Weights in int8, arithmetic in float32."""

    name = "onnx-w8"
    format = "onnx"
    smallest: int = 16

    def __call__(self, model, context):
        import onnx
        from onnx import helper, numpy_helper

        file = onnx.load(str(model.path))
        weights = [t for t in file.graph.initializer if t.data_type == 1 and np.prod(t.dims) >= self.smallest]
        if not weights:
            raise ConversionError("the model has no weights to quantize", "leave --quantize out")
        for tensor in weights:
            value = numpy_helper.to_array(tensor)
            step = np.float32(np.abs(value).max() / 127)
            parts = {"q": np.rint(value / step).astype(np.int8), "s": np.array(step)}
            names = [f"{tensor.name}.{part}" for part in parts]
            node = helper.make_node("DequantizeLinear", names, [tensor.name])
            file.graph.initializer.remove(tensor)
            file.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in zip(names, parts.values()))
            file.graph.node.insert(0, node)
        target = new_file(context, model, "onnx-w8.onnx")
        onnx.save(file, str(target))
        return recorded(self, replace(model, path=target, precision="w8"), {"acme": "1.0"})
''',
    "acme/evaluator.py": '''
"""ONNX's own reference evaluator as an interpreter."""

from pathlib import Path

import numpy as np

from edgekit_runtime.backends import FileTensor, backend
from edgekit_runtime.backends.base import Backend, Session, check_threads, missing
from edgekit_runtime.backends.installed import installed_version
from edgekit_runtime.errors import BackendError


class Evaluation(Session):
    placement = "CPU (numpy)"

    def __init__(self, content):
        import onnx
        from onnx.reference import ReferenceEvaluator

        try:
            model = onnx.load_from_string(bytes(content))
            onnx.checker.check_model(model)
            self._evaluator = ReferenceEvaluator(model)
        except Exception as error:
            raise BackendError(f"onnx refuses the model ({str(error).strip().splitlines()[0][:80]})") from error
        self.inputs, self.outputs = (
            tuple(FileTensor(v.name, tuple(d.dim_value or -1 for d in v.type.tensor_type.shape.dim), "float32") for v in side)
            for side in (model.graph.input, model.graph.output)
        )

    def run(self, feeds):
        if self._evaluator is None:
            raise BackendError("the session is closed")
        if len(feeds) != len(self.inputs):
            raise BackendError(f"the model takes {len(self.inputs)} inputs, not {len(feeds)}")
        for info, value in zip(self.inputs, feeds):
            fits = len(info.shape) == value.ndim and all(w in (-1, h) for w, h in zip(info.shape, value.shape))
            if not fits or value.dtype != np.float32:
                raise BackendError(f"input {info.name} takes shape {info.shape} of float32, not {value.shape} {value.dtype}")
        return [np.array(v) for v in self._evaluator.run(None, {i.name: f for i, f in zip(self.inputs, feeds)})]

    def close(self):
        self._evaluator = None


class AcmeEvaluator(Backend):
    name = "acme-evaluator"
    package = "onnx"
    extra = "onnx"
    formats = ("onnx",)

    def version(self):
        return installed_version("onnx", "onnx")

    def open(self, model, *, threads=None):
        if self.version() is None:
            raise missing(self)
        check_threads(threads)
        return Evaluation(model)

    def probe_model(self):
        return backend("onnx").probe_model()


BACKEND = AcmeEvaluator()
''',
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder of packages that holds the plug-in and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    information = folder / "acme-1.0.dist-info"
    for path, text in {
        **FILES,
        "acme-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n",
        "acme-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
    }.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    assert information.is_dir()
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with a model of the plug-in's kind and data for it."""
    folder = tmp_path_factory.mktemp("work")
    generator = np.random.default_rng(0)
    weights, bias = generator.normal(size=(6, 3)), generator.normal(size=3)
    (folder / "iris.linear").write_text(json.dumps({"weights": weights.tolist(), "bias": bias.tolist()}))
    x = generator.normal(size=(200, 6)).astype(np.float32)
    y = np.argmax(x @ weights + bias, axis=1)
    np.savez(folder / "data.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
    np.save(folder / "row.npy", x[0])
    return folder


def python(site: Path, *arguments: str, cwd: Path, **variables: str) -> str:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_command_line_lists_what_a_plug_in_brings(site, work):
    targets = json.loads(python(site, "-m", "edgekit", "targets", "--json", cwd=work))["targets"]
    assert [t["title"] for t in targets if t["name"] == "acme-board"] == ["Acme board, one core"]
    matrix = json.loads(python(site, "-m", "edgekit", "targets", "--matrix", "--json", cwd=work))["matrix"]
    assert matrix["acme-linear"] == {"onnx": True, "tflite": False, "c": False}
    findings = json.loads(python(site, "-m", "edgekit_runtime", "doctor", "--json", cwd=work))["findings"]
    assert {f["subject"]: f["state"] for f in findings}["back end acme-evaluator"] == "works"


def test_a_plug_ins_model_becomes_a_bundle_for_its_board_on_its_interpreter(site, work):
    asked = ("--target", "acme-board", "--data", "data.npz", "--max-drop", "0.05", "--output", "iris", "--json")
    printed = json.loads(python(site, "-m", "edgekit", "export", "iris.linear", *asked, cwd=work))
    assert printed["chosen"] == "onnx-w8" and printed["contract"]["held"]
    assert printed["source"] == {"framework": "acme-linear", "metrics": printed["source"]["metrics"]}
    assert printed["source"]["metrics"]["accuracy"] == 1.0
    manifest = json.loads(python(site, "-m", "edgekit", "inspect", "iris.edgekit", "--json", cwd=work))
    (variant,) = manifest["variants"]
    assert variant["measured_with"].startswith("acme-evaluator ")
    assert variant["recipe"] == [{"pass": "onnx-w8"}]
    for backend in ("acme-evaluator", "onnx"):
        python(site, "-m", "edgekit_runtime", "selftest", "iris.edgekit", "--backend", backend, cwd=work)
    dry = python(site, "-m", "edgekit", "export", "iris.linear", "--quantize", "w8", *asked, "--dry-run", cwd=work)
    assert json.loads(dry)["quantize"] == "w8"
    assert "row.npy: " in python(site, "-m", "edgekit", "run", "iris.edgekit", "row.npy", cwd=work)


def test_a_plug_in_passes_the_conformance_suites(site, work):
    """The very suites beside this file, over what the plug-in registers."""
    suites = [f"tests/conformance/test_{kind}.py" for kind in ("sources", "passes", "backends", "targets")]
    printed = python(
        site, "-m", "pytest", "-q", "-n0", *suites, "-k", "(acme or onnx-w8) and not holds_its_accuracy",
        cwd=ROOT, EDGEKIT_EXAMPLE_ACME_LINEAR=str(work / "iris.linear"),
    )  # fmt: skip
    assert " passed" in printed and "skipped" not in printed
