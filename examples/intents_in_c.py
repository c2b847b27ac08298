"""What did they ask for? A scikit-learn text pipeline as C: sentences in, intents out, no Python on the device.

    python examples/intents_in_c.py FOLDER

Needs a C compiler.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from edgekit import ExportPlan, export

SENTENCES = {
    "light": "turn on the light|make it brighter in here|switch the lamp off|dim the kitchen light|lights out please",
    "music": "play some jazz|next song please|stop the music|turn the volume up|play the song again",
    "timer": "wake me at seven|set a timer for ten minutes|how long until the timer rings|remind me in an hour",
}
ASKED = "dim the lamp please|play the next song|set an alarm for ten".split("|")


def main(folder: Path) -> None:
    import skops.io
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = [(text, intent) for intent, texts in SENTENCES.items() for text in texts.split("|")]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10))
    skops.io.dump(model.fit(*zip(*rows, strict=True)), folder / "intents.skops")
    with (folder / "asked.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("sentence", "intent"), *rows])
    result = export(
        ExportPlan(
            model=f"{folder}/intents.skops",
            target="generic-c",
            data=f"{folder}/asked.csv",
            label="intent",
            text="sentence",
            prefix="intent",
            unpack=f"{folder}/c",
            output=f"{folder}/intents.edgekit",
            overwrite=True,
        )
    )
    fidelity = result.manifest.variant().fidelity
    print(f"{fidelity['rows']:.0f} sentences tried, largest difference {fidelity['max_abs']:.1e}")
    # your own program: the header says what there is to call
    program = '#include <stdio.h>\n#include "intent.h"\nint main(int n, char **texts) {\n'
    program += "    for (int i = 1; i < n; i++) puts(intent_label(intent_predict(texts[i])));\n    return 0;\n}\n"
    (folder / "c/main.c").write_text(program)
    command = ["cc", "-O2", "-o", f"{folder}/intents", f"{folder}/c/main.c", f"{folder}/c/intent.c", "-lm"]
    subprocess.run(command, check=True)
    answers = subprocess.run([f"{folder}/intents", *ASKED], check=True, capture_output=True, text=True).stdout
    for sentence, answer in zip(ASKED, answers.splitlines(), strict=True):
        print(f"{sentence}: {answer}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
