"""Nanoseconds a row in Node.js: our JavaScript of a model beside m2cgen's own of the same model.

    python benchmarks/plaincode/javascript.py

Both are asked in turns about the same 4,000 distinct rows, 30 times; printed are medians, their ratio, and sizes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import lightgbm
import m2cgen
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

from edgekit_converters.plaincode.emitter import EmitSettings, emitter
from edgekit_converters.plaincode.features import features_of
from edgekit_converters.plaincode.reader import read_model

MAIN = """
import { readFileSync } from "fs";
import { METHOD as ours } from "./ours.mjs";
import { score as theirs } from "./theirs.mjs";
const rows = JSON.parse(readFileSync("rows.json"));
const times = [[], []];
for (let k = 0; k < 30; k++) {
  [ours, theirs].forEach((ask, place) => {
    const start = process.hrtime.bigint();
    for (const row of rows) ask(row);
    times[place].push(Number(process.hrtime.bigint() - start) / rows.length);
  });
}
console.log(JSON.stringify(times.map((all) => all.sort((a, b) => a - b)[all.length >> 1])));
"""


def main() -> None:
    sys.setrecursionlimit(100_000)  # m2cgen reads its expressions recursively
    x, y = load_breast_cancer(return_X_y=True)
    random = np.random.default_rng(0)
    rows = x[random.integers(0, len(x), 4000)] + random.normal(0, 0.01, (4000, x.shape[1]))
    for name, model, method in (
        ("forest of 100", RandomForestClassifier(100, random_state=0).fit(x, y), "predictProba"),
        ("LightGBM, 300 trees", lightgbm.LGBMClassifier(n_estimators=300, verbose=-1).fit(x, y), "rawScore"),
    ):
        program = read_model(model, features_of(model))
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (ours,) = emitter("javascript").emit(program, EmitSettings("ours")).values()
            theirs = m2cgen.export_to_javascript(model) + "\nexport { score };\n"
            files = {"ours.mjs": ours, "theirs.mjs": theirs, "main.mjs": MAIN.replace("METHOD", method)}
            for file, text in {**files, "rows.json": json.dumps(rows.tolist())}.items():
                (folder / file).write_text(text)
            done = subprocess.run(["node", "main.mjs"], cwd=folder, capture_output=True, text=True, check=True)
        mine, other = json.loads(done.stdout)
        sizes = f"{len(ours)} and {len(theirs)} bytes"
        print(f"{name}: {mine:.0f} ns, m2cgen {other:.0f} ns, ratio {mine / other:.2f}; {sizes}")


if __name__ == "__main__":
    main()
