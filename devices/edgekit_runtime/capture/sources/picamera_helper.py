"""Runs on the system's own Python, beside libcamera: frames of picamera2 to standard output.

Nothing of edgekit is imported here. Each frame is `HEADER` and the pixels, RGB, row by row:
magic ``EKF1``, width, height, channels (uint32), CLOCK_MONOTONIC nanoseconds (uint64), bytes that follow (uint32);
all little-endian.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time

HEADER = struct.Struct("<4sIIIQI")
MAGIC = b"EKF1"


def main() -> int:
    """Stream until the reader is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--camera", type=int, default=0)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--rate", type=float, default=0.0)
    options = parser.parse_args()
    # libcamera and picamera2 log to wherever they like: frames get a descriptor of their own
    frames = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        from picamera2 import Picamera2  # type: ignore[import-not-found]
    except ImportError as error:
        print(f"{sys.executable} has no picamera2 ({error}); apt install python3-picamera2", file=sys.stderr)
        return 4
    camera = Picamera2(options.camera)
    controls = {"FrameRate": options.rate} if options.rate else {}
    # libcamera's BGR888 is R, G, B in memory
    wanted = {"size": (options.width, options.height), "format": "BGR888"}
    camera.configure(camera.create_video_configuration(main=wanted, controls=controls))
    camera.start()
    try:
        while True:
            request = camera.capture_request()
            try:
                picture, taken = request.make_array("main"), time.monotonic_ns()
            finally:
                request.release()
            pixels = picture.tobytes()
            height, width, channels = picture.shape
            _write(frames, HEADER.pack(MAGIC, width, height, channels, taken, len(pixels)))
            _write(frames, pixels)
    except BrokenPipeError:
        return 0
    finally:
        camera.stop()


def _write(out, content) -> None:  # type: ignore[no-untyped-def]
    view = memoryview(content)
    while view:
        view = view[out.write(view) :]


if __name__ == "__main__":
    sys.exit(main())
