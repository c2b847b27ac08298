"""TensorFlow Serving's REST prediction, sans-I/O: ``instances`` (one a sample) or ``inputs`` (one array an input).

Source: TensorFlow Serving, "RESTful API", section Predict API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit_runtime.manifest import Manifest
from edgekit_runtime.serve.http import Refused, Reply, json_reply, load_json
from edgekit_runtime.serve.numbers import flatten, to_array
from edgekit_runtime.serve.oip import json_values


def decode_request(body: bytes, manifest: Manifest) -> tuple[dict[str, np.ndarray], bool]:
    """A ``:predict`` body to (model inputs with batch axis, whether the answer shall be row by row).

    Raises:
        Refused: 400, with what is wrong.
    """
    head = load_json(body)
    if not isinstance(head, dict) or ("instances" in head) == ("inputs" in head):
        raise Refused(400, "the request is not a JSON object with either instances or inputs")
    if head.get("signature_name", "serving_default") != "serving_default":
        raise Refused(400, "a bundle has one signature, serving_default")
    names = [i.name for i in manifest.inputs]
    rows = "instances" in head
    if not rows:
        given = head["inputs"]
        columns = given if isinstance(given, dict) and set(given) != {"b64"} else _only(names, given)
    else:
        instances = head["instances"]
        if not isinstance(instances, list) or not instances:
            raise Refused(400, "instances is not a list of samples")
        if _named(instances[0]):
            if not all(_named(i) and set(i) == set(instances[0]) for i in instances):
                raise Refused(400, "the instances do not name the same inputs")
            columns = {n: [i[n] for i in instances] for n in instances[0]}
        else:
            columns = _only(names, instances)
    if set(columns) != set(names):
        raise Refused(400, f"the model takes {', '.join(names)}, but was given {', '.join(columns)[:200]}")
    return {i.name: _array(columns[i.name], i.dtype, i.name) for i in manifest.inputs}, rows


def encode_reply(outputs: Mapping[str, np.ndarray], dtypes: Mapping[str, str], rows: bool) -> Reply:
    """Model outputs as ``predictions`` (row by row) or ``outputs``.

    Raises:
        Refused: 422 where JSON cannot say a value.
    """
    columns = {n: _nested(a, dtypes[n]) for n, a in outputs.items()}
    only = next(iter(columns.values())) if len(columns) == 1 else None
    if not rows:
        return json_reply({"outputs": columns if only is None else only})
    if only is not None:
        return json_reply({"predictions": only})
    return json_reply({"predictions": [dict(zip(columns, values)) for values in zip(*columns.values())]})


def _named(instance: Any) -> bool:
    return isinstance(instance, dict) and set(instance) != {"b64"}


def _only(names: list[str], values: Any) -> dict[str, Any]:
    if len(names) != 1:
        raise Refused(400, f"the model takes {', '.join(names)}: name them")
    return {names[0]: values}


def _array(values: Any, dtype: str, name: str) -> np.ndarray:
    shape, flat = flatten(values)
    return to_array(flat, dtype, name).reshape(shape)


def _nested(array: np.ndarray, dtype: str) -> Any:
    if dtype != "string":
        return array.tolist()
    texts = np.empty(array.size, object)
    texts[:] = json_values(array, dtype)
    return texts.reshape(array.shape).tolist()
