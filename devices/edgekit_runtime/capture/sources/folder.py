"""Pictures or sounds of a folder, and those that come to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event

from edgekit_runtime.capture.settings import path_field
from edgekit_runtime.capture.sources.base import End, Sample, Source, SourceLost, Taker

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".wav")
_LARGEST = 256 * 2**20
_LOOK = 0.2


class _Taker(Taker):
    def __init__(self, folder: Path, names: list[str], follow: bool, existing: bool) -> None:
        self._folder, self._follow = folder, follow
        self._seen = set(names)
        self._ready = names if existing else []
        self._growing: dict[str, tuple[int, int]] = {}
        self._closed = Event()

    def read(self) -> Sample:
        while not self._closed.is_set():
            if self._ready:
                path = self._folder / self._ready.pop(0)
                try:
                    if path.stat().st_size > _LARGEST:
                        continue
                    return Sample(path.read_bytes(), path.name)
                except OSError:  # it went before its turn came
                    continue
            if not self._follow:
                break
            self._closed.wait(_LOOK)
            self._look()
        raise End

    def _look(self) -> None:
        """New files whose size and time stayed from one look to the next: those still written come later."""
        names = _names(self._folder)
        self._seen &= set(names)  # a file of that name may come again; and the set stays bounded
        growing = {}
        for name in names:
            if name in self._seen:
                continue
            try:
                found = (self._folder / name).stat()
            except OSError:
                continue
            state = (found.st_size, found.st_mtime_ns)
            if self._growing.get(name) == state:
                self._seen.add(name)
                self._ready.append(name)
            else:
                growing[name] = state
        self._growing = growing

    def close(self) -> None:
        self._closed.set()


def _names(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
    except OSError as error:
        raise SourceLost(f"cannot list the folder {folder} ({error.strerror or error})") from error


@dataclass(frozen=True)
class Folder(Source):
    """Files of a folder (JPEG, PNG, BMP, WAV), in the order of their names.

    Attributes:
        path: The folder.
        follow: Whether to wait for new files; else the run ends with the last one.
        existing: Whether files that are there already are taken; only without it makes sense with `follow`.
    """

    path: str = path_field()
    follow: bool = False
    existing: bool = True

    @property
    def live(self) -> bool:  # type: ignore[override]
        """A folder that is followed has no end."""
        return self.follow

    def open(self) -> Taker:
        names = _names(Path(self.path))
        if not names and not self.follow:
            raise SourceLost(f"the folder {self.path} has no file to answer for", f"it looks for {', '.join(SUFFIXES)}")
        return _Taker(Path(self.path), names, self.follow, self.existing)
