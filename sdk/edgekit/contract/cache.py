"""What was tried, kept by content: a run that was stopped at any second goes on where it was.

::

    .edgekit/compress/KEY/             everything but the recipe: source, data, target, specification, tools, code
        rungs.json                     the rungs so far, in order
        looked.json                    what looks at recipes came to that decided on the rungs, as what each layer loses
        start/  RECIPE/ …              one folder each: record.json, the model file, scores.npz

A folder is written under another name, flushed to disk and renamed, so that it is there whole or not at all; what is
read back must be as its record says, byte by byte, else it is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgekit.choosing import Trial
from edgekit.contract.latency import Latency
from edgekit.contract.memory import Memory
from edgekit.evaluate import Evaluation
from edgekit_converters.recipe import Converted, Recipe
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.manifest import Binding
from edgekit_runtime.plain import PlainDataError, decode, encode

RECORD, MODEL, SCORES, RUNGS, LOOKED = "record.json", "model", "scores.npz", "rungs.json", "looked.json"
_MOST_RECORD = 16 * 2**20
_SUFFIXES = (".onnx", ".tflite")
T = TypeVar("T")


@dataclass(frozen=True)
class Figured:
    """An evaluation but for its arrays, which lie beside it."""

    metrics: Mapping[str, float]
    samples: int
    confusion: tuple[tuple[int, ...], ...] = ()
    classes: Mapping[str, tuple[int, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One thing that was made and measured; see `attempt.Attempt` for what the words mean.

    Attributes:
        key: Of the whole run.
        recipe: What made it.
        refusal: Why there is no model, in a sentence; all else is empty then.
        hint: What to do about it.
        format: Of the model file.
        precision: Of the model file.
        tag: Of the variant's name.
        inputs: How the source's inputs are found in the file.
        outputs: The same for outputs.
        applied: The passes as they were applied.
        tools: What took part.
        file: Name of the model file.
        sha256: Of the model file.
        scores_sha256: Of the arrays.
        fidelity: How near it is to the source.
        evaluation: Its figures; those of the source, for the start.
        interpreter: What measured it.
        drop: Against the source.
        trial: On the samples that choose.
        latency: Next to float.
        memory: Of the interpreter.
        output: Output steps of the specification, for the start.
        warnings: What the user was told, for the start.
        seconds: How long it took when it was made.
    """

    key: str
    recipe: tuple[dict[str, Any], ...] = ()
    refusal: str = ""
    hint: str = ""
    format: str = ""
    precision: str = ""
    tag: str = ""
    inputs: tuple[Binding, ...] = ()
    outputs: tuple[Binding, ...] = ()
    applied: tuple[dict[str, Any], ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    sha256: str = ""
    scores_sha256: str = ""
    fidelity: Mapping[str, float] = field(default_factory=dict)
    evaluation: Figured | None = None
    interpreter: str = ""
    drop: float | None = None
    trial: Trial | None = None
    latency: Latency | None = None
    memory: Memory | None = None
    output: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Kept:
    """A record that was read back, with its files."""

    record: Record
    model: Converted | None
    evaluation: Evaluation | None


class Store:
    """The folder of one run's results.

    Args:
        folder: Where all runs' results are.
        parts: What the results depend on, plain data; equal parts, equal results.
        said: Hears what the user should know, once.
    """

    def __init__(self, folder: Path, parts: Mapping[str, Any], said: Callable[[str], None]) -> None:
        self.key = key_of(parts)
        self.folder = folder / self.key[:16]
        self._said = said
        self._works = True
        self._try(lambda: _open_folder(folder, self.folder))

    def get(self, name: str, recipe: Recipe = ()) -> Kept | None:
        """A result that was kept, or None; what is torn, altered or somebody else's is thrown away aloud."""
        place = self.folder / name
        if not place.is_dir():
            return None
        try:
            return _read(place, self.key, recipe)
        except (OSError, ValueError, EdgekitError, KeyError, RecursionError, zipfile.BadZipFile) as error:
            self._said(f"{place} is damaged and made again ({getattr(error, 'message', None) or error})")
            self._try(lambda: _remove(place))
            return None

    def put(self, name: str, record: Record, model: Converted | None, evaluation: Evaluation | None) -> None:
        """Keep a result. Where it cannot be written the run goes on without, and says so once.

        A model of several files is not kept.
        """
        if model is not None and model.beside:
            return
        self._try(lambda: _write(self.folder / name, record, model, evaluation))

    def rungs(self, kind: type[T]) -> list[T]:
        """The rungs that were reached."""
        return self._list(RUNGS, "rungs", lambda data: [decode(kind, entry, "rung") for entry in data]) or []

    def put_rungs(self, rungs: list[Any]) -> None:
        """Keep the rungs that were reached."""
        self._put_list(RUNGS, "rungs", [encode(r) for r in rungs])

    def looked(self) -> MutableMapping[str, Any]:
        """What was looked at before any rung was measured, by what was looked at; what is set is kept at once."""
        found = self._list(LOOKED, "looked", lambda data: {str(name): _of_look(value) for name, value in data.items()})
        return Looked(found or {}, lambda all_: self._put_list(LOOKED, "looked", all_))

    def _list(self, name: str, field_: str, read: Callable[[Any], T]) -> T | None:
        """A small file of this run, None where there is none or it is damaged, which is said."""
        try:
            data = json.loads(_small(self.folder / name).decode())
            return read(data[field_]) if data["key"] == self.key else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, PlainDataError):
            self._said(f"{self.folder / name} is damaged and made again")
            return None

    def _put_list(self, name: str, field_: str, data: Any) -> None:
        content = json.dumps({"key": self.key, field_: data}).encode()

        def write() -> None:
            part = self.folder / f".{name}.{os.getpid()}"
            _flushed(part, content)
            part.replace(self.folder / name)

        self._try(write)

    def _try(self, write: Callable[[], None]) -> None:
        if not self._works:
            return
        try:
            write()
        except OSError as error:
            self._works = False
            self._said(f"{self.folder} cannot be written ({error.strerror or error}): this run goes on, "
                       "but one that is stopped will begin anew")  # fmt: skip


class Looked(MutableMapping[str, Any]):
    """A mapping that writes itself with every change.

    Args:
        found: What is in it.
        write: Keeps all of it.
    """

    def __init__(self, found: Mapping[str, Any], write: Callable[[dict[str, Any]], None]) -> None:
        self._found, self._write = dict(found), write

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._found[name] = value
        self._write(self._found)

    def __delitem__(self, name: str) -> None:
        del self._found[name]
        self._write(self._found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _of_look(value: Any) -> float | list[str] | None:
    """A figure, names in order, or nothing: all that a look comes to."""
    names = isinstance(value, list) and all(isinstance(name, str) for name in value)
    if value is None or names or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value  # type: ignore[no-any-return]
    raise PlainDataError("it holds what no look comes to")


def key_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 of plain data in one canonical form."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _open_folder(root: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    for part in folder.glob(".*.part"):
        if not _runs(part.suffixes[-2:-1]):  # left by a run that was killed
            shutil.rmtree(part, ignore_errors=True)


def _runs(suffix: list[str]) -> bool:
    """Whether the process that a folder is named after is there still: two runs may share one place."""
    try:
        os.kill(int(suffix[0][1:]), 0)
    except (ValueError, IndexError, ProcessLookupError):
        return False
    except OSError:
        return True  # somebody else's
    return True


def _remove(place: Path) -> None:
    if place.is_symlink():
        place.unlink()
    else:
        shutil.rmtree(place)


def _write(place: Path, record: Record, model: Converted | None, evaluation: Evaluation | None) -> None:
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        changes: dict[str, Any] = {}
        if model is not None:
            content = model.path.read_bytes()
            changes |= {
                "format": model.format, "precision": model.precision, "tag": model.tag, "inputs": model.inputs,
                "outputs": model.outputs, "applied": tuple(dict(r) for r in model.recipe), "tools": dict(model.tools),
                "file": MODEL + model.path.suffix, "sha256": hashlib.sha256(content).hexdigest(),
            }  # fmt: skip
            _flushed(part / (MODEL + model.path.suffix), content)
        if evaluation is not None:
            arrays = io.BytesIO()
            np.savez(arrays, scores=evaluation.scores, targets=evaluation.targets)
            changes["scores_sha256"] = hashlib.sha256(arrays.getvalue()).hexdigest()
            changes["evaluation"] = Figured(
                evaluation.metrics, evaluation.samples, evaluation.confusion, evaluation.classes
            )
            _flushed(part / SCORES, arrays.getvalue())
        whole = Record(**{**vars(record), **changes})
        _flushed(part / RECORD, json.dumps(encode(whole), allow_nan=False).encode())
        if place.exists() or place.is_symlink():
            _remove(place)
        part.rename(place)
        _flush_folder(place.parent)
    except ValueError:  # a figure that is not finite cannot be kept, and need not be
        shutil.rmtree(part, ignore_errors=True)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _read(place: Path, key: str, recipe: Recipe) -> Kept:
    record = decode(Record, json.loads(_small(place / RECORD).decode()), RECORD)
    if record.key != key or encode(record.recipe) != encode(recipe):
        raise PlainDataError("it is of another run")
    model = evaluation = None
    if record.file:
        path = place / record.file
        if path.parent != place or path.suffix not in _SUFFIXES or path.stem != MODEL:
            raise PlainDataError(f"it names a file {record.file!r:.40}")
        _same(path, record.sha256)
        model = Converted(path, record.format, record.precision, record.inputs, record.outputs, record.applied,
                          record.tools, tag=record.tag)  # fmt: skip
    if record.evaluation is not None:
        content = _same(place / SCORES, record.scores_sha256)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            scores, targets = arrays["scores"], arrays["targets"]
        known = record.evaluation
        evaluation = Evaluation(known.metrics, known.samples, known.confusion, scores, targets, known.classes)
    return Kept(record, model, evaluation)


def _same(path: Path, sha256: str) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise PlainDataError(f"{path.name} is missing")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise PlainDataError(f"{path.name} is not what was written")
    return content


def _small(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_RECORD + 1)
    if len(content) > _MOST_RECORD:
        raise PlainDataError(f"{path.name} is too large")
    return content


def _flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
