"""A PyTorch network from the user's own code: imported, built, its weights loaded, its input shape found."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError, UntrustedPickle, UsageError
from edgekit_converters.source import SourceRequest


@dataclass(frozen=True)
class Built:
    """A network ready to run.

    Attributes:
        module: In evaluation mode.
        examples: One tensor an input.
        names: Names of the inputs where the user gave them.
        files: What it was made from.
    """

    module: Any
    examples: tuple[Any, ...]
    names: list[str] | None
    files: tuple[Path, ...]


def build(request: SourceRequest) -> Built:
    """Call the factory, load the weights.

    Raises:
        SourceError: The code fails, is no network, or the weights do not fit.
        UntrustedPickle: The weights file holds code.
        UsageError: Nobody tells the input's shape.
    """
    import torch

    place, _, name = request.model.rpartition(":")
    factory = getattr(_import(place), name, None)
    if factory is None:
        raise SourceError(f"{place} has no {name!r}")
    try:
        model = factory()
    except Exception as error:  # the user's own code
        raise SourceError(
            f"{request.model} failed ({type(error).__name__}: {first_words(error)})", "it is called without arguments"
        ) from error
    if not isinstance(model, torch.nn.Module):
        raise SourceError(f"{request.model} gives a {type(model).__name__}, not a torch.nn.Module")
    files = [Path(place)] if place.endswith(".py") else []
    if request.weights is not None:
        _load_weights(model, request.weights)
        files.append(request.weights)
    examples, names = _examples(request, model, factory)
    return Built(model.eval(), examples, names, tuple(files))


def _import(place: str) -> Any:
    """The module with the factory: a file, which is run, or a package that can be imported."""
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        if not Path(place).is_file():
            raise SourceError(f"there is no file {place}")
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        assert spec is not None and spec.loader is not None  # noqa: S101 - a .py file always has both
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(spec.name, module)  # dataclasses and pickles look their module up there
        spec.loader.exec_module(module)
        return module
    except SourceError:
        raise
    except Exception as error:  # the user's own code
        raise SourceError(f"cannot import {place} ({type(error).__name__}: {first_words(error)})") from error


def _examples(request: SourceRequest, model: Any, factory: Any) -> tuple[tuple[Any, ...], list[str] | None]:
    """Example inputs and, where the user named them, their names.

    Raises:
        UsageError: Nobody tells the shape.
    """
    import torch

    def zeros(shape: tuple[int, ...]) -> Any:
        return torch.zeros(tuple(1 if e == -1 else e for e in shape))

    if "" in request.shapes:
        return (zeros(request.shapes[""]),), None
    if request.shapes:
        taken = list(inspect.signature(model.forward).parameters)
        unknown = [n for n in request.shapes if n not in taken]
        if unknown:
            raise UsageError(
                f"{request.model} has no input {unknown[0]!r}", f"its forward() takes {', '.join(taken) or 'nothing'}"
            )
        names = [n for n in taken if n in request.shapes]
        return tuple(zeros(request.shapes[n]) for n in names), names
    examples = getattr(model, "example_inputs", getattr(factory, "example_inputs", None))
    if examples is None:
        raise UsageError("a PyTorch module does not tell its input's shape", "give --input-shape 1,3,224,224")
    examples = tuple(examples) if isinstance(examples, (tuple, list)) else (examples,)
    if not examples or not all(isinstance(e, torch.Tensor) for e in examples):
        raise UsageError(f"example_inputs of {request.model} are not tensors", "give --input-shape 1,3,224,224")
    return examples, None


def _load_weights(model: Any, path: Path) -> None:
    import torch

    if not path.is_file():
        raise SourceError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error).lower():
            raise UntrustedPickle(
                f"{path.name} holds more than weights and would run code when it is loaded",
                "save model.state_dict(), best as .safetensors",
            ) from error
        raise SourceError(f"cannot read weights {path.name} ({first_words(error)})") from error
    for key in ("state_dict", "model_state_dict", "model"):
        state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
    if isinstance(state, dict) and state and all(str(k).startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}  # saved from DataParallel
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise SourceError(f"weights {path.name} do not fit the network ({first_words(error)})") from error


def first_words(error: BaseException) -> str:
    """An error's text on one line, cut."""
    return " ".join(str(error).split())[:200] or type(error).__name__
