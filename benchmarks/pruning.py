"""What pruning gains: a MobileNetV2 on digits and a small BERT on CLINC150's intents, both trained here from nothing.

    EDGEKIT_ASSETS=... python benchmarks/pruning.py [mobilenet] [bert]

Latencies are of float ONNX and TFLite on their interpreters, one thread, the network as given and the pruned one in
turn. Steps are judged on a validation split; accuracies in the table are of the test split, which nothing else saw.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from trained import assets
from transformers import BertConfig, BertForSequenceClassification, MobileNetV2Config, MobileNetV2ForImageClassification

from edgekit.demo import digits
from edgekit_converters.limits import TargetLimits
from edgekit_converters.slim.distill import DistillSettings, distill, fine_tuner
from edgekit_converters.slim.latency import Stopwatch
from edgekit_converters.slim.prune import prune
from edgekit_converters.slim.settings import PruneSettings

SIZE, TOKENS, INTENTS = 48, 16, 20


class Logits(torch.nn.Module):
    """A transformers model that takes tensors and gives logits."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        return self.network(*inputs).logits


class Rows(Dataset):
    def __init__(self, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return tuple(i[index] for i in self.inputs), self.labels[index]

    def batches(self, size: int) -> DataLoader:
        order = torch.Generator().manual_seed(0)
        return DataLoader(self, size, shuffle=True, drop_last=True, generator=order)


def accuracy(rows: Rows):
    def score(network) -> float:
        hits = 0
        network.eval()
        with torch.no_grad():
            for start in range(0, len(rows), 128):
                found = network(*(i[start : start + 128] for i in rows.inputs))
                hits += int((found.argmax(1) == rows.labels[start : start + 128]).sum())
        return hits / len(rows)

    return score


def pictures() -> tuple[Rows, Rows, Rows]:
    """Training, validation and test digits, SIZE x SIZE, -1..1."""
    arrays = digits()

    def rows(x: np.ndarray, y: np.ndarray) -> Rows:
        grey = torch.from_numpy(x).float().div(127.5).sub(1)[:, None]
        large = torch.nn.functional.interpolate(grey, (SIZE, SIZE), mode="bilinear")
        return Rows((large,), torch.from_numpy(y).long())

    x, y = arrays["x_train"], arrays["y_train"]
    cut = len(x) // 5
    return rows(x[cut:], y[cut:]), rows(x[:cut], y[:cut]), rows(arrays["x_test"], arrays["y_test"])


def sentences() -> tuple[tuple[Rows, Rows, Rows], int]:
    """Training, validation and test sentences of the first INTENTS intents, and the size of the vocabulary."""
    data = json.loads((assets() / "data/clinc150/data_full.json").read_text("utf-8"))
    intents = sorted({intent for _, intent in data["train"]})[:INTENTS]
    words = sorted({w for text, intent in data["train"] if intent in intents for w in text.lower().split()})
    numbers = {word: number + 2 for number, word in enumerate(words)}

    def rows(split: str) -> Rows:
        chosen = [(text, intents.index(intent)) for text, intent in data[split] if intent in intents]
        ids = torch.zeros(len(chosen), TOKENS, dtype=torch.long)
        for row, (text, _) in enumerate(chosen):
            found = [numbers.get(w, 1) for w in text.lower().split()][:TOKENS]
            ids[row, : len(found)] = torch.tensor(found)
        return Rows((ids, (ids > 0).long()), torch.tensor([label for _, label in chosen]))

    return (rows("train"), rows("val"), rows("test")), len(words) + 2


def mobilenet() -> None:
    train, validation, test = pictures()
    config = MobileNetV2Config(num_channels=1, image_size=SIZE, num_labels=10, classifier_dropout_prob=0.1)
    network = Logits(MobileNetV2ForImageClassification(config))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # transformers writes TensorFlow's 0.997 there: statistics of the last batch alone
    settings = PruneSettings(share=0.6, steps=2, epochs=4, speedup=2.2)
    report("MobileNetV2 1.0@48, digits", network, (train, validation, test),
           8, DistillSettings(8, 4e-3), DistillSettings(4, 3e-3), settings)  # fmt: skip


def bert() -> None:
    rows, vocabulary = sentences()
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        max_position_embeddings=TOKENS, num_labels=INTENTS,
    )  # fmt: skip
    settings = PruneSettings(share=0.75, steps=2, epochs=2, speedup=3.0)
    report("BERT 4x256, 16 tokens, CLINC150 intents", Logits(BertForSequenceClassification(config)), rows,
           8, DistillSettings(6, 5e-4), DistillSettings(2, 3e-4), settings)  # fmt: skip


def report(name, network, rows, batch, learn: DistillSettings, tune: DistillSettings, settings: PruneSettings) -> None:
    train, validation, test = rows
    start = time.process_time()
    learned = distill(network, None, train.batches(4 * batch), settings=learn)
    print(f"{name}: losses {[round(loss, 3) for loss in learned.losses]}", flush=True)
    examples = tuple(i[:2] for i in train.inputs)
    taught = fine_tuner(train.batches(4 * batch), network, tune)
    result = prune(
        network, examples, score=accuracy(validation), measure=Stopwatch(examples), fine_tune=taught, settings=settings
    )
    print(f"\n## {name}\n\n{result.table()}\n\nspared: {', '.join(result.spared) or 'none'}")
    before, after = accuracy(test)(network), accuracy(test)(result.module)
    print(f"test accuracy {before:.4f} -> {after:.4f} ({before - after:+.4f}) on {len(test)}")
    for format in ("onnx", "tflite"):
        watch = Stopwatch(examples, TargetLimits((format,)), seconds=3)
        given, pruned = watch(network.eval(), result.module)
        print(f"{format}: {given:.3f} ms -> {pruned:.3f} ms, {given / pruned:.2f} x as fast")
    print(f"{time.process_time() - start:.0f} s of CPU", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    wanted = sys.argv[1:] or ["mobilenet", "bert"]
    for name in wanted:
        {"mobilenet": mobilenet, "bert": bert}[name]()


if __name__ == "__main__":
    main()
