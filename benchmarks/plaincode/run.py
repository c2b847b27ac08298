"""Ours against every peer: exactness, nanoseconds, bytes, gcc's time and memory; one pinned core, the same rows.

    python benchmarks/plaincode/run.py [--quick] [--models rf_cancer,…] [--peers CACHE_FOLDER] [--json FILE]

Peers are installed once, into a virtual environment in the cache folder. `ns` is the least of the interleaved passes
over 10,000 distinct rows, one call a row; `ns rows` likewise through a function that takes many rows (or a peer's own
batch interface). `bytes` is .text + .rodata at -Os. Peers whose answers are wrong are marked.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from measure import Candidate, peer
from models import MODELS, QUICK, trained

from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.c.trees import tree_code
from edgekit_converters.plaincode.ir import Feature, Trees
from edgekit_converters.plaincode.reader import read_model

HERE = Path(__file__).parent
OURS = {
    "speed": {"layout": "speed"}, "branches": {"layout": "speed", "in_order": True}, "size": {"layout": "size"},
}  # fmt: skip
CODE_PEERS, RUN_PEERS = ("m2cgen", "tl2cgen", "emlearn", "micromlgen"), ("onnxruntime", "lleaves", "native")
SHOWN = ("ns", "ns rows", "bytes", "gcc s", "gcc MB", "source bytes", "bit-equal", "largest difference", "note")
PASSES = 7
WRONG = 1e-5


def trees_of(model: object, width: int) -> Trees:
    """The trees in a model's program."""
    program = read_model(model, [Feature(f"x{i}") for i in range(width)])
    return next(program.of_kind(Trees))


def truth(model: object, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What the source itself answers: ``margin``, ``proba`` and ``label``, as far as it has them."""
    package = type(model).__module__.split(".")[0]
    found = {"label": np.asarray(model.predict(rows), np.float64).reshape(len(rows), -1)}
    if package == "xgboost":
        found["margin"] = model.predict(rows, output_margin=True).reshape(len(rows), -1)
    elif package == "lightgbm":
        found["margin"] = model.predict(rows, raw_score=True).reshape(len(rows), -1)
    if hasattr(model, "predict_proba"):
        found["proba"] = model.predict_proba(rows)
        found["last proba"] = found["proba"][:, -1:]
    return found


def judge(figures: dict[str, object], got: np.ndarray, want: dict[str, np.ndarray], kind: str) -> None:
    """Compare with the answers of the same kind that are nearest (peers do not say what theirs are)."""
    kinds = [kind] if kind else [k for k, v in want.items() if v.shape[1] <= got.shape[1]]
    gaps = {k: np.abs(got[:, : want[k].shape[1]] - want[k]).max(axis=1) for k in kinds}
    near = min(gaps, key=lambda k: float(np.median(gaps[k])))
    figures["bit-equal"] = f"{int((gaps[near] == 0).sum())}/{len(got)}"
    figures["largest difference"] = float(gaps[near].max())
    if near == "label" and set(want) > {"label"}:
        figures["note"] = f"hard votes, {int((gaps[near] > 0).sum())} labels flipped"
    elif gaps[near].max() > WRONG * max(1.0, float(np.abs(want[near]).max())):
        figures["note"] = f"WRONG on {int((gaps[near] > WRONG).sum())} rows"


def ours(step: Trees, name: str, options: dict[str, object]) -> Candidate:
    """A layout of ours."""
    code = tree_code(step, "forest", EmitSettings(**options))
    source = f"#include <stdint.h>\n#include <string.h>\n{code.definitions}"
    wrapper = "static void one(const KEY *x, OUT *out) { forest(x, out); }"
    many = ""
    if code.rows_function:
        many = (
            "static void many(const KEY *x, OUT *out, size_t rows, size_t width, size_t outputs)\n"
            f"{{ {code.rows_function}(x, out, rows, width, outputs); }}"
        )
    return Candidate(f"edgekit {name}", source, wrapper, code.key, code.out, many=many, outputs=step.width)


def model_table(name: str, python: Path | None, folder: Path) -> list[dict[str, object]]:
    """All candidates of a model."""
    model, rows = trained(name)
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    np.save(folder / "rows.npy", rows)
    step, want = trees_of(model, rows.shape[1]), truth(model, rows)
    kind = "margin" if "margin" in want else "proba" if "proba" in want else "label"
    candidates = [ours(step, layout, options) for layout, options in OURS.items()]
    rest: list[dict[str, object]] = []
    for other in (*CODE_PEERS, *RUN_PEERS) if python else ():
        made = peer(python, HERE / "peers.py", other, folder)
        if "source" in made:
            outputs = 16 if other in ("m2cgen", "tl2cgen") else 1
            candidates.append(Candidate(other, outputs=outputs, **made))
            continue
        row: dict[str, object] = {"model": name, "name": other, **made}
        if (folder / f"{other}.npy").exists():
            judge(row, np.load(folder / f"{other}.npy"), want, "")
        rest.append(row)
    for candidate in candidates:
        candidate.build(folder)
        if candidate.library is not None:
            got = candidate.run(rows).astype(np.float64)
            judge(candidate.figures, got, want, kind if candidate.name.startswith("edgekit") else "")
    built = [c for c in candidates if c.library is not None]
    for _ in range(PASSES):
        for candidate in built:
            candidate.run(rows)
            if candidate.many:
                candidate.run(rows, "bench_rows")
    for candidate in built:
        candidate.settle()
    return [{"model": name, "name": c.name, **c.figures} for c in candidates] + rest


def peers_python(cache: Path) -> Path:
    """The peers' interpreter; installs them on first use."""
    python = cache / "peers" / "bin" / "python"
    if not python.exists():
        venv.create(cache / "peers", with_pip=True)
        command = [str(python), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")]
        subprocess.run(command, check=True)
    return python


def show(rows: list[dict[str, object]]) -> None:
    """Print a model's rows."""
    print("model        name                " + "".join(f"{s:>20}" for s in SHOWN))
    for row in rows:
        cells = [row.get(s, "") for s in SHOWN]
        texts = [f"{c:.4g}" if isinstance(c, float) and s == "largest difference" else
                 f"{c:.0f}" if isinstance(c, float) and s.startswith("ns") else str(c)
                 for s, c in zip(SHOWN, cells, strict=True)]  # fmt: skip
        print(f"{row['model']:13}{row['name']:20}" + "".join(f"{t:>20}" for t in texts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small models and no peers")
    parser.add_argument("--models", default="")
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache" / "edgekit-benchmarks", metavar="FOLDER")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    names = given.models.split(",") if given.models else QUICK if given.quick else MODELS
    python = None if given.quick else peers_python(given.peers)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # children inherit it
    found: list[dict[str, object]] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            rows = model_table(name, python, Path(folder))
        show(rows)
        found += rows
        if given.json:
            given.json.write_text(json.dumps(found, indent=1, default=str))
    if given.quick and any(not str(r.get("bit-equal", "")).startswith("10000/") for r in found):
        raise SystemExit("an answer is not the source's own")


if __name__ == "__main__":
    main()
