"""Bundle files that are served: held open, so that what ran stays there when its name points to another."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

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
