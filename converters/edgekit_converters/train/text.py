"""Text classification: a linear probe on a frozen encoder's vectors, then everything at a low rate."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgekit_converters.errors import MissingRequirement, SourceError, UsageError
from edgekit_converters.files import versions
from edgekit_converters.quiet import quiet
from edgekit_converters.sources.huggingface import encoder_hash, longest, tokenizer_of
from edgekit_converters.sources.huggingface_folder import CONFIG, MODULES, Parts, find_folder, read_parts
from edgekit_converters.sources.huggingface_tokenizer import VOCABULARY
from edgekit_converters.train import checkpoint
from edgekit_converters.train.checkpoint import FOLDER, Progressed
from edgekit_converters.train.config import FROM_SCRATCH, TrainConfig
from edgekit_converters.train.material import TrainMaterial, class_weights
from edgekit_converters.train.networks import DESCRIPTION, WEIGHTS
from edgekit_converters.train.text_material import Texts, Tokens, embeddings, probe, text_column
from edgekit_converters.train.trainer import Trained, Trainer, Watch
from edgekit_runtime.atomic import replacing
from edgekit_runtime.cache import cache_folder

MODEL = "model"
"""Folder in the run that export takes; transformers and sentence-transformers read it, too."""

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", VOCABULARY)
_HUB = {
    "minilm-l6": "sentence-transformers/all-MiniLM-L6-v2",
    "minilm-l3": "sentence-transformers/paraphrase-MiniLM-L3-v2",
    "bge-small": "BAAI/bge-small-en-v1.5",
    "distilbert": "distilbert/distilbert-base-uncased",
    "bert-tiny": "google/bert_uncased_L-2_H-128_A-2",
}


@dataclass(frozen=True)
class _Job:
    """An encoder and the examples as it takes them."""

    folder: Path
    parts: Parts
    network: Any
    learnt: Texts
    chosen: Texts
    most: int


class TextTrainer(Trainer):
    """``--task text``."""

    task = "text"
    defaults: ClassVar[Mapping[str, Any]] = {"epochs": 3, "head_epochs": 1, "fine_rate": 1e-4, "patience": 2}
    backbones: ClassVar[Mapping[str, str]] = {
        "minilm-l6": "6 layers of 384, 22.7 million parameters, trained to compare sentences",
        "minilm-l3": "3 layers of 384, 17.4 million parameters, trained to compare paraphrases",
        "bge-small": "12 layers of 384, 33.4 million parameters, trained for search",
        "distilbert": "6 layers of 768, 66.4 million parameters",
        "bert-tiny": "2 layers of 128, 4.4 million parameters",
    }

    def fit(self, config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Trained:
        """The probe counts as epoch 1; `TrainConfig.head_epochs` 0 leaves it out.

        Options: ``max_length`` (tokens of a text, 64), ``fine_tune`` (whether anything follows the probe),
        ``train_vocabulary`` (whether the vectors of the vocabulary learn, too: half of the parameters, and slow).
        """
        material.require(self.task, ("table",), ("classification",))
        config.check_options("max_length", "fine_tune", "train_vocabulary")
        if not config.head_epochs and not config.option("fine_tune", True):
            raise UsageError("with --head-epochs 0 and fine_tune=false there is nothing to train", "leave one out")
        for package in ("torch", "transformers", "lightning", "safetensors"):
            if importlib.util.find_spec(package) is None:
                raise MissingRequirement(f"{package} is not installed", 'pip install "edgekit[train]"')
        import torch
        from safetensors.torch import load_file, save_file

        from edgekit_converters.train.networks.text import described

        torch.manual_seed(config.seed)
        job = _job(config, material)
        state = checkpoint.read(run)
        weights = class_weights(material.train, len(material.labels)) if config.class_weights else None
        before = min(config.head_epochs, 1)
        if before and not state.epoch:
            state = _probe(job, config, material, run, watch)
        if not state.ended:
            from edgekit_converters.train.text_tune import tune

            if state.best_file:
                job.network.load_state_dict(load_file(str(run / FOLDER / state.best_file)))
            vocabulary = job.network.encoder.get_input_embeddings()
            frozen = [] if config.option("train_vocabulary", False) else [vocabulary]
            tensor = torch.tensor(weights) if weights else None
            state = tune(
                job.network, job.learnt, job.chosen, config, run, watch, state, before, tensor, frozen,
            )  # fmt: skip
        job.network.load_state_dict(load_file(str(run / FOLDER / state.best_file)))
        _save(job, material, run / MODEL)
        save_file({name: value.contiguous() for name, value in job.network.state_dict().items()}, run / WEIGHTS)
        with replacing(run / DESCRIPTION) as out:
            out.write(json.dumps(described(job.network, job.most), indent=2).encode())
        best = {name: value for name, value in state.best.items() if not name.endswith("error")}
        return Trained(run / MODEL, {}, best, state.best_epoch, versions("torch", "transformers", "lightning"))


def encoder_folder(config: TrainConfig) -> Path:
    """Where the encoder is: ``--weights`` or ``--backbone`` as a folder or hub name, or a backbone's in the cache.

    Raises:
        SourceError: It is not here; the hint names the command that downloads it.
        UsageError: It is no encoder that is known.
    """
    name = config.weights or config.backbone or next(iter(_HUB))
    if config.weights == FROM_SCRATCH:
        raise UsageError("text encoders are not trained from scratch here", "leave --weights out, or name a folder")
    if name not in _HUB and "/" not in name and not Path(name).is_dir():
        raise UsageError(
            f"there is no backbone {name!r:.60} for text", f"there are {', '.join(_HUB)}; or give a folder"
        )
    folder = find_folder(_HUB.get(name, name))
    if not folder.is_dir():
        raise SourceError(f"there is no folder {folder}", "give one with config.json and model.safetensors")
    return folder


def _job(config: TrainConfig, material: TrainMaterial) -> _Job:
    import torch

    from edgekit_converters.sources.huggingface_network import load_network

    folder = encoder_folder(config)
    found = read_parts(folder)
    parts = replace(found, pooling=found.pooling or "mean", dense=(), normalize=False, classifies=False)
    tokenizer = tokenizer_of(folder, parts)
    network = load_network(parts)
    width, classes = int(parts.config["hidden_size" if "hidden_size" in parts.config else "dim"]), len(material.labels)
    network.head.append(torch.nn.Linear(width, classes))
    most = min(longest(parts, tokenizer), config.option("max_length", 64))
    step, column = tokenizer.step(most, network.tensors), text_column(material)
    texts = [Texts(some, column, step, {VOCABULARY: tokenizer.vocabulary})
             for some in (material.train, material.validation)]  # fmt: skip
    return _Job(folder, parts, network, texts[0], texts[1], most)


def _probe(job: _Job, config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Progressed:
    """The head by logistic regression, the encoder as it came."""
    import torch

    from edgekit_converters.train.text_tune import best_file, figures, keep

    network, head = job.network, job.network.head[-1]

    def embed(tokens: Tokens) -> np.ndarray:
        given = {name: torch.from_numpy(value) for name, value in tokens.items()}
        with torch.no_grad():
            hidden = network.encoder(**given).last_hidden_state
            return np.asarray(network.pool(hidden, given["attention_mask"]).numpy())

    digest = f"{encoder_hash(job.folder, job.parts)} {job.parts.pooling}"
    learnt, chosen = (
        embeddings(texts, embed, digest, cache_folder() / "embeddings") for texts in (job.learnt, job.chosen)
    )
    weights, offsets, strength = probe(
        learnt, job.learnt.labels, chosen, job.chosen.labels, len(material.labels), config.class_weights
    )
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights))
        head.bias.copy_(torch.from_numpy(offsets))
    found = figures(chosen @ weights.T + offsets, job.chosen.labels)
    metrics = {"loss": figures(learnt @ weights.T + offsets, job.learnt.labels)["loss"],
               **{f"val_{name}": value for name, value in found.items()}}  # fmt: skip
    watch.say(f"linear probe: {found['accuracy']:.4f} of the validation texts right (strength {strength:g})")
    fine = config.option("fine_tune", True)
    go_on = watch.epoch(1, 1 + (config.epochs if fine else 0), metrics)
    keep(network, run, 1)
    state = Progressed().step(1, metrics, "val_error", ("", best_file(1)))
    state = replace(state, ended=not (go_on and fine))
    checkpoint.write(run, state)
    return state


def _save(job: _Job, material: TrainMaterial, target: Path) -> None:
    """As sentence-transformers lays a model out: encoder, pooling, and the head as its Dense module."""
    from edgekit_converters.sources.huggingface_network import save_dense

    target.mkdir(parents=True, exist_ok=True)
    encoder = job.network.encoder
    encoder.config.id2label = dict(enumerate(material.labels))
    encoder.config.label2id = {name: i for i, name in enumerate(material.labels)}
    with quiet():  # it draws a bar
        encoder.save_pretrained(str(target))
    for name in _TOKENIZER:
        for place in (job.folder, job.parts.encoder):
            if (place / name).is_file() and not (target / name).is_file():
                shutil.copyfile(place / name, target / name)
    head = job.network.head[-1]
    save_dense(head, target / "2_Dense")
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"))
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for i, (path, kind) in enumerate(kinds)]  # fmt: skip
    pooling = {"word_embedding_dimension": head.in_features, "pooling_mode_cls_token": job.parts.pooling == "cls",
               "pooling_mode_mean_tokens": job.parts.pooling == "mean"}  # fmt: skip
    (target / "1_Pooling").mkdir(exist_ok=True)
    for path, content in ((target / MODULES, modules), (target / "1_Pooling" / CONFIG, pooling),
                          (target / "sentence_bert_config.json", {"max_seq_length": job.most})):  # fmt: skip
        path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


TRAINER = TextTrainer()
