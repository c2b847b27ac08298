"""Samples from films, folders, rows, GStreamer, and stand-ins for what this machine does not have.

Cameras and microphones are stand-ins here: a `cv2.VideoCapture` that plays V4L2, a picamera2 module, an arecord.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import threading
import time
import wave

import numpy as np
import pytest

from edgekit_runtime.capture.sources import End, SourceLost
from edgekit_runtime.capture.sources.folder import Folder
from edgekit_runtime.capture.sources.gstreamer import GStreamer
from edgekit_runtime.capture.sources.microphone import Microphone
from edgekit_runtime.capture.sources.opencv import Camera, Rtsp, Video
from edgekit_runtime.capture.sources.picamera import Picamera2
from edgekit_runtime.capture.sources.rows import Malformed, Rows


def everything(source):
    taker = source.open()
    samples = []
    try:
        while True:
            samples.append(taker.read())
    except End:
        return samples
    finally:
        taker.close()


def film(path, frames=12, fps=30.0):
    """Quarter after quarter of the picture is white, three frames each."""
    cv2 = pytest.importorskip("cv2", reason="films need OpenCV, not installed in this environment")
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 32))
    for i in range(frames):
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:, 16 * (i // 3 % 4) : 16 * (i // 3 % 4) + 16] = (0, 0, 255)  # red, in OpenCV's order
        out.write(picture)
    out.release()
    return path


def test_rows_as_csv_and_json_lines_with_bad_ones_between(tmp_path):
    (tmp_path / "rows").write_bytes(
        b'\xef\xbb\xbfa,b\r\n1,2.5\n\n3\n{"a": 4}\n[5, 6]\n{"a":\n"x,1\n\xff\xfe,1\n' + b"7" * (2**20 + 9) + b"\nred,\n"
    )
    raws = {s.name: s.raw for s in everything(Rows(str(tmp_path / "rows")))}
    good = {n: r for n, r in raws.items() if not isinstance(r, Malformed)}
    assert good == {
        "line 2": {"a": 1.0, "b": 2.5}, "line 5": {"a": 4}, "line 6": [5, 6], "line 11": {"a": "red", "b": ""}
    }  # fmt: skip
    reasons = [r.reason for r in raws.values() if isinstance(r, Malformed)]
    assert reasons[0] == "it has 1 values, the header 2" and "JSON" in reasons[1] and "CSV" in reasons[2]
    assert reasons[3:] == ["it is not UTF-8", "it is longer than 1,048,576 bytes"]


def test_rows_without_a_header_are_in_the_models_order(tmp_path):
    (tmp_path / "rows").write_text("1,2\n3,4\n")
    assert [s.raw for s in everything(Rows(str(tmp_path / "rows")))] == [[1.0, 2.0], [3.0, 4.0]]
    assert everything(Rows(str(tmp_path / "rows"), ("x", "y")))[0].raw == {"x": 1.0, "y": 2.0}


def test_a_folder_in_the_order_of_names_without_what_is_no_sample(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.jpg", "c.wav"):
        (tmp_path / name).write_bytes(name.encode())
    assert [s.name for s in everything(Folder(str(tmp_path)))] == ["a.jpg", "b.PNG", "c.wav"]


def test_an_empty_or_missing_folder_is_said(tmp_path):
    with pytest.raises(SourceLost, match=r"no file to answer for.*\.jpg"):
        Folder(str(tmp_path)).open()
    with pytest.raises(SourceLost, match="cannot list"):
        Folder(str(tmp_path / "none"), follow=True).open()


def test_a_folder_that_is_followed_gives_new_files_when_they_are_whole(tmp_path):
    (tmp_path / "old.jpg").write_bytes(b"old")
    taker = Folder(str(tmp_path), follow=True, existing=False).open()
    found = []
    reader = threading.Thread(target=lambda: found.extend(taker.read() for _ in range(2)))
    reader.start()
    (tmp_path / "new.part").write_bytes(b"new")
    (tmp_path / "new.part").replace(tmp_path / "new.jpg")
    (tmp_path / "other.png").write_bytes(b"other")
    reader.join(20)
    taker.close()
    assert {s.name: s.raw for s in found} == {"new.jpg": b"new", "other.png": b"other"}


def test_a_film_in_rgb_with_its_own_clock(tmp_path):
    samples = everything(Video(str(film(tmp_path / "film.avi")), paced=False))
    assert len(samples) == 12 and samples[0].raw.shape == (32, 64, 3)
    assert samples[0].raw[16, 8, 0] > 200, "red comes first"
    assert samples[0].raw[16, 8, 2] < 60
    assert samples[3].position == pytest.approx(0.1)


def test_a_damaged_or_missing_film_is_said(tmp_path):
    pytest.importorskip("cv2", reason="films need OpenCV, not installed in this environment")
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0 ftypisom" + b"x" * 500)
    with pytest.raises(SourceLost, match="bad.mp4.*damaged"):
        everything(Video(str(tmp_path / "bad.mp4")))
    with pytest.raises(SourceLost, match="there is no film"):
        Video(str(tmp_path / "none.mp4")).open()


def test_a_camera_that_is_not_there_is_named():
    pytest.importorskip("cv2", reason="cameras need OpenCV, not installed in this environment")
    with pytest.raises(SourceLost, match="there is no /dev/video97"):
        Camera(97).open()


class StandInCapture:
    """Plays `cv2.VideoCapture` on a V4L2 device: three pictures, then it is pulled out."""

    def __init__(self, device, api):
        self.device, self.left, self.settings = device, 3, {}

    def isOpened(self):  # noqa: N802
        return True

    def set(self, what, value):
        self.settings[what] = value

    def get(self, what):
        return 0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((4, 6, 3), (1, 2, 3), np.uint8)

    def release(self):
        self.left = 0


def test_a_camera_that_is_pulled_out_is_lost(monkeypatch):
    cv2 = pytest.importorskip("cv2", reason="cameras need OpenCV, not installed in this environment")
    monkeypatch.setattr(cv2, "VideoCapture", StandInCapture)
    taker = Camera("/dev/video0", width=320, fourcc="MJPG").open()
    assert [taker.read().raw[0, 0].tolist() for _ in range(3)] == [[3, 2, 1]] * 3
    assert taker._capture.settings[cv2.CAP_PROP_FRAME_WIDTH] == 320
    with pytest.raises(SourceLost, match="gives no more pictures"):
        taker.read()


def test_an_rtsp_password_reaches_nobodys_log(tmp_path):
    pytest.importorskip("cv2", reason="streams need OpenCV, not installed in this environment")
    (tmp_path / "word").write_text("hunter2")
    program = (
        "from edgekit_runtime.capture.sources.opencv import Rtsp\n"
        f"s = Rtsp('rtsp://me@127.0.0.1:9/x', password_file={str(tmp_path / 'word')!r}, stall=2)\n"
        "print(s._whole())\ns.open()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "rtsp://me:hunter2@127.0.0.1:9/x", "what FFmpeg is given"
    assert "SourceLost: cannot open stream rtsp://me@127.0.0.1:9/x" in done.stderr and "hunter2" not in done.stderr
    assert Rtsp("rtsp://h/x")._whole() == "rtsp://h/x"


@pytest.mark.tool("gst-launch-1.0")
def test_a_real_gstreamer_pipeline(tmp_path):
    # 30 pixels wide: rows of 90 bytes are padded to 92
    samples = everything(GStreamer("videotestsrc num-buffers=3 pattern=red", width=30, height=8))
    assert len(samples) == 3 and all(s.raw.shape == (8, 30, 3) for s in samples)
    assert (np.abs(samples[2].raw.astype(int) - (255, 0, 0)) < 12).all()
    with pytest.raises(SourceLost, match="no element"):
        everything(GStreamer("nosuchelement"))


SYSTEM = shutil.which("python3", path="/usr/bin") or sys.executable
STAND_IN = """
# A stand-in for picamera2: two pictures, then the cable is pulled.
print("libcamera says hello on standard output")
class Picture:
    shape = (2, 3, 3)
    def tobytes(self):
        return bytes(range(18))
class Request:
    def make_array(self, name):
        return Picture()
    def release(self):
        pass
class Picamera2:
    def __init__(self, number):
        self.left = 2
    def create_video_configuration(self, main, controls):
        assert main["format"] == "BGR888" and main["size"] == (3, 2)
        return {}
    def configure(self, configuration):
        pass
    def start(self):
        pass
    def stop(self):
        pass
    def capture_request(self):
        if not self.left:
            raise RuntimeError("Camera frontend has timed out!")
        self.left -= 1
        return Request()
"""


def test_picamera2_on_another_interpreter(tmp_path):
    (tmp_path / "picamera2.py").write_text(STAND_IN)
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec "{SYSTEM}" "$@"\n')
    python.chmod(0o755)
    taker = Picamera2(width=3, height=2, python=str(python)).open()
    before = time.monotonic()
    samples = [taker.read(), taker.read()]
    assert samples[0].raw.reshape(-1).tolist() == list(range(18))
    assert before - 60 < samples[1].taken <= time.monotonic()
    with pytest.raises(SourceLost, match="frontend has timed out"):
        taker.read()
    taker.close()


def test_a_system_without_picamera2_says_what_to_install(tmp_path):
    (tmp_path / "picamera2.py").write_text("raise ImportError('not here')")
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec "{SYSTEM}" "$@"\n')
    python.chmod(0o755)
    taker = Picamera2(python=str(python)).open()
    with pytest.raises(SourceLost, match="apt install python3-picamera2"):
        taker.read()
    taker.close()


def test_sound_in_chunks_that_overlap(tmp_path, monkeypatch):
    arecord = tmp_path / "arecord"  # a stand-in: two seconds of a ramp
    arecord.write_text(
        f"#!{sys.executable}\nimport array, sys\nsys.stdout.buffer.write(array.array('h', range(2000)).tobytes())\n"
    )
    arecord.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    taker = Microphone(rate=1000, seconds=1.0, step=0.5, stall=20).open()
    chunks = [wave.open(io.BytesIO(taker.read().raw)) for _ in range(3)]  # noqa: SIM115
    assert [c.getnframes() for c in chunks] == [1000] * 3
    firsts = [int(np.frombuffer(c.readframes(1), np.int16)[0]) for c in chunks]
    assert firsts == [0, 500, 1000]
    with pytest.raises(SourceLost, match="ended with code 0"):
        taker.read()
    taker.close()
