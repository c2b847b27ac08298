"""Run by the peers' own Python: one model to C by one peer, or timed by an interpreter; prints a line of JSON."""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path

import numpy as np

PASSES = 5
SINGLE_ROWS = 1000


def m2cgen(model, folder, rows):
    import m2cgen as m

    sys.setrecursionlimit(100_000)
    source = m.export_to_c(model)
    many = "void score(double * input, double * output)" in source
    call = "score((double *)x, out)" if many else "out[0] = score((double *)x)"
    return {
        "source": source,
        "wrapper": f"static void one(const KEY *x, OUT *out) {{ {call}; }}",
        "key": "double",
        "out": "double",
    }


def tl2cgen(model, folder, rows):
    import tl2cgen as t
    import treelite

    package = type(model).__module__.split(".")[0]
    if package == "xgboost":
        forest = treelite.frontend.from_xgboost(model.get_booster())
    elif package == "lightgbm":
        forest = treelite.frontend.from_lightgbm(model.booster_)
    else:
        forest = treelite.sklearn.import_model(model)
    t.generate_c_code(forest, dirpath=str(folder / "tl2cgen"), params={})
    made = folder / "tl2cgen"
    source = (made / "header.h").read_text() + "".join(
        p.read_text().replace('#include "header.h"', "") for p in sorted(made.glob("*.c"))
    )
    leaf = "double" if "double* result" in source else "float"
    key = "double" if "double fvalue" in source else "float"
    width = rows.shape[1]
    wrapper = (
        "static void one(const KEY *x, OUT *out) {\n"
        f"    union Entry row[{width}]; int i; for (i = 0; i < {width}; i++) {{ row[i].missing = -1; row[i].fvalue = x[i]; }}\n"
        "    predict(row, 1, out);\n}"
    )
    return {"source": source, "wrapper": wrapper, "key": key, "out": leaf}


def emlearn(model, folder, rows):
    import emlearn as e

    file = folder / "emlearn.h"
    e.convert(model, method="inline", dtype="float").save(file=str(file), name="peer", format="c")
    width = rows.shape[1]
    return {
        "source": file.read_text(),
        "wrapper": f"static void one(const KEY *x, OUT *out) {{ out[0] = peer_predict(x, {width}); }}",
        "key": "float", "out": "float", "include": str(Path(e.includedir)),
    }  # fmt: skip


def micromlgen(model, folder, rows):
    from micromlgen import port

    source = port(model)
    return {
        "source": source, "language": "c++",
        "wrapper": "static void one(const KEY *x, OUT *out) { static Eloquent::ML::Port::RandomForest forest; out[0] = forest.predict((float *)x); }",
        "key": "float", "out": "float",
    }  # fmt: skip


def _timed(call, rows, single):
    batch = min(_clock(lambda: call(rows)) for _ in range(PASSES)) / len(rows)
    few = rows[:SINGLE_ROWS]
    one = min(_clock(lambda: [single(few[i : i + 1]) for i in range(len(few))]) for _ in range(2)) / len(few)
    return {"ns": one * 1e9, "ns rows": batch * 1e9}


def _clock(call):
    began = time.process_time()
    call()
    return time.process_time() - began


def lleaves(model, folder, rows):
    import lleaves as ll

    file = folder / "lightgbm.txt"
    model.booster_.save_model(str(file))
    made = ll.Model(model_file=str(file))
    made.compile()
    call = lambda x: made.predict(x, n_jobs=1)  # noqa: E731
    return {**_timed(call, rows, call), "answers": np.asarray(call(rows)).reshape(len(rows), -1)}


def onnxruntime(model, folder, rows):
    import onnxruntime as ort

    package, width = type(model).__module__.split(".")[0], rows.shape[1]
    if package == "sklearn":
        from skl2onnx import to_onnx

        options = {type(model): {"zipmap": False}} if hasattr(model, "classes_") else {}
        made = to_onnx(model, rows[:1].astype(np.float32), options=options)
    else:
        from onnxmltools import convert_lightgbm, convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        convert = convert_xgboost if package == "xgboost" else convert_lightgbm
        extra = {} if package == "xgboost" else {"zipmap": False}
        made = convert(model, initial_types=[("x", FloatTensorType([None, width]))], **extra)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = ort.InferenceSession(made.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    name, last = session.get_inputs()[0].name, session.get_outputs()[-1].name
    data = rows.astype(np.float32)
    call = lambda x: session.run([last], {name: x})[0]  # noqa: E731
    return {**_timed(call, data, call), "answers": np.asarray(call(data)).reshape(len(rows), -1)}


def native(model, folder, rows):
    call = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    if hasattr(model, "set_params") and "n_jobs" in model.get_params():
        model.set_params(n_jobs=1)
    result = {"ns rows": min(_clock(lambda: call(rows)) for _ in range(2)) / len(rows) * 1e9}
    few = rows[:20]
    result["ns"] = _clock(lambda: [call(few[i : i + 1]) for i in range(len(few))]) / len(few) * 1e9
    return result


PEERS = {f.__name__: f for f in (m2cgen, tl2cgen, emlearn, micromlgen, lleaves, onnxruntime, native)}

if __name__ == "__main__":
    peer, folder = sys.argv[1], Path(sys.argv[2])
    model = pickle.loads((folder / "model.pkl").read_bytes())  # noqa: S301 - written by run.py itself
    found = PEERS[peer](model, folder, np.load(folder / "rows.npy"))
    if "answers" in found:
        np.save(folder / f"{peer}.npy", found.pop("answers"))
    (folder / f"{peer}.json").write_text(json.dumps(found))
