"""What the ladder is offered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit_converters.errors import ConversionError
from edgekit_converters.files import open_model
from edgekit_converters.limits import TargetLimits
from edgekit_converters.slim.prune import TorchSurgeon
from edgekit_converters.slim.rungs import source_rungs
from edgekit_converters.slim.settings import PruneSettings
from edgekit_converters.sources.torch import TorchSource

from .networks import Residual, seeded

LIMITS = TargetLimits(("onnx",))
PICTURE = (torch.linspace(-1, 1, 2 * 3 * 16 * 16).sin().reshape(2, 3, 16, 16),)


def offered(source, **changes):
    generator = np.random.default_rng(0)
    samples = [{"input": generator.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]
    surgeon = TorchSurgeon(PICTURE)
    settings = {
        "samples": samples, "fine_tune": lambda _n, _e: None, "score": lambda _n: 1.0,
        "measure": lambda *n: tuple(surgeon.cost(k)[1] / 1e4 for k in n), "pruning": PruneSettings(steps=1), **changes,
    }  # fmt: skip
    return {rung.name: rung for rung in source_rungs(source, "onnx", LIMITS, **settings)}


def test_qat_pruning_and_both_are_offered_and_made(tmp_path):
    network = seeded(Residual)
    rungs = offered(TorchSource("net", "", network, PICTURE, True))
    assert list(rungs) == ["qat", "pruned", "pruned, qat"]
    sizes = {}
    for name, rung in rungs.items():
        folder = tmp_path / name
        folder.mkdir()
        made = rung.make(folder)
        session = open_model(made.path, "onnx")
        assert session.run_named({"input": PICTURE[0].numpy()})["output"].shape == (2, 5)
        session.close()
        sizes[name] = made.bytes
        assert made.precision == ("fp32" if name == "pruned" else "int8")
    assert sizes["pruned, qat"] < sizes["qat"]


def test_what_is_not_worth_it_says_so(tmp_path):
    rungs = offered(TorchSource("net", "", seeded(Residual), PICTURE, True), measure=lambda *n: (1.0,) * len(n))
    with pytest.raises(ConversionError, match="pruning was not worth it .not faster"):
        rungs["pruned"].make(tmp_path)


def test_exported_programs_can_be_trained_but_not_cut():
    program = torch.export.export(seeded(Residual), PICTURE).module()
    assert list(offered(TorchSource("net", "", program, PICTURE, False))) == ["qat"]
