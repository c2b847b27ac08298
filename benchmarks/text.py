"""Intents of CLINC150: TF-IDF with a linear SVM, a linear probe, fine-tuning, int8; accuracy and speed in one run.

Run it as ``EDGEKIT_ASSETS=ASSETS python benchmarks/text.py ENCODER WORK``: a folder with an encoder
(``config.json``, ``model.safetensors``, ``tokenizer.json``) and one for the data, the runs and the bundle. What is
there already is not done again. A quarter of an hour of processor time on one core.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np

from edgekit import ExportPlan, TrainPlan, export, train
from edgekit.runs import read_result
from edgekit.training import export_plan
from edgekit_converters.train import TrainConfig
from edgekit_runtime import Runtime

SPLITS = {"train": "train", "val": "validation", "test": "test"}
TOKENS = 16
ROUNDS = 300


def write_data(folder: Path) -> Path:
    """CLINC150 without its texts that are out of scope, as a folder of tables."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.loads((Path(os.environ["EDGEKIT_ASSETS"]) / "data/clinc150/data_full.json").read_text("utf-8"))
    for name, split in SPLITS.items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["text", "intent"], *data[name]])
    return folder


def baseline(data: Path) -> dict[str, float]:
    """Words and pairs of words, weighed, and a linear SVM whose strength the validation texts choose."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    parts = {}
    for split in SPLITS.values():
        with (data / f"{split}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        parts[split] = ([r[0] for r in rows], [r[1] for r in rows])
    fitted = [
        make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC(C=c)).fit(*parts["train"])
        for c in (0.3, 1.0, 3.0)
    ]
    best = max(fitted, key=lambda model: model.score(*parts["validation"]))
    texts, expected = parts["test"]
    found = best.predict(texts)
    return {
        "accuracy": float(np.mean(found == np.array(expected))),
        "f1": float(f1_score(expected, found, average="macro")),
    }


def trained(data: Path, encoder: str, run: Path, **settings: object) -> dict[str, float]:
    """Test figures of a run, which is made, or gone on with, where it is not finished."""
    options = {"fine_tune": settings.pop("fine_tune")}
    config = TrainConfig(
        "text",
        weights=encoder,
        head_epochs=1,
        batch=32,
        fine_rate=1e-4,
        patience=0,
        options=options,
        **settings,  # type: ignore[arg-type]
    )
    if not (run / "result.json").is_file():
        train(TrainPlan(str(data), config, str(run), label="intent", text="text"))
    return dict(read_result(run)["test"])


def speed(bundle: Path) -> dict[str, float]:
    """Median milliseconds of one text of 16 tokens on one thread, the variants in turn."""
    names = ("onnx-fp32", "onnx-dynamic")
    runtimes = {name: Runtime.open(bundle, variant=name, threads=1) for name in names}
    ids = np.random.default_rng(0).integers(1000, 20_000, (1, TOKENS))
    full = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(ROUNDS + 20):
        for name, runtime in runtimes.items():
            start = time.thread_time()  # of this thread alone: other programs on the machine do not count
            runtime.run({i.name: full[i.name] for i in runtime.manifest.inputs})
            if turn >= 20:
                taken[name].append((time.thread_time() - start) * 1000)
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder")
    parser.add_argument("work", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    data = write_data(given.work / "data")
    rows = {"TF-IDF, linear SVM": baseline(data)}
    print(rows, flush=True)
    rows["linear probe"] = trained(data, given.encoder, given.work / "probe", fine_tune=False, epochs=given.epochs)
    print(rows["linear probe"], flush=True)
    run = given.work / "tuned"
    rows["fine-tuned"] = trained(data, given.encoder, run, fine_tune=True, epochs=given.epochs)
    print(rows["fine-tuned"], flush=True)
    bundle = given.work / "intents.edgekit"
    plan: ExportPlan = export_plan(
        run, "pi5", quantize="dynamic", max_drop=0.05, keep="all", output=str(bundle), overwrite=True
    )
    result = export(plan)
    for variant in result.variants:
        rows[variant.variant.name] = dict(variant.variant.metrics)
    taken = speed(bundle)
    print("| model | test accuracy | macro F1 | KB | ms at 16 tokens |\n|---|---|---|---|---|")
    sizes = {v.variant.name: f"{v.bytes / 1024:,.0f}" for v in result.variants}
    for name, figures in rows.items():
        ms = f"{taken[name]:.2f}" if name in taken else ""
        print(f"| {name} | {figures['accuracy']:.4f} | {figures['f1']:.4f} | {sizes.get(name, '')} | {ms} |")
    share = rows["onnx-dynamic"]["f1"] / rows["onnx-fp32"]["f1"]
    print(f"int8 keeps {share:.4f} of float's F1 at {taken['onnx-fp32'] / taken['onnx-dynamic']:.2f} times its speed")


if __name__ == "__main__":
    main()
