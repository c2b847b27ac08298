"""PyTorch: a factory with weights, or an exported program."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError, MissingRequirement, SourceError, UsageError
from edgekit_converters.files import sha256_of, versions
from edgekit_converters.limits import TargetLimits
from edgekit_converters.quiet import quiet
from edgekit_converters.recipe import Converted, Feeds
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest
from edgekit_converters.sources.onnx import converted_onnx, fit_limits
from edgekit_converters.sources.tflite import converted_tflite
from edgekit_converters.sources.torch_factory import build, first_words
from edgekit_converters.sources.torch_pt2 import check_archive
from edgekit_runtime.manifest import TensorInfo

_TO_NHWC = (0, 2, 3, 1)


class TorchSource(Source):
    """A module in evaluation mode and an example of its input.

    Args:
        name: What it is called.
        sha256: Over its files.
        module: Called with the examples; gives tensors, nested in any way.
        examples: One tensor an input.
        free_batch: Whether the first axis may be of any extent.
        names: Names of the inputs; None for ``input`` or ``input_0``, ``input_1``, ….
    """

    framework = "torch"

    def __init__(
        self,
        name: str,
        sha256: str,
        module: Any,
        examples: tuple[Any, ...],
        free_batch: bool,
        names: Sequence[str] | None = None,
    ) -> None:
        import torch

        self.name, self.sha256, self.module, self.examples = name, sha256, module, examples
        self.tools = versions("torch")
        with torch.no_grad():
            found = self._outputs(module(*examples))
        batch = examples[0].shape[0]
        names = names or (["input"] if len(examples) == 1 else [f"input_{i}" for i in range(len(examples))])
        self.inputs = tuple(self._info(n, t, free_batch) for n, t in zip(names, examples, strict=True))
        self.outputs = tuple(
            self._info(n, t, free_batch and t.ndim > 0 and t.shape[0] == batch) for n, t in found.items()
        )

    @staticmethod
    def _info(name: str, tensor: Any, free_batch: bool) -> TensorInfo:
        shape = (-1, *tensor.shape[1:]) if free_batch else tuple(tensor.shape)
        return TensorInfo(name, shape, str(tensor.dtype).removeprefix("torch."))

    @staticmethod
    def _outputs(value: Any) -> dict[str, Any]:
        """Named tensors of whatever a module returns."""
        import torch
        from torch.utils import _pytree

        if isinstance(value, dict) and all(isinstance(v, torch.Tensor) for v in value.values()):
            return dict(value)
        many = [v for v in _pytree.tree_leaves(value) if isinstance(v, torch.Tensor)]
        if not many:
            raise TypeError(f"the network gives a {type(value).__name__}, not tensors")
        return {"output" if len(many) == 1 else f"output_{i}": v for i, v in enumerate(many)}

    def _arrays(self, feeds: Feeds) -> list[Any]:
        import torch

        return [torch.from_numpy(np.ascontiguousarray(feeds[i.name])) for i in self.inputs]

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Reference outputs."""
        import torch

        with torch.no_grad():
            found = self.module(*self._arrays(feeds))
        return {n: v.detach().cpu().numpy() for n, v in self._outputs(found).items()}

    def layers(self, feeds: Feeds) -> list[tuple[str, np.ndarray]]:
        """Outputs of the modules that hold no others; of every operation in an exported program."""
        import torch

        found: list[tuple[str, np.ndarray]] = []

        def keep(name: str, value: Any) -> None:
            if isinstance(value, torch.Tensor):
                found.append((name, value.detach().cpu().numpy().copy()))

        with torch.no_grad():
            if isinstance(self.module, torch.fx.GraphModule):

                class Recorder(torch.fx.Interpreter):  # type: ignore[misc]  # torch is imported lazily, untyped
                    def run_node(self, n: Any) -> Any:
                        value = super().run_node(n)
                        if n.op != "placeholder":
                            keep(n.name, value)
                        return value

                Recorder(self.module).run(*self._arrays(feeds))
                return found
            leaves = [(n, m) for n, m in self.module.named_modules() if n and not any(m.children())]
            hooks = [m.register_forward_hook(lambda _m, _i, value, n=n: keep(n, value)) for n, m in leaves]
            try:
                self.module(*self._arrays(feeds))
            finally:
                for hook in hooks:
                    hook.remove()
        return found


class TorchKind(SourceKind):
    """``file.py:factory``, ``package.module:factory``, ``.pt2``."""

    name = "torch"
    extra = "torch"

    def claims(self, request: SourceRequest) -> bool:
        """By form; bare ``.pt`` and ``.pth`` files too, to say what is missing."""
        place, colon, factory = request.model.rpartition(":")
        return (bool(colon) and factory.isidentifier() and bool(place)) or request.model.endswith(
            (".pt2", ".pt", ".pth")
        )

    def load(self, request: SourceRequest) -> Source:
        """Build the module, load the weights."""
        if importlib.util.find_spec("torch") is None:
            raise MissingRequirement("PyTorch is not installed", 'pip install "edgekit[torch]"')
        if request.model.endswith((".pt", ".pth")):
            raise UsageError(
                f"{request.model} holds weights without the network",
                "give the network as file.py:factory and this file as --weights, or a .pt2 exported program",
            )
        if request.model.endswith(".pt2"):
            return _exported_program(request)
        return _factory(request)

    def conversions(self) -> Mapping[str, Conversion]:
        """By torch.onnx and litert-torch."""
        return {"onnx": to_onnx, "tflite": to_tflite}


def _exported_program(request: SourceRequest) -> Source:
    import torch

    path = Path(request.model)
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    if not request.trust:
        check_archive(path)
    try:
        with quiet():
            program = torch.export.load(str(path))
            examples = tuple(program.example_inputs[0])
            free = [
                n.meta["val"].shape[0] for n in program.graph.nodes if n.name in program.graph_signature.user_inputs
            ]
            module = program.module()
        free_batch = bool(free) and not any(isinstance(extent, int) for extent in free)
        return TorchSource(path.name, sha256_of(path), module, examples, free_batch)
    except Exception as error:  # whatever a damaged archive makes torch's loader raise
        raise SourceError(f"{path.name} is not an exported program ({first_words(error)})") from error


def _factory(request: SourceRequest) -> Source:
    built = build(request)
    name = request.model.rsplit("/", 1)[-1]
    try:
        return TorchSource(name, sha256_of(*built.files), built.module, built.examples, True, built.names)
    except Exception as error:  # whatever the user's network raises on an input it was not made for
        shapes = ", ".join(str(tuple(e.shape)) for e in built.examples)
        raise SourceError(
            f"{request.model} fails on an input of shape {shapes} ({first_words(error)})", "check --input-shape"
        ) from error


def to_onnx(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """By torch.onnx.export with dynamo; the batch stays free unless the target or the network forbids it."""
    assert isinstance(source, TorchSource)  # noqa: S101 - this row of the table makes them
    target = folder / "onnx-float.onnx"
    free = source.inputs[0].shape[0] == -1 and not limits.static_shapes
    try:
        try:
            _export(source, target, limits, free)
        except Exception:  # a network that fixes its batch inside: torch raises a dozen kinds for that
            if not free:
                raise
            _export(source, target, limits, free=False)
    except Exception as error:  # torch.onnx raises whatever its decompositions raise
        raise ConversionError(
            f"torch.onnx.export failed ({first_words(error)})", "see --debug for its report"
        ) from error
    fit_limits(target, limits)
    return converted_onnx(target, source)


def _export(source: TorchSource, target: Path, limits: TargetLimits, free: bool) -> None:
    import torch

    shapes = tuple({0: torch.export.Dim("batch", min=1)} for _ in source.examples) if free else None
    one = source.examples if source.inputs[0].shape[0] != -1 else tuple(e[:1] for e in source.examples)
    write_onnx(source, target, limits, tuple(torch.cat([e, e]) if free else e for e in one), shapes)


def write_onnx(source: TorchSource, target: Path, limits: TargetLimits, examples: tuple[Any, ...], shapes: Any) -> None:
    """Write a source's network as ONNX.

    Args:
        source: The source.
        target: The file to make.
        limits: The target's limits.
        examples: What the network is traced with.
        shapes: Free axes as `torch.export` takes them, None for none.
    """
    import torch
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    with quiet():
        program = torch.onnx.export(
            source.module,
            examples,
            dynamo=True,
            opset_version=min(limits.max_opset, 20),
            dynamic_shapes=shapes,
            input_names=[i.name for i in source.inputs],
            output_names=[o.name for o in source.outputs],
            verbose=False,
        )
        # stack traces with the author's paths and lines of code: they are nobody's business and a third of small files
        ClearMetadataAndDocStringPass()(program.model)
        program.save(str(target), external_data=False)


def to_tflite(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """By litert-torch with fixed shapes; pictures channels last where the target wants them."""
    assert isinstance(source, TorchSource)  # noqa: S101 - as above
    if importlib.util.find_spec("litert_torch") is None:
        raise MissingRequirement("litert-torch is not installed", 'pip install "edgekit[torch]"')
    target = folder / "tflite-float.tflite"
    try:
        with quiet():
            import litert_torch

            module, examples = source.module, source.examples
            if source.inputs[0].shape[0] == -1:
                examples = tuple(e[:1] for e in examples)
            last = [i for i, e in enumerate(examples) if e.ndim == 4 and e.shape[1] in (1, 3, 4)]
            last = last if limits.channels_last else []
            if last:
                module = litert_torch.to_channel_last_io(module, args=last)
                examples = tuple(e.permute(*_TO_NHWC) if i in last else e for i, e in enumerate(examples))
            litert_torch.convert(module, tuple(e.contiguous() for e in examples)).export(str(target))
    except Exception as error:
        raise ConversionError(f"litert-torch failed ({first_words(error)})", "see --debug for its report") from error
    return converted_tflite(target, source, transpose={source.inputs[i].name: _TO_NHWC for i in last})


KIND = TorchKind()
