"""Models that were pickled, by joblib or pickle or, without running code, by skops."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

from edgekit_converters.errors import MissingRequirement, SourceError, UntrustedPickle
from edgekit_converters.quiet import quiet

PICKLES = (".joblib", ".pkl", ".pickle")
SKOPS = ".skops"
_EXTRA = 'pip install "edgekit[trees]"'


def load_pickled(path: Path, *, trust: bool) -> Any:
    """What a file of `PICKLES` or `SKOPS` holds.

    Raises:
        UntrustedPickle: It would run code when it is loaded, or names types that skops does not know as harmless, and
            `trust` is not set.
        SourceError: Corrupt, or written by another release of scikit-learn, or what it needs is not here.
        MissingRequirement: skops is not installed.
    """
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    if path.suffix.lower() == SKOPS:
        return _load_skops(path, trust=trust)
    if not trust:
        raise UntrustedPickle(
            f"{path.name} is a pickle, which runs code when it is loaded",
            "say --trust if you trust it, or save the model with skops",
        )
    import joblib

    return _guarded(path, lambda: joblib.load(path))


def _load_skops(path: Path, *, trust: bool) -> Any:
    if importlib.util.find_spec("skops") is None:
        raise MissingRequirement("skops is not installed", _EXTRA)
    import skops.io

    unknown = _guarded(path, lambda: skops.io.get_untrusted_types(file=path))
    if unknown and not trust:
        raise UntrustedPickle(
            f"{path.name} holds types that skops does not know as harmless: {', '.join(sorted(unknown))}",
            "say --trust if you trust it",
        )
    return _guarded(path, lambda: skops.io.load(path, trusted=unknown))


def _guarded(path: Path, load: Any) -> Any:
    """Run a loader; what it raises becomes one sentence, and what it warns of is looked at."""
    try:
        with quiet(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model = load()
    except ModuleNotFoundError as error:
        raise SourceError(
            f"{path.name} needs the Python module {error.name}, which is not here", f"install it, as in {_EXTRA}"
        ) from error
    except Exception as error:  # a pickle may raise whatever its classes raise
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise SourceError(
            f"{path.name} cannot be loaded ({why})", "save the model again with the versions here"
        ) from error
    for warning in said:
        _check_release(path, warning.message)
    return model


def _check_release(path: Path, warning: Warning | str) -> None:
    """Another release of scikit-learn keeps its models otherwise: it warns, and what it gives may be wrong.

    Raises:
        SourceError: The file is of another release than the one here; patch versions count as the same.
    """
    made, here = (getattr(warning, name, None) for name in ("original_sklearn_version", "current_sklearn_version"))
    if made and here and _release(made) != _release(here):
        raise SourceError(
            f"{path.name} was saved by scikit-learn {made}, here is {here}, which may read it wrongly",
            f"pip install scikit-learn=={made}, or save it again with {here}",
        )


def _release(version: str) -> list[str]:
    return re.split(r"\D+", version)[:2]
