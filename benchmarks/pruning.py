"""What pruning gains: a MobileNetV2 on digits and a small BERT on CLINC150's intents, both trained here from nothing.

    EDGEKIT_ASSETS=... python benchmarks/pruning.py [--folder DIR] [--untimed | --timed] [mobilenet] [bert]

With a folder, what was trained is kept there by the content of what it was trained from: a run that was killed goes on
with the epochs it has not done. `--untimed` leaves the last timing to a later run with `--timed`, in a quiet minute.

Latencies are of float ONNX and TFLite on their interpreters, one thread, the network as given and the pruned one in
turn. Steps are judged on a validation split; accuracies in the table are of the test split, which nothing else saw.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from trained import assets
from transformers import BertConfig, BertForSequenceClassification, MobileNetV2Config, MobileNetV2ForImageClassification

from edgekit.demo import digits
from edgekit_converters.limits import TargetLimits
from edgekit_converters.slim.distill import DistillSettings, fine_tuner
from edgekit_converters.slim.latency import Stopwatch
from edgekit_converters.slim.module import keep, load
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


def remembered(folder: Path | None, what: object, train):
    """`train(network, epochs)`, or its result from the folder, where the same weights were trained the same way before."""

    def tune(network, epochs: int) -> None:
        if folder is None:
            return train(network, epochs)
        weights = network.state_dict()
        digest = hashlib.sha256(f"{what} {epochs}".encode())
        for name, tensor in weights.items():
            digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
        path = folder / f"{digest.hexdigest()[:16]}.safetensors"
        if path.exists():
            network.load_state_dict(load_file(path))
            return None
        train(network, epochs)
        save_file(
            {n: w.detach().contiguous().clone() for n, w in network.state_dict().items()}, path.with_suffix(".new")
        )
        path.with_suffix(".new").replace(path)
        return None

    return tune


def mobilenet(how: argparse.Namespace) -> None:
    train, validation, test = pictures()
    config = MobileNetV2Config(num_channels=1, image_size=SIZE, num_labels=10, classifier_dropout_prob=0.1)
    network = Logits(MobileNetV2ForImageClassification(config))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # transformers writes TensorFlow's 0.997 there: statistics of the last batch alone
    settings = PruneSettings(share=0.4, steps=2, epochs=5, depth=0.5, speedup=2.3)
    report(how, "MobileNetV2 1.0@48, digits", network, (train, validation, test),
           8, DistillSettings(8, 4e-3), DistillSettings(4, 3e-3), settings)  # fmt: skip


def bert(how: argparse.Namespace) -> None:
    rows, vocabulary = sentences()
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        max_position_embeddings=TOKENS, num_labels=INTENTS,
    )  # fmt: skip
    settings = PruneSettings(share=0.5, steps=2, epochs=4, depth=0.5, speedup=3.0)
    report(how, "BERT 4x256, 16 tokens, CLINC150 intents", Logits(BertForSequenceClassification(config)), rows,
           8, DistillSettings(6, 5e-4), DistillSettings(2, 3e-4), settings)  # fmt: skip


def report(
    how, name, network, rows, batch, learn: DistillSettings, tune: DistillSettings, settings: PruneSettings
) -> None:
    train, validation, test = rows
    folder = how.folder / name.split()[0].lower() if how.folder else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    examples = tuple(i[:2] for i in train.inputs)

    def teach(teacher, given: DistillSettings):
        return remembered(folder, given, fine_tuner(train.batches(4 * batch), teacher, given))

    teach(None, learn)(network, learn.epochs)
    print(f"\n## {name}\n", flush=True)
    cut = None if folder is None else folder / "pruned"
    if how.timed:
        pruned = load(copy.deepcopy(network), examples, cut)
        print((cut / "steps.md").read_text("utf-8"))
    else:
        result = prune(
            network, examples, score=accuracy(validation), measure=Stopwatch(examples), fine_tune=teach(network, tune),
            settings=settings,
        )  # fmt: skip
        pruned = result.module
        dropped = [c.layer for c in result.cuts if not c.channels]
        said = (
            f"{result.table()}\n\nspared: {', '.join(result.spared) or 'none'}; dropped: {', '.join(dropped) or 'none'}"
        )
        print(said, flush=True)
        if cut:
            keep(pruned, result.cuts, examples, cut)
            (cut / "steps.md").write_text(said, "utf-8")
    for split, data in (("validation", validation), ("test", test)):
        before, after = accuracy(data)(network), accuracy(data)(pruned)
        print(f"{split} accuracy {before:.4f} -> {after:.4f} ({before - after:+.4f}) on {len(data)}")
    for format in () if how.untimed else ("onnx", "tflite") * 2:
        watch = Stopwatch(examples, TargetLimits((format,)), seconds=3)
        given, slim = watch(network.eval(), pruned)
        print(f"{format}: {given:.3f} ms -> {slim:.3f} ms, {given / slim:.2f} x as fast", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="mobilenet, bert; both if none is named")
    parser.add_argument("--folder", type=Path, help="where what is trained is kept, so that a killed run goes on")
    parser.add_argument("--untimed", action="store_true", help="prune, and leave the last timing to a later run")
    parser.add_argument("--timed", action="store_true", help="only time what an earlier run left in the folder")
    how = parser.parse_args()
    known = {"mobilenet": mobilenet, "bert": bert}
    if (how.timed and not how.folder) or not set(how.networks) <= set(known):
        parser.error("--timed needs --folder; networks are mobilenet and bert")
    torch.set_num_threads(1)
    for name in how.networks or known:
        torch.manual_seed(0)
        known[name](how)


if __name__ == "__main__":
    main()
