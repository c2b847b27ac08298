"""What OpenCV's `VideoCapture` opens: V4L2 devices, RTSP through FFmpeg, films."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Union
from urllib.parse import quote, urlsplit, urlunsplit

from edgekit_runtime.capture.settings import path_field, secret
from edgekit_runtime.capture.sources.base import End, Sample, Source, SourceLost, Taker
from edgekit_runtime.errors import MissingRequirement, UsageError


def _cv2() -> Any:
    try:
        import cv2
    except ImportError:
        raise MissingRequirement("this source needs OpenCV", "pip install 'edgekit-runtime[camera]'") from None
    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)  # its own messages can hold an URL with its password
    return cv2


class _Taker(Taker):
    def __init__(self, cv2: Any, capture: Any, where: str, *, film: bool = False, paced: bool = False) -> None:
        self._cv2, self._capture, self._where, self._film, self._paced = cv2, capture, where, film, paced
        self._lock = Lock()  # to release a capture that reads is to crash
        self._count, self._begun = 0, time.monotonic()
        fps = capture.get(cv2.CAP_PROP_FPS) if film else 0.0
        self._period = 1 / fps if fps and 0 < fps < 1000 else 0.04

    def read(self) -> Sample:
        with self._lock:
            if self._capture is None:
                raise End
            good, picture = self._capture.read()
        if not good:
            if not self._film:
                raise SourceLost(f"{self._where} gives no more pictures")
            if not self._count:
                raise SourceLost(f"{self._where} has no picture that can be read", "it may be damaged")
            raise End
        picture = self._cv2.cvtColor(picture, self._cv2.COLOR_BGR2RGB)
        if not self._film:
            return Sample(picture)
        position = self._count * self._period
        self._count += 1
        if self._paced:
            time.sleep(max(0.0, self._begun + position - time.monotonic()))
        return Sample(picture, f"frame {self._count}", position)

    def close(self) -> None:
        if self._lock.acquire(timeout=2):  # else its thread hangs in the driver: the process's end frees it
            try:
                capture, self._capture = self._capture, None
                if capture is not None:
                    capture.release()
            finally:
                self._lock.release()


def _opened(cv2: Any, capture: Any, where: str, hint: str) -> Any:
    if not capture.isOpened():
        capture.release()
        raise SourceLost(f"cannot open {where}", hint)
    return capture


@dataclass(frozen=True)
class Camera(Source):
    """A camera that the kernel knows (V4L2).

    Attributes:
        device: Number, or path as ``/dev/video0`` (stable names are in ``/dev/v4l/by-id``).
        width: Wanted width in pixels; 0 for the camera's own.
        height: Wanted height.
        rate: Wanted pictures a second; 0 for the camera's own.
        fourcc: Pixel format, as ``MJPG``; empty for the camera's own.
        stall: Seconds without a picture after which it counts as lost.
    """

    device: Union[int, str] = 0
    width: int = 0
    height: int = 0
    rate: float = 0.0
    fourcc: str = ""
    stall: float = 10.0

    def open(self) -> Taker:
        cv2 = _cv2()
        where = f"camera {self.device}"
        path = Path(f"/dev/video{self.device}" if isinstance(self.device, int) else self.device)
        hint = f"there is no {path}" if not path.exists() else "another program may hold it, or it takes no pictures"
        capture = _opened(cv2, cv2.VideoCapture(self.device, cv2.CAP_V4L2), where, hint)
        if self.fourcc:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*self.fourcc))
        for name, value in (("WIDTH", self.width), ("HEIGHT", self.height)):
            if value:
                capture.set(getattr(cv2, f"CAP_PROP_FRAME_{name}"), value)
        if self.rate:
            capture.set(cv2.CAP_PROP_FPS, self.rate)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # old pictures are of no use
        return _Taker(cv2, capture, where)

    def __post_init__(self) -> None:
        if self.fourcc and len(self.fourcc) != 4:
            raise ValueError(f"fourcc must have 4 letters, not {self.fourcc!r:.40}")


@dataclass(frozen=True)
class Rtsp(Source):
    """A network camera.

    Attributes:
        url: ``rtsp://USER@HOST/PATH``, without the password.
        password_file: File with the password.
        password_env: Environment variable with it.
        stall: Seconds without a picture after which it counts as lost.
    """

    url: str
    password_file: str = path_field("")
    password_env: str = ""
    stall: float = 10.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("rtsp", "rtsps", "http", "https", "udp", "tcp") or not parts.hostname:
            raise ValueError("url must be one as rtsp://HOST/PATH")
        if parts.password is not None:
            raise ValueError("url holds a password; put it in a file and name it with password_file")

    def open(self) -> Taker:
        cv2 = _cv2()
        where = f"stream {self.url}"
        milliseconds = int(self.stall * 1000) or 10_000
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
        capture = cv2.VideoCapture(self._whole(), cv2.CAP_FFMPEG, limits)
        return _Taker(cv2, _opened(cv2, capture, where, "check the address, the password and the network"), where)

    def _whole(self) -> str:
        password = secret(self.password_file, self.password_env, "[source] password")
        if not password:
            return self.url
        parts = urlsplit(self.url)
        if not parts.username:
            raise UsageError("[source] has a password, and its url no user", "write rtsp://USER@HOST/PATH")
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{parts.username}:{quote(password, safe='')}@{host}"))


@dataclass(frozen=True)
class Video(Source):
    """A film.

    Attributes:
        path: The file.
        paced: Whether frames come as fast as it plays; False, and `every`, take them as fast as they are decoded.
    """

    path: str = path_field()
    paced: bool = True
    live = False

    def open(self) -> Taker:
        cv2 = _cv2()
        where = f"film {self.path}"
        if not Path(self.path).is_file():
            raise SourceLost(f"there is no {where}")
        capture = _opened(cv2, cv2.VideoCapture(self.path, cv2.CAP_FFMPEG), where, "it may be damaged")
        return _Taker(cv2, capture, where, film=True, paced=self.paced)
