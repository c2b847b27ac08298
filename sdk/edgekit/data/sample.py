"""One sample, told from others by the hash of its content."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.errors import DataError


@dataclass(frozen=True)
class Sample:
    """One sample; its raw content is read when it is asked for.

    Attributes:
        id: File name or row number, for messages.
        label: Class index, a number, or None.
        sha256: Hash of its content.
        source: Path of its file, or the raw value itself.
    """

    id: str
    label: int | float | None
    sha256: str
    source: Any = field(repr=False)

    def load(self) -> Any:
        """The raw sample.

        Raises:
            DataError: Its file cannot be read.
        """
        if not isinstance(self.source, Path):
            return self.source
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read sample {self.id} ({error.strerror or error})") from error
