"""A Hugging Face model's folder: where it is, what it says of itself, and what it must not hold."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError, UntrustedPickle

CONFIG, WEIGHTS, MODULES = "config.json", "model.safetensors", "modules.json"

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NO_NAME = re.compile(r"LABEL_\d+")


@dataclass(frozen=True)
class Parts:
    """What a folder holds.

    Attributes:
        encoder: Folder with the encoder's ``config.json``.
        config: That file.
        pooling: ``mean`` or ``cls``: how a text's tokens become one vector; empty where nothing says.
        dense: Folders of linear layers after pooling, in order.
        normalize: Whether the vector is brought to length 1 at the end.
        limit: Most tokens that sentence-transformers feeds it; None where nothing says.
        classifies: Whether transformers has a classification head in it.
        labels: Class names in the order of the scores; empty where they have none.
    """

    encoder: Path
    config: Mapping[str, Any] = field(repr=False)
    pooling: str = ""
    dense: tuple[Path, ...] = ()
    normalize: bool = False
    limit: int | None = None
    classifies: bool = False
    labels: tuple[str, ...] = ()


def is_folder(model: str) -> bool:
    """Whether a path is a folder of a Hugging Face or sentence-transformers model."""
    path = Path(model)
    return (path / MODULES).is_file() or ((path / CONFIG).is_file() and "model_type" in _json(path / CONFIG))


def is_hub_name(model: str) -> bool:
    """Whether a word can only be a name on the Hugging Face hub: ``owner/name``, and no file here."""
    suffix = Path(model).suffix.lower()
    known = (".onnx", ".tflite", ".keras", ".h5", ".pt2", ".pt", ".pth", ".skops", ".joblib", ".pkl", ".json", ".txt")
    return bool(_HUB.fullmatch(model)) and suffix not in known and not Path(model).exists()


def find_folder(model: str) -> Path:
    """The folder itself, or that of a hub name in the local cache; nothing is downloaded.

    Raises:
        SourceError: It is not in the cache; the hint names the command that downloads it.
    """
    if not is_hub_name(model):
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise SourceError(
            f"there is no folder {model}, and no model of that name in the Hugging Face cache here",
            f"download it with: hf download {model}",
        ) from error


def read_parts(folder: Path) -> Parts:
    """What the folder's files say.

    Raises:
        SourceError: Damaged, or a kind of sentence-transformers model that edgekit does not know.
    """
    if not (folder / MODULES).is_file():
        config = _json(folder / CONFIG)
        names = [str(name) for name in config.get("architectures") or ()]
        classifies = any(name.endswith("ForSequenceClassification") for name in names)
        return Parts(folder, config, classifies=classifies, labels=_labels(config) if classifies else ())
    encoder, pooling, dense, normalize, limit = folder, "", [], False, None
    for module in _json(folder / MODULES, list):
        kind, place = str(module.get("type")).rsplit(".", 1)[-1], folder / str(module.get("path", ""))
        if folder.resolve() not in (place.resolve(), *place.resolve().parents):
            raise SourceError(f"{folder / MODULES} names a folder outside of its own ({module.get('path')!r:.60})")
        if kind == "Transformer":
            encoder = place
            settings = place / "sentence_bert_config.json"
            limit = _json(settings).get("max_seq_length") if settings.is_file() else None
        elif kind == "Pooling":
            pooling = _pooling(_json(place / CONFIG), place)
        elif kind == "Dense" and not normalize:
            dense.append(place)
        elif kind == "Normalize":
            normalize = True
        else:
            raise SourceError(f"{folder} has a part {kind!r:.40}, which edgekit does not know",
                              "known are Transformer, Pooling, Dense and Normalize")  # fmt: skip
    config = _json(encoder / CONFIG)
    labels = _labels(config) if dense else ()
    return Parts(encoder, config, pooling, tuple(dense), normalize, limit, labels=labels)


def check_weights(folder: Path, *, trust: bool) -> bool:
    """Whether an encoder's weights are in ``model.safetensors`` (or its shards); else they are a pickle.

    Raises:
        UntrustedPickle: They are a pickle and `trust` is not set.
        SourceError: There are none.
    """
    if (folder / WEIGHTS).is_file() or (folder / f"{WEIGHTS}.index.json").is_file():
        return True
    if not (folder / "pytorch_model.bin").is_file():
        raise SourceError(f"there are no weights in {folder}", f"put {WEIGHTS} there, as `hf download` does")
    if not trust:
        raise UntrustedPickle(
            f"{folder / 'pytorch_model.bin'} is a pickle, which runs code when it is loaded",
            "say --trust if you trust it, or save the model again: transformers writes safetensors",
        )
    return False


def _pooling(config: Mapping[str, Any], place: Path) -> str:
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    on = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    named = [known.get(name, "") for name in on] or [str(config.get("pooling_mode", ""))]
    if len(named) != 1 or named[0] not in ("mean", "cls"):
        raise SourceError(f"{place} pools by {', '.join(on) or 'nothing'}", "known are the mean and the first token")
    return named[0]


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get("id2label")
    if not isinstance(names, dict):
        return ()
    try:
        found = tuple(str(names[str(i)]) for i in range(len(names)))
    except KeyError:
        return ()
    return () if all(_NO_NAME.fullmatch(name) for name in found) else found


def _json(path: Path, form: type = dict) -> Any:
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, form):
            raise TypeError(f"it is no {form.__name__}")
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(f"cannot read {path} ({error})", "download the model again") from error
    return found
