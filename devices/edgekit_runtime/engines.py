"""TensorRT engines: built once on the board that runs them, kept there, never shipped.

An engine is good for one TensorRT and one GPU, so the cache goes by the ONNX file's hash, both of those and the
precision flags. A damaged engine is told by its hash before TensorRT sees it, and one that TensorRT refuses is built
again once. Building takes minutes on a Jetson: two processes that want the same engine build it once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Optional, TypeVar, Union

from edgekit_runtime.atomic import replacing
from edgekit_runtime.cache import cache_folder, key_of, locked, recall, remember
from edgekit_runtime.errors import BackendError, MissingRequirement

KEPT = 8
"""Engines that stay; the ones that were not used for longest go first."""
FP16 = "EDGEKIT_TENSORRT_FP16"
"""Set to 1 to let TensorRT 8 compute float32 models in float16; TensorRT 10 computes as the file says."""
_BUILD_SECONDS = 3600
_LOG = logging.getLogger("edgekit_runtime")
_TYPED_SINCE = (10,)
T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """What an engine is good for.

    Attributes:
        onnx: SHA-256 of the ONNX file.
        tensorrt: Version, as ``10.3.0``.
        gpu: Name of the GPU.
        flags: Precision flags, sorted.
    """

    onnx: str
    tensorrt: str
    gpu: str
    flags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """File name in the cache."""
        return key_of(self.onnx, self.tensorrt, self.gpu, *self.flags)


def flags_for(onnx: bytes, tensorrt: str) -> tuple[str, ...]:
    """Precision flags for a file: TensorRT 10 takes its types from the file, 8 must be allowed to leave float32."""
    if tuple(int(n) for n in re.findall(r"\d+", tensorrt)[:1]) >= _TYPED_SINCE:
        return ("stronglyTyped",)
    half = ("fp16",) if os.environ.get(FP16) == "1" else ()
    return tuple(sorted(half + (("int8",) if b"QuantizeLinear" in onnx else ())))


class EngineCache:
    """Engines on disk.

    Args:
        folder: As `cache_folder`.
    """

    def __init__(self, folder: Union[str, os.PathLike[str], None] = None) -> None:
        self._folder = cache_folder(folder) / "engines"

    def engine(self, onnx: bytes, identity: Identity, build: Callable[[bytes], bytes], load: Callable[[bytes], T]) -> T:
        """The engine for a model, from the cache or built now.

        Args:
            onnx: The model.
            identity: What the engine must be good for.
            build: Makes an engine out of the model.
            load: Makes something that runs out of an engine.

        Raises:
            BackendError: It cannot be built, or what was built cannot be loaded.
        """
        place = self._folder / f"{identity.key}.engine"
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(place.with_suffix(".lock")))
            except OSError as error:
                _LOG.warning("engines cannot be kept in %s (%s): built again each time", self._folder, error.strerror)
                return load(_built(onnx, identity, build))
            found = self._read(place)
            if found is not None:
                try:
                    return load(found)
                except BackendError as error:
                    _LOG.warning("TensorRT refuses the kept engine (%s): it is built again", error.message)
            made = _built(onnx, identity, build)
            loaded = load(made)  # what does not load is not kept
            self._keep(place, made, identity)
            return loaded

    def _read(self, place: Path) -> Optional[bytes]:
        about = recall(place.with_suffix(".json"))
        try:
            content = place.read_bytes()
        except OSError:
            return None
        if about is None or about.get("sha256") != hashlib.sha256(content).hexdigest():
            _LOG.warning("the kept engine %s is damaged: it is built again", place.name)
            return None
        with contextlib.suppress(OSError):
            os.utime(place)  # `KEPT` go by last use
        return content

    def _keep(self, place: Path, engine: bytes, identity: Identity) -> None:
        try:
            with replacing(place) as out:
                out.write(engine)
        except OSError as error:
            _LOG.warning("the engine cannot be kept in %s (%s)", self._folder, error.strerror)
            return
        remember(place.with_suffix(".json"), {**asdict(identity), "sha256": hashlib.sha256(engine).hexdigest()})
        self._tidy(place, identity)

    def _tidy(self, newest: Path, identity: Identity) -> None:
        """Engines of the same model on this GPU for another TensorRT go, and those beyond `KEPT`."""
        with contextlib.suppress(OSError):  # another process may tidy too
            for about in self._folder.glob("*.json"):
                told = recall(about) or {}
                same = (told.get("onnx"), told.get("gpu")) == (identity.onnx, identity.gpu)
                if same and told.get("tensorrt") != identity.tensorrt:
                    _forget(about.with_suffix(".engine"))
            engines = sorted(self._folder.glob("*.engine"), key=lambda p: p.stat().st_mtime, reverse=True)
            for old in [p for p in engines if p != newest][KEPT - 1 :]:
                _forget(old)


def _forget(engine: Path) -> None:
    for path in (engine, engine.with_suffix(".json")):  # the lock file stays: somebody may hold it
        path.unlink(missing_ok=True)


def _built(onnx: bytes, identity: Identity, build: Callable[[bytes], bytes]) -> bytes:
    _LOG.warning(
        "TensorRT %s builds an engine for %s, once; on a Jetson that takes minutes", identity.tensorrt, identity.gpu
    )
    started = time.monotonic()
    engine = build(onnx)
    _LOG.warning("engine built in %.0f s, %.1f MB", time.monotonic() - started, len(engine) / 1e6)
    return engine


# -- trtexec -----------------------------------------------------------------------------------------------------------

_USUAL = Path("/usr/src/tensorrt/bin/trtexec")  # where JetPack puts it, beside PATH


def find_trtexec() -> Optional[str]:
    """``trtexec`` on PATH or where JetPack has it."""
    return shutil.which("trtexec") or (str(_USUAL) if _USUAL.is_file() else None)


def trtexec_version(text: str) -> str:
    """Version out of its banner: ``v8502`` is 8.5.2, ``v100300`` is 10.3.0; empty where there is none."""
    found = re.search(r"\[TensorRT v(\d+)\]", text)
    if found is None:
        return ""
    number = int(found[1])
    base = 100 if number >= 10_000 else 10  # two digits a part since 10.0; before it was v8502: major, minor, two
    if base == 100:
        return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
    return f"{number // 1000}.{number // 100 % 10}.{number % 100}"


def trtexec_reason(text: str) -> str:
    """Why it failed, in one sentence: its first error that is not merely that it failed."""
    errors = [re.sub(r"^(\[[^\]]*\]\s*)+", "", line).strip() for line in text.splitlines() if "[E]" in line]
    telling = [e for e in errors if e and not re.match(r"(Engine|Network|Failed to|Could not|Parsing) ", e)]
    return " ".join((telling or errors or ["it says nothing of why"])[0].split())[:240]


def build_with_trtexec(onnx: bytes, flags: tuple[str, ...], seconds: float = _BUILD_SECONDS) -> bytes:
    """An engine made by ``trtexec``, in a process of its own whose memory goes back when it ends.

    Raises:
        MissingRequirement: It is not here.
        BackendError: It failed, wrote nothing, or did not end in time.
    """
    program = find_trtexec()
    if program is None:
        raise MissingRequirement("trtexec is not on PATH", "on a Jetson: apt install libnvinfer-bin")
    with tempfile.TemporaryDirectory(prefix="edgekit-engine-") as folder:
        model, engine = Path(folder) / "model.onnx", Path(folder) / "model.engine"
        model.write_bytes(onnx)
        skip = (
            "--skipInference" if "stronglyTyped" in flags else "--buildOnly"
        )  # renamed in 8.6, the old name gone in 10
        line = [program, f"--onnx={model}", f"--saveEngine={engine}", skip, *(f"--{flag}" for flag in flags)]
        try:
            ran = subprocess.run(
                line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False,
                stdin=subprocess.DEVNULL, text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise BackendError(f"trtexec did not build the engine within {seconds:g} s") from error
        except OSError as error:
            raise BackendError(f"trtexec cannot be started ({error.strerror})") from error
        if ran.returncode or not engine.is_file() or not engine.stat().st_size:
            died = f"it died of signal {-ran.returncode}, perhaps of too little memory" if ran.returncode < 0 else ""
            raise BackendError(
                f"trtexec builds no engine ({died or trtexec_reason(ran.stdout)})",
                "`edgekit placement MODEL --target jetson-orin` shows operators that TensorRT does not have",
            )
        return engine.read_bytes()
