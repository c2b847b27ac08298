"""Quantization-aware training: what is exported computes what was trained, on integer kernels."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit_converters.errors import ConversionError
from edgekit_converters.files import open_model
from edgekit_converters.limits import TargetLimits
from edgekit_converters.slim.distill import DistillSettings, fine_tuner
from edgekit_converters.slim.fake_quant import FrozenQuantizer
from edgekit_converters.slim.qat import QatSettings, qat, stripped, to_onnx, to_tflite
from edgekit_converters.sources.torch import TorchSource

from .networks import Residual, accuracy, dense, loader, rows, seeded

LIMITS = TargetLimits(("onnx", "tflite"), channels_last=True)


def pictures(count: int, seed: int = 0, size: int = 16):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def observed(network, **changes):
    batches = [(pictures(16, seed),) for seed in range(3)]
    return qat(network, (pictures(2),), observe=batches, fine_tune=None, settings=QatSettings(**changes))


def step(module) -> float:
    """Quantization step of the output."""
    return [m.scale for m in module.modules() if isinstance(m, FrozenQuantizer)][-1]


def session(path: Path, folder: Path):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    # without it, processors that lack VNNI saturate sums of int8 products
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Net(nn.Module):
    """A random small network: strides, depthwise and dense layers, residual sums, three activations, pooling."""

    def __init__(
        self, seed: int, depth: int, width: int, activation: type[nn.Module], residual: bool, pool: bool
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), activation())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, 1, 1, groups=width if seed % 2 else 1), nn.BatchNorm2d(width), activation(),
                nn.Conv2d(width, width, 1),
            )
            for _ in range(depth)
        )  # fmt: skip
        self.residual = residual
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.head = nn.Linear(width * (16 if pool else 64), 7)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x) if self.residual else torch.relu(block(x))
        return self.head(self.pool(x).flatten(1))


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 99), depth=st.integers(1, 2), width=st.sampled_from([4, 8, 12]),
    activation=st.sampled_from([nn.ReLU, nn.ReLU6, nn.Hardswish]), residual=st.booleans(), pool=st.booleans(),
    signed=st.booleans(),
)  # fmt: skip
def test_the_onnx_file_is_at_most_one_step_from_the_trained_network(
    seed, depth, width, activation, residual, pool, signed
):
    with torch.random.fork_rng(devices=[]):
        network = Net(seed, depth, width, activation, residual, pool).eval()
    result = observed(network, signed_activations=signed)
    assert result.layers == 2 + 2 * depth
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = TorchSource("net", "", network, (pictures(2),), True)
        converted = to_onnx(source, result.module, folder, LIMITS)
        found = session(converted.path, folder).run(None, {"input": pictures(64, 9).numpy()})[0]
    with torch.no_grad():
        wanted = result.module(pictures(64, 9)).numpy()
    assert np.abs(found - wanted).max() <= step(result.module) * 1.001
    assert len(np.unique(wanted)) > 20, "an output that hardly moves would prove nothing"


def test_the_file_is_small_and_runs_on_integer_kernels(tmp_path):
    network = seeded(Residual)
    result = observed(network)
    source = TorchSource("net", "", network, (pictures(2),), True)
    converted = to_onnx(source, result.module, tmp_path, LIMITS)
    opened = session(converted.path, tmp_path)
    kinds = [n.op_type for n in onnx.load(str(tmp_path / "optimized.onnx")).graph.node]
    assert kinds.count("QLinearConv") == 5 and kinds.count("QGemm") == 2 and kinds.count("QLinearAdd") == 1
    assert not {"Conv", "Gemm", "MatMul", "Clip", "Relu"} & set(kinds)
    stored = {t.data_type for t in onnx.load(str(converted.path)).graph.initializer if len(t.dims) > 1}
    assert stored == {onnx.TensorProto.INT8}, "weights are whole numbers in the file"
    assert converted.precision == "int8" and opened.get_inputs()[0].shape[0] == "batch"
    for batch in (1, 5):
        assert opened.run(None, {"input": pictures(batch).numpy()})[0].shape == (batch, 5)


def test_signed_activations_have_zero_points_of_zero_and_float_biases(tmp_path):
    network = seeded(Residual)
    result = observed(network, signed_activations=True)
    source = TorchSource("net", "", network, (pictures(2),), True)
    graph = onnx.load(str(to_onnx(source, result.module, tmp_path, LIMITS).path)).graph
    values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    zeros = [values[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert zeros and all(z.dtype == np.int8 and not z.any() for z in zeros)
    assert all(values[n.input[2]].dtype == np.float32 for n in graph.node if n.op_type == "Conv")


def test_the_tflite_file_has_the_learned_ranges(tmp_path):
    network = seeded(Residual)
    result = observed(network)
    source = TorchSource("net", "", network, (pictures(2),), True)
    samples = [{"input": pictures(1, seed).numpy()} for seed in range(4)]  # too few to find these ranges themselves
    converted = to_tflite(source, result.module, tmp_path, LIMITS, samples)
    assert converted.precision == "int8" and len(converted.recipe[-1]["ranges"]) >= 9
    model = open_model(converted.path, "tflite")
    for seed in range(20, 28):
        picture = pictures(1, seed)
        with torch.no_grad():
            wanted = result.module(picture).numpy()
        found = model.run([np.ascontiguousarray(picture.numpy().transpose(0, 2, 3, 1))])[0]
        assert np.abs(found - wanted).max() <= 2.001 * step(result.module)
    model.close()


def test_folding_and_stripping_keep_the_function():
    network = seeded(Residual)
    result = observed(network)
    x = pictures(8, 5)
    with torch.no_grad():
        plain, rounded, given_ = stripped(result.module)(x), result.module(x), network(x)
    spread = float(given_.std())
    assert 0 < float((plain - given_).abs().max()) < 0.1 * spread, "weights are rounded, no more"
    assert float((rounded - given_).abs().max()) < 0.3 * spread
    assert network.stem[1].weight.requires_grad and network.stem[0].weight.dtype == torch.float32


def test_training_gains_what_rounding_lost_and_is_undone_where_it_does_not():
    x, y = rows(1024)
    teacher = dense(24)
    tune = fine_tuner(loader(x, y), None, DistillSettings(30, 1e-2))
    tune(teacher, 30)
    with torch.no_grad():  # scales that 8 bits cannot hold: one channel a thousand times the others
        teacher[0].weight[3] *= 300
        teacher[2].weight[:, 3] /= 300
    score = accuracy(x, y)
    settings_ = QatSettings(epochs=6, frozen_epochs=2)
    result = qat(
        teacher,
        (x[:2],),
        observe=[(x,)],
        fine_tune=fine_tuner(loader(x, y), teacher, DistillSettings(6, 3e-3)),
        score=score,
        settings=settings_,
    )
    assert result.trained and result.before < score(teacher) - 0.05 and result.after > result.before + 0.03
    assert score(result.module) == pytest.approx(result.after, abs=0.01)

    def destroy(network, _epochs):
        with torch.no_grad():
            for p in network.parameters():
                p.zero_()

    undone = qat(teacher, (x[:2],), observe=[(x,)], fine_tune=destroy, score=score, settings=settings_)
    assert not undone.trained and undone.after == undone.before == result.before


def test_layers_can_be_kept_in_float_and_exported_programs_are_taken():
    network = seeded(Residual)
    program = torch.export.export(network, (pictures(2),)).module()
    assert observed(program).layers == observed(network).layers == 7
    assert observed(network, keep=("head.4",)).layers == 6
    assert observed(network, keep=("stem.0", "depth.0")).layers == 5, "batch norms are folded into these"


def test_refusals():
    network = seeded(Residual)
    with pytest.raises(ConversionError, match="nothing to observe"):
        qat(network, (pictures(2),), observe=[], fine_tune=None)
    with pytest.raises(ConversionError, match="NaN or infinite"):
        qat(network, (pictures(2),), observe=[(pictures(2) * float("nan"),)], fine_tune=None)
    with pytest.raises(ConversionError, match="no convolution or dense layer"):
        qat(nn.ReLU(), (pictures(2),), observe=[(pictures(2),)], fine_tune=None)

    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ConversionError, match=r"torch\.export cannot read the network"):
        qat(Branch(), (pictures(2),), observe=[(pictures(2),)], fine_tune=None)
    for wrong in ({"momentum": 0.0}, {"epochs": -1}):
        with pytest.raises(ValueError, match="must"):
            QatSettings(**wrong)
