"""Bundle files that are served: held open, so that what ran stays there when its name points to another."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from edgekit_runtime.bundle import Bundle
from edgekit_runtime.errors import BundleError
from edgekit_runtime.manifest import Manifest


@dataclass
class Source:
    """One bundle file, held open: a model's process opens exactly this file, whatever its name points to by then.

    A file that was replaced by renaming stays whole for as long as it is open; one that was overwritten in place does
    not, which its digest shows.

    Attributes:
        path: Its name.
        fd: The open file.
        manifest: What it says about itself.
        digest: Which bundle it is.
    """

    path: Path
    fd: int
    manifest: Manifest
    digest: str

    @classmethod
    def open(cls, path: Path) -> Source:
        """Open and check a bundle's structure.

        Raises:
            BundleError: As `Bundle.open`.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for ever
        except (OSError, ValueError) as error:
            raise BundleError(f"cannot open bundle {path}: {getattr(error, 'strerror', None) or error}") from error
        try:
            with opened(fd, str(path)) as bundle:
                return cls(path, fd, bundle.manifest, bundle.digest)
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Let the file go; closing twice is allowed."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def opened(fd: int, name: str) -> Bundle:
    """The bundle in an open file; errors call it by its name.

    Raises:
        BundleError: As `Bundle.open`.
    """
    place = f"/proc/self/fd/{fd}"
    try:
        return Bundle.open(place)
    except BundleError as error:
        raise BundleError(error.message.replace(place, name), error.hint) from error


@dataclass(frozen=True)
class Slot:
    """What a store says about one model.

    Attributes:
        name: The model.
        current: Digest of the bundle that shall run.
        previous: Digest of the one before; None for none.
    """

    name: str
    current: str
    previous: Optional[str]


class Slots:
    """The slots of a store (docs/guide/agent.md), read anew each time.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        """Every slot."""
        with contextlib.suppress(OSError):
            return sorted(p.stem for p in (self._root / "slots").glob("*.json"))
        return []

    def slot(self, name: str) -> Optional[Slot]:
        """One slot; None where there is none.

        Raises:
            BundleError: It cannot be read.
        """
        if not name or "/" in name or name.startswith("."):
            return None
        path = self._root / "slots" / f"{name}.json"
        try:
            said = json.loads(path.read_bytes())
            current, previous = said["current"], said.get("previous")
            if not isinstance(current, str) or not isinstance(previous, (str, type(None))):
                raise TypeError("a digest is not a text")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BundleError(f"slot {path} cannot be read ({type(error).__name__})", "point it to a bundle") from error
        return Slot(name, current, previous)

    def path(self, digest: str) -> Path:
        """Where the bundle of a digest is."""
        return self._root / "bundles" / f"{digest}.edgekit"
