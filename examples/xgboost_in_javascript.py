"""XGBoost in a browser and on Android: one model as JavaScript and as Java, each asked what XGBoost itself is asked.

    python examples/xgboost_in_javascript.py [FOLDER]

Writes ``cancer.mjs`` and ``Cancer.java``, which need nothing but their language, and runs them where Node.js and a JDK
are installed. The sums of the trees must be XGBoost's to the bit, for rows with missing values too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from xgboost import XGBClassifier

from edgekit_converters.plaincode.emitter import EmitSettings, emitter
from edgekit_converters.plaincode.ir import Feature
from edgekit_converters.plaincode.reader import read_model

NODE = """
import { readFileSync } from "fs";
import { outputMargin } from "./cancer.mjs";
for (const line of readFileSync("rows.txt", "utf8").trim().split("\\n")) {
  console.log(outputMargin(line.split(" ").map(Number)));
}
"""
JAVA = """
import java.nio.file.*;
class Main {
  public static void main(String[] arguments) throws Exception {
    for (String line : Files.readAllLines(Path.of("rows.txt"))) {
      double[] row = java.util.Arrays.stream(line.split(" ")).mapToDouble(Double::parseDouble).toArray();
      System.out.println(Cancer.outputMargin(row));
    }
  }
}
"""
RUN = {
    "javascript": ("main.mjs", NODE, [["node", "main.mjs"]]),
    "java": ("Main.java", JAVA, [["javac", "Main.java", "Cancer.java"], ["java", "Main"]]),
}


def main(folder: Path) -> None:
    data = load_breast_cancer()
    rows = np.where(np.random.default_rng(0).random(data.data.shape) < 0.1, np.nan, data.data)
    model = XGBClassifier(n_estimators=50, max_depth=4).fit(rows[:400], data.target[:400])
    program = read_model(model, [Feature(name) for name in data.feature_names])

    tried = rows[400:]
    wanted = model.predict(tried, output_margin=True)
    lines = "".join(" ".join(map(repr, row.tolist())) + "\n" for row in tried)
    (folder / "rows.txt").write_text(lines.replace("nan", "NaN"))
    for language, (name, text, commands) in RUN.items():
        for file, code in emitter(language).emit(program, EmitSettings(prefix="cancer")).items():
            (folder / file).write_text(code)
            print(f"{file}: {len(code)} bytes, methods {', '.join(program.methods)}")
        (folder / name).write_text(text)
        if not shutil.which(commands[0][0]):
            print(f"{commands[0][0]} is not installed here")
            continue
        for command in commands:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        found = np.array(done.stdout.split(), np.float64)
        print(f"{language}: {(found == wanted).sum()} of {len(wanted)} sums are equal to XGBoost's to the bit")


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "xgboost_in_javascript")
    place.mkdir(parents=True, exist_ok=True)
    main(place)
