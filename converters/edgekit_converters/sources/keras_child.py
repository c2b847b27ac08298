"""What runs inside the child process that holds TensorFlow: load, run, lower. One model a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_STATE: dict[str, Any] = {}


def _shape(shape: Any) -> list[int]:
    return [-1 if extent is None else int(extent) for extent in shape]


def _unique(names: list[str]) -> list[str]:
    return [n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names)]


def load(path: str, legacy: bool, trust: bool, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Load a model and tell its inputs, outputs and tool versions.

    Args:
        path: File, or SavedModel folder.
        legacy: By tf_keras instead of Keras 3.
        trust: Whether Lambda layers may run.
        shapes: What the user said of inputs whose extents may vary.

    Raises:
        SourceError: Keras refuses it.
        UsageError: The shapes are not the model's.
    """
    from edgekit_converters.errors import SourceError, UntrustedPickle, UsageError
    from edgekit_converters.files import versions
    from edgekit_runtime.errors import EdgekitError

    try:
        if legacy:
            import tf_keras as keras

            model = keras.models.load_model(path, compile=False)
        else:
            import keras

            if Path(path).is_dir():
                return _load_saved_model(path, shapes)
            model = keras.models.load_model(path, compile=False, safe_mode=not trust)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        if isinstance(error, EdgekitError):
            raise
        if "safe_mode" in text or "unsafe" in text.lower():
            raise UntrustedPickle(
                f"{Path(path).name} holds a Lambda layer, which runs code when it is loaded",
                "say --trust if you trust it",
            ) from error
        raise SourceError(f"Keras refuses it ({text})") from error
    if not getattr(model, "built", True) or not model.inputs:
        if "" not in shapes:
            raise UsageError(f"{Path(path).name} does not tell its input's shape", "give --input-shape 1,96,96,3")
        model(np.zeros([1 if e == -1 else e for e in shapes[""]], np.float32))
    import tensorflow as tf

    in_names = _unique([t.name.split(":")[0].split("/")[0] for t in model.inputs])
    out_names = (
        list(model.output_names) if legacy else _unique([t._keras_history.operation.name for t in model.outputs])
    )
    given = [(n, _shape(t.shape)) for n, t in zip(in_names, model.inputs, strict=True)]
    fixed = _with_shapes(Path(path).name, given, shapes)
    _STATE.update(
        model=model, inputs=in_names, outputs=out_names, legacy=legacy, narrowed=fixed != [s for _, s in given],
        specs=[
            tf.TensorSpec(_none(s), t.dtype, name=n) for n, s, t in zip(in_names, fixed, model.inputs, strict=True)
        ],
    )  # fmt: skip
    return _facts(versions("tensorflow", "tf-keras" if legacy else "keras"))


def _facts(tools: dict[str, str]) -> dict[str, Any]:
    """Ends of the model as it is traced, so after the user's shapes."""
    outputs = _compiled().structured_outputs
    return {
        "inputs": [(s.name, _shape(s.shape), s.dtype.name) for s in _STATE["specs"]],
        "outputs": [(n, _shape(outputs[n].shape), outputs[n].dtype.name) for n in _STATE["outputs"]],
        "tools": tools,
    }


def _with_shapes(file: str, given: list[tuple[str, list[int]]], shapes: dict[str, tuple[int, ...]]) -> list[list[int]]:
    """Shapes of the inputs with the user's extents in place of free ones; the batch stays free."""
    from edgekit_converters.errors import UsageError

    names = [n for n, _ in given]
    if "" in shapes and len(given) == 1:
        shapes = {names[0]: shapes[""]}
    unknown = [n for n in shapes if n not in names]
    if unknown:
        raise UsageError(f"{file} has no input {unknown[0]!r}", f"its inputs are {', '.join(names)}")
    fixed = []
    for name, have in given:
        wanted = list(shapes.get(name, have))
        if len(wanted) != len(have) or any(h not in (-1, w) for h, w in zip(have[1:], wanted[1:], strict=True)):
            raise UsageError(f"input {name!r} of {file} has shape {have}, not {wanted}")
        fixed.append([*have[:1], *wanted[1:]])
    return fixed


def _none(shape: list[int]) -> list[int | None]:
    return [None if extent == -1 else extent for extent in shape]


def _load_saved_model(path: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    import tensorflow as tf

    from edgekit_converters.errors import SourceError
    from edgekit_converters.files import versions

    loaded = tf.saved_model.load(path)
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise SourceError(f"{Path(path).name} has no signature 'serving_default'")
    specs = list(signature.structured_input_signature[1].items())
    given = [(n, _shape(s.shape)) for n, s in specs]
    fixed = _with_shapes(Path(path).name, given, shapes)
    _STATE.update(
        model=lambda *xs: signature(**dict(zip([n for n, _ in specs], xs, strict=True))),
        keep=loaded, inputs=[n for n, _ in specs], outputs=list(signature.structured_outputs), legacy=False, path=path,
        narrowed=fixed != [s for _, s in given],
        specs=[tf.TensorSpec(_none(f), s.dtype, name=n) for f, (n, s) in zip(fixed, specs, strict=True)],
    )  # fmt: skip
    return _facts(versions("tensorflow"))


def _compiled() -> Any:
    """`_function` traced for the model's shapes."""
    if "function" not in _STATE:
        _STATE["function"] = _function()
    return _STATE["function"].get_concrete_function()


def _function(specs: Any = None) -> Any:
    """The model as one function of its inputs that gives a dictionary of named outputs."""
    import tensorflow as tf

    model, names = _STATE["model"], _STATE["outputs"]
    keras_model = hasattr(model, "layers")

    def call(*inputs: Any) -> dict[str, Any]:
        value = inputs[0] if len(inputs) == 1 else list(inputs)
        found = model(value, training=False) if keras_model else model(*inputs)
        flat = tf.nest.flatten(found) if not isinstance(found, dict) else [found[n] for n in names]
        return {n: tf.identity(v, name=n) for n, v in zip(names, flat, strict=True)}

    return tf.function(call, input_signature=specs or _STATE["specs"], autograph=False)


def run(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reference outputs."""
    import tensorflow as tf

    _compiled()
    found = _STATE["function"](*[tf.constant(feeds[n]) for n in _STATE["inputs"]])
    return {n: v.numpy() for n, v in found.items()}


def layers(feeds: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """What each layer of a Keras model gives, in order; nothing for a SavedModel."""
    import tensorflow as tf

    model = _STATE["model"]
    if not hasattr(model, "layers"):
        return []
    if _STATE["legacy"]:
        import tf_keras as keras
    else:
        import keras
    kept = [layer for layer in model.layers if "InputLayer" not in type(layer).__name__]
    inside = keras.Model(model.inputs, [layer.output for layer in kept])
    values = [feeds[n] for n in _STATE["inputs"]]
    found = inside(values[0] if len(values) == 1 else values, training=False)
    found = found if isinstance(found, (list, tuple)) else [found]
    pairs = zip(kept, found, strict=True)
    return [(layer.name, np.asarray(v)) for layer, value in pairs for v in tf.nest.flatten(value)]


def to_tflite(target: str, fixed: bool) -> None:
    """Float TFLite; `fixed` fixes the batch to 1."""
    import tensorflow as tf

    if fixed or _STATE["narrowed"]:
        one = [tf.TensorSpec([1, *s.shape[1:]], s.dtype, name=s.name) for s in _STATE["specs"]]
        concrete = _function(one).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], concrete)
    elif "path" in _STATE:
        converter = tf.lite.TFLiteConverter.from_saved_model(_STATE["path"])
    else:
        converter = tf.lite.TFLiteConverter.from_keras_model(_STATE["model"])
    Path(target).write_bytes(converter.convert())


def to_onnx(target: str, opset: int) -> None:
    """Float ONNX with a free batch."""
    import onnx
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(_function(), input_signature=_STATE["specs"], opset=opset)
    onnx.save(model, target)


def tflite_to_onnx(path: str, target: str, opset: int) -> None:
    """ONNX of a TFLite file."""
    import onnx
    import tf2onnx

    model, _ = tf2onnx.convert.from_tflite(path, opset=opset)
    onnx.save(model, target)
