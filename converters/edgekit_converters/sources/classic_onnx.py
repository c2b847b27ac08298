"""Classic models to ONNX, by skl2onnx for scikit-learn's and by onnxmltools for XGBoost's and LightGBM's.

The converters are known to get some models wrong without a word: forests that were fitted with missing values (off by
0.65 of probability), histogram boosting (float32 thresholds). Every conversion is therefore compared with its source
afterwards, on the user's rows and on rows with missing values where the source takes them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError, MissingRequirement
from edgekit_converters.files import bind, open_model, versions
from edgekit_converters.limits import TargetLimits
from edgekit_converters.plaincode.ir import CATEGORY
from edgekit_converters.quiet import quiet
from edgekit_converters.recipe import Converted
from edgekit_converters.sources.classic import ClassicSource
from edgekit_converters.sources.onnx import fit_limits

_ML_OPSET = 3  # what onnxruntime 1.16 and later read
_SCORES = ("probabilities", "scores", "output_probability")  # in the names of outputs
_HINT = "give --format c"


def write_onnx(source: ClassicSource, folder: Path, limits: TargetLimits) -> Converted:
    """An ONNX file with one float32 input of rows.

    Raises:
        ConversionError: The converter refused, or rows hold categories or texts.
        MissingRequirement: A converter is not installed.
    """
    if source.is_text or any(f.kind == CATEGORY for f in source.features):
        raise ConversionError("categories and texts do not reach an ONNX model in one row of numbers", _HINT)
    needed = "skl2onnx" if source.framework == "sklearn" else "onnxmltools"
    if importlib.util.find_spec(needed) is None:
        raise MissingRequirement(f"{needed} is not installed", 'pip install "edgekit[trees]"')
    convert = {"sklearn": _sklearn, "xgboost": _xgboost, "lightgbm": _lightgbm}.get(source.framework, _sklearn)
    try:
        with quiet():
            model = convert(source, min(limits.max_opset, _newest()))
    except Exception as error:  # converters raise whatever their parts raise
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise ConversionError(
            f"{needed} cannot turn this {type(source.model).__name__} into ONNX ({why})", _HINT
        ) from error
    with quiet():
        _fit_outputs(model, source)
    target = folder / "onnx-float.onnx"
    target.write_bytes(model.SerializeToString())
    fit_limits(target, limits)
    session = open_model(target, "onnx")
    outputs = {o.name: t.name for o, t in zip(source.outputs, session.outputs, strict=False)}
    converted = Converted(
        target,
        "onnx",
        "fp32",
        bind(source.inputs, session.inputs),
        bind(source.outputs, session.outputs, outputs),
        tools=versions(needed, "onnx", "onnxruntime"),
    )
    session.close()
    return converted


def _newest() -> int:
    from skl2onnx import __max_supported_opset__

    return int(__max_supported_opset__)


def _sklearn(source: ClassicSource, opset: int) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    for part in ("xgboost", "lightgbm"):
        if importlib.util.find_spec(part) is not None and importlib.util.find_spec("onnxmltools") is not None:
            _register(part)

    def convert(options: dict[str, Any]) -> Any:
        return convert_sklearn(
            source.model,
            initial_types=[("x", FloatTensorType([None, len(source.features)]))],
            options={id(source.model): options} if options else None,
            target_opset={"": opset, "ai.onnx.ml": _ML_OPSET},
        )

    if source.task != "classification":
        return convert({})
    if source.method == "predict_proba":
        return convert({"zipmap": False})
    try:
        return convert({"zipmap": False, "raw_scores": True})
    except NameError:  # some classifiers know one of the two options alone
        return convert({"raw_scores": True})


def _register(part: str) -> None:
    """Let pipelines of scikit-learn end in a booster."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    if part == "xgboost":
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost as convert
        from xgboost import XGBClassifier as Classifier
        from xgboost import XGBRegressor as Regressor
    else:
        from lightgbm import LGBMClassifier as Classifier
        from lightgbm import LGBMRegressor as Regressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm as convert
    options = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
    update_registered_converter(
        Classifier, Classifier.__name__, calculate_linear_classifier_output_shapes, convert, options=options
    )
    update_registered_converter(Regressor, Regressor.__name__, calculate_linear_regressor_output_shapes, convert)


def _tools(name: str) -> Callable[..., Any]:
    import onnxmltools

    found: Callable[..., Any] = getattr(onnxmltools, f"convert_{name}")
    return found


def _types(source: ClassicSource) -> list[tuple[str, Any]]:
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [("x", FloatTensorType([None, len(source.features)]))]


def _xgboost(source: ClassicSource, opset: int) -> Any:
    return _tools("xgboost")(source.model, initial_types=_types(source), target_opset=min(opset, 15))


def _lightgbm(source: ClassicSource, opset: int) -> Any:
    return _tools("lightgbm")(source.model, initial_types=_types(source), target_opset=min(opset, 15), zipmap=False)


def _fit_outputs(model: Any, source: ClassicSource) -> None:
    """Leave the outputs that the source has, as wide as it has them; the file's word on its own shapes is not trusted.

    Raises:
        ConversionError: There are others.
    """
    outputs = [o.name for o in model.graph.output]
    if len(outputs) > len(source.outputs):  # a classifier's names the class too, a cluster's tells the distances too
        named = [o for o in outputs if any(s in o for s in _SCORES)]
        chosen = (
            [o for o in outputs if o not in named]
            if source.method == "predict" and source.task != "classification"
            else named
        )
        outputs = chosen if len(chosen) == len(source.outputs) else outputs[-len(source.outputs) :]
    made = [_fitted(model, n, t.shape[1]) for n, t in zip(outputs, source.outputs, strict=False)]
    if len(outputs) != len(source.outputs) or not all(made):
        raise ConversionError(f"the ONNX model does not have the outputs of the {type(source.model).__name__}", _HINT)
    del model.graph.output[:]
    model.graph.output.extend(made)


def _fitted(model: Any, name: str, width: int) -> Any:
    """An output as (rows, width): the score of class 1 where both are given; None where it is something else."""
    import onnxruntime
    from onnx import helper

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    columns = next(v for v in session.get_inputs()).shape[1]
    (value,) = session.run([name], {"x": np.zeros((3, columns), np.float32)})
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    final = f"{name}_rows"
    if value.shape == (3, width):
        node = helper.make_node("Identity", [name], [final])
    elif value.shape == (3, 2) and width == 1:
        model.graph.initializer.append(helper.make_tensor("edgekit_second", 7, [1], [1]))
        node = helper.make_node("Gather", [name, "edgekit_second"], [final], axis=1)
    elif value.shape == (3,) and width == 1:
        model.graph.initializer.append(helper.make_tensor("edgekit_column", 7, [2], [-1, 1]))
        node = helper.make_node("Reshape", [name, "edgekit_column"], [final])
    else:
        return None
    model.graph.node.append(node)
    return helper.make_tensor_value_info(final, kind, [None, width])
