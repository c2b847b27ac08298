"""From fitted models to programs: a table of modules per library, one function per class in them."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.plaincode.ir import Answer, Builder, Feature, Program, Register

READERS = {
    "sklearn": (
        "edgekit_converters.plaincode.readers.sklearn_trees",
        "edgekit_converters.plaincode.readers.sklearn_boosting",
        "edgekit_converters.plaincode.readers.sklearn_linear",
        "edgekit_converters.plaincode.readers.sklearn_vectors",
        "edgekit_converters.plaincode.readers.sklearn_neural",
        "edgekit_converters.plaincode.readers.sklearn_compose",
        "edgekit_converters.plaincode.readers.sklearn_columns",
        "edgekit_converters.plaincode.readers.sklearn_text",
    ),
    "xgboost": ("edgekit_converters.plaincode.readers.xgboost",),
    "lightgbm": ("edgekit_converters.plaincode.readers.lightgbm",),
    "edgekit_converters": (
        "edgekit_converters.plaincode.readers.xgboost",
        "edgekit_converters.plaincode.readers.lightgbm",
    ),
}
"""Top package of a model's class to the modules that read it. Each has ``READS``: class name to `Read`."""

SAVED = {
    ".json": "edgekit_converters.plaincode.readers.xgboost_file",
    ".ubj": "edgekit_converters.plaincode.readers.xgboost_file",
    ".txt": "edgekit_converters.plaincode.readers.lightgbm_file",
}
"""Suffix of a library's own model file to the module whose ``load`` reads it, without that library."""


@dataclass
class Part:
    """What a model gives once its input is in a register.

    Attributes:
        methods: Method (``predict``, ``predict_proba``, ``decision_function``, ``score_samples``, ``transform``, …) to
            its answers.
        exact: Methods that must be equal to the source's to the bit.
    """

    methods: dict[str, tuple[Answer, ...]] = field(default_factory=dict)
    exact: set[str] = field(default_factory=set)

    def register(self, method: str) -> Register:
        """The register of a method with one answer."""
        (answer,) = self.methods[method]
        return answer.register


Read = Callable[[Builder, Any, Register], Part]
"""(builder, fitted model, register of its input) to what it gives."""


def title_of(model: Any) -> str:
    """``RandomForestClassifier of sklearn 1.9.1``."""
    if type(model).__module__.startswith("edgekit_converters."):
        return str(model.title)
    package = type(model).__module__.split(".")[0]
    version = getattr(importlib.import_module(package), "__version__", "")
    return f"{type(model).__name__} of {package} {version}".strip()


def load(path: Path) -> Any:
    """A library's own model file, as an object that `read` takes.

    Raises:
        UsageError: No library's files end like that.
        SourceError: It is damaged.
    """
    if path.suffix not in SAVED:
        raise UsageError(f"{path.name} is no model file of a library", f"such files end in {', '.join(SAVED)}")
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "give a model file")
    return importlib.import_module(SAVED[path.suffix]).load(path)


def read(builder: Builder, model: Any, source: Register) -> Part:
    """Read a model, or a part of one, with its input in `source`.

    Raises:
        ConversionError: Nothing reads that class (says which part of the model it is), or it is not fitted.
    """
    package, name = type(model).__module__.split(".")[0], type(model).__name__
    table: dict[str, Read] = {}
    for module in _modules(package):
        table.update(importlib.import_module(module).READS)
    if name not in table:
        close = difflib.get_close_matches(name, table, 3)
        if not table:
            raise ConversionError(
                f"the class {name} of {package} cannot be turned into plain code",
                f"supported are models of {', '.join(p for p in READERS if p != 'edgekit_converters')}, not subclasses",
            )
        raise ConversionError(
            f"{package}'s {name} cannot be turned into plain code", f"supported are {', '.join(close or sorted(table))}"
        )
    return table[name](builder, model, source)


def _modules(package: str) -> Sequence[str]:
    plugins = [e.value for e in entry_points(group="edgekit.plaincode.readers") if e.name == package]
    return (*READERS.get(package, ()), *plugins)


def read_model(model: Any, features: Sequence[Feature], methods: Sequence[str] = ()) -> Program:
    """The program of a whole model.

    Args:
        model: Fitted.
        features: What a caller gives, in the order that the model was trained with; kinds are refined by the readers.
        methods: Those to keep; all by default.

    Raises:
        ConversionError: A part of it is not supported; says which and why.
    """
    builder = Builder(list(features))
    part = read(builder, model, builder.row)
    kept = _kept(part.methods, methods)
    return builder.program(kept, title_of(model), sorted(part.exact & set(kept)))


def _kept(have: Mapping[str, tuple[Answer, ...]], wanted: Sequence[str]) -> Mapping[str, tuple[Answer, ...]]:
    unknown = [m for m in wanted if m not in have]
    if unknown:
        raise ConversionError(f"the model has no method {unknown[0]!r:.40}", f"it has {', '.join(have)}")
    return {m: a for m, a in have.items() if not wanted or m in wanted}
