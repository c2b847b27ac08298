"""The whole verb: what comes in, what comes out, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgekit_runtime.capture.pipeline import Pipeline
from edgekit_runtime.capture.plan import ModelSettings, Plan, WatchSettings
from edgekit_runtime.capture.region import Region
from edgekit_runtime.capture.sinks import About
from edgekit_runtime.capture.sources import End, Sample, Source, SourceLost
from edgekit_runtime.capture.sources.base import Taker
from edgekit_runtime.errors import BackendError, SpecificationError
from edgekit_runtime.specification.detection import Detection

from .test_sinks import until
from .test_sources import film

ROWS = '[model]\nbundle = "rows.edgekit"\n[source]\nkind = "rows"\n[watch]\nevery = true\n'
FILM = '[model]\nbundle = "pictures.edgekit"\n[source]\nkind = "video"\npath = "film.avi"\n'


def test_rows_from_standard_input_with_a_bad_one_between(watch, rows_bundle):
    answers, said = watch(ROWS, stdin='a,b,c,d\n1,2,3,4\n1,2\n{"a": 9, "b": 0, "c": 0, "d": 1}\n')
    assert [a["answer"][0]["label"] for a in answers] == ["four", "one"]
    assert [(a["sequence"], a["name"], a["source"]) for a in answers] == [(1, "line 2", "rows"), (2, "line 4", "rows")]
    assert set(answers[0]) == {
        "model", "digest", "run", "sequence", "time", "source", "name", "answer", "latency_ms", "dropped"
    }  # fmt: skip
    assert "line 3: it has 2 values" in said and "3 seen, 0 dropped, 0 skipped, 2 answered, 1 failed" in said


def test_a_film_answered_frame_by_frame_and_told_when_it_changes(watch, picture_bundle):
    film(watch.folder / "film.avi")
    every, _ = watch(FILM + "[watch]\nevery = true\n")
    words = ["one", "two", "three", "four"]
    assert [a["answer"][0]["label"] for a in every] == [w for w in words for _ in range(3)]
    changes, _ = watch(FILM + "[watch]\nevery = true\nchanges_only = true\nagree = [2, 2]\n")
    assert next((a["answer"][0]["label"], a["name"]) for a in changes if a["answer"]) == ("one", "frame 2")
    assert {a["answer"][0]["label"] for a in changes} == set(words)
    thinned, said = watch(FILM + "[watch]\nevery = true\nfps = 10\n")
    assert [a["name"] for a in thinned] == ["frame 1", "frame 4", "frame 7", "frame 10"] and "8 skipped" in said
    one, _ = watch(FILM + "[watch]\nevery = true\nregion = [0.5, 0, 0.5, 1]\n", "--once", "3")
    assert len(one) == 3


def test_a_folder_with_what_is_no_picture(watch, picture_bundle):
    cv2 = pytest.importorskip("cv2", reason="pictures are made with OpenCV, not installed in this environment")
    cv2.imwrite(str(watch.folder / "b.png"), np.full((4, 8, 3), 255, np.uint8))
    (watch.folder / "a.jpg").write_bytes(b"not a picture")
    toml = FILM.replace("video", "folder").replace("film.avi", ".") + "[watch]\nevery = true\n"
    answers, said = watch(toml)
    assert [a["name"] for a in answers] == ["b.png"] and "no answer for a.jpg" in said
    (watch.folder / "b.png").unlink()
    assert watch(toml, code=1)[0] == []
    (watch.folder / "a.jpg").unlink()
    assert "no file to answer for" in watch(toml, code=1)[1]


def test_missing_things_are_one_sentence_and_exit_codes(watch, picture_bundle):
    pytest.importorskip("cv2", reason="cameras need OpenCV, not installed in this environment")
    assert "there is no film" in watch(FILM, code=1)[1]
    camera = FILM.replace("video", "camera").replace('path = "film.avi"', "device = 97")
    assert "there is no /dev/video97" in watch(camera, code=1)[1]
    assert "is not 1 or more" in watch(FILM, "--once", "0", code=2)[1]


def test_a_signal_ends_the_run_well(watch, rows_bundle):
    for number in (signal.SIGTERM, signal.SIGINT):
        child = watch.start(ROWS.replace("every = true", "metrics_port = 0"), "--json")
        child.stdin.write("1,2,3,4\n")
        child.stdin.flush()
        answer = json.loads(child.stdout.readline())  # the source waits for more
        child.send_signal(number)
        assert child.wait(60) == 0, "with its standard input still open"
        said = child.stderr.read()
        assert answer["answer"][0]["label"] == "four", said
        counts = json.loads(said.splitlines()[-1])
        assert (counts["answered"], counts["sinks"]["stdout"]["sent"]) == (1, 1) and counts["p99_ms"] > 0


def test_a_closed_standard_output_ends_the_run(watch, rows_bundle):
    child = watch.start(ROWS)
    child.stdout.close()
    child.stdin.write("1,2,3,4\n")
    child.stdin.flush()
    assert child.wait(60) == 1 and "standard output was closed" in child.stderr.read()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_metrics_are_served_on_loopback(watch, rows_bundle):
    port = free_port()
    child = watch.start(ROWS + f"metrics_port = {port}\n")
    child.stdin.write("1,2,3,4\n")
    child.stdin.flush()
    child.stdout.readline()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as page:
        text = page.read().decode()
    child.communicate(timeout=60)
    assert 'state="answered"} 1' in text and 'edgekit_requests_total{model="double"' in text


@dataclass(frozen=True)
class Script(Source):
    """Lives of a source, each a list of samples; then it is lost, or hangs (``None``)."""

    lives: tuple[tuple[object, ...], ...] = ()
    opened: list = field(default_factory=list)
    stall: float = 0.0
    live = True

    def open(self):
        if len(self.opened) >= len(self.lives):
            raise SourceLost("the device is gone")
        self.opened.append(time.monotonic())
        return ScriptTaker(list(self.lives[len(self.opened) - 1]))


class ScriptTaker(Taker):
    def __init__(self, samples):
        self.samples, self.closed = samples, threading.Event()

    def read(self):
        if not self.samples:
            raise SourceLost("the cable was pulled")
        sample = self.samples.pop(0)
        if sample is None:
            self.closed.wait(60)
            raise End
        return Sample(sample)

    def close(self):
        self.closed.set()


class Kept:
    """An outlet that keeps everything."""

    name, gone, sent, lost, refused = "kept", "", 0, 0, 0

    def __init__(self):
        self.messages = []

    def put(self, body):
        self.messages.append(json.loads(body))

    def close(self, seconds):
        return 0


def pipeline(source, answer=float, once=0, **settings):
    kept, said = Kept(), []
    plan = Plan(ModelSettings("m"), source, "script", WatchSettings(**settings), ())
    return Pipeline(plan, answer, About("m", "d", "r"), [kept], said.append, once=once), kept, said


def test_a_source_that_vanishes_or_hangs_is_opened_again():
    source = Script(((1,), (2, None), (3, 4)), stall=0.2)
    object.__setattr__(source, "stall", 0.2)
    run, kept, said = pipeline(source, once=4, every=True, reopen_after=0.1)
    counts = run.run()
    assert [m["answer"] for m in kept.messages] == [1, 2, 3, 4] and counts.reopened == 2 and counts.seen == 4
    assert "the cable was pulled; opening it again" in said[0] and "gave nothing for" in said[1]


def test_a_source_that_is_not_there_at_the_start_ends_the_run_unless_it_is_waited_for():
    with pytest.raises(SourceLost, match="the device is gone"):
        pipeline(Script())[0].run()
    run, _, said = pipeline(Script(), wait_for_source=True, reopen_after=0.01)
    threading.Thread(
        target=lambda: [time.sleep(0.01) for _ in iter(lambda: len(said) < 2, False)] and run.stop()
    ).start()
    assert run.run().answered == 0 and len(said) >= 2


def test_a_fast_source_is_dropped_from_instead_of_queued():
    began, busy, count = threading.Event(), threading.Event(), 5000

    class Burst(ScriptTaker):
        def read(self):
            sample = super().read()
            if len(self.samples) == count - 1:
                assert began.wait(30)
            if len(self.samples) == 1:
                busy.set()
            return sample

    class Bursting(Script):
        def open(self):
            return Burst([*range(count), None])

    def slow(raw):
        began.set()
        assert busy.wait(30)
        return float(raw)

    run, kept, _ = pipeline(Bursting(), slow, once=2)
    counts = run.run()
    # the first that was taken, and the newest; nothing between
    assert len(kept.messages) == 2 and kept.messages[0]["answer"] == 0
    assert kept.messages[1]["answer"] >= count - 3 and counts.dropped >= count - 5


def test_an_inference_that_hangs_ends_the_run_with_an_error():
    release = threading.Event()
    run, _, _ = pipeline(Script(((1, None),)), lambda _: release.wait(60), answer_timeout=0.3)
    with pytest.raises(BackendError, match=r"has not ended for 0\.3 s"):
        run.run()
    release.set()


def test_a_model_that_fails_is_counted_and_the_run_goes_on():
    def answer(raw):
        if raw == 2:
            raise ZeroDivisionError("by the model")
        return float(raw)

    run, kept, said = pipeline(Script(((1, 2, 3, None),)), answer, once=2, every=True)
    assert run.run().failed == 1 and [m["answer"] for m in kept.messages] == [1, 3]
    assert "ZeroDivisionError: by the model" in said[0]


def test_a_region_in_pixels_or_shares_and_its_boxes_in_the_whole_picture():
    picture = np.arange(10 * 20, dtype=np.uint8).reshape(10, 20)
    for region in ((5, 2, 10, 4), (0.25, 0.2, 0.5, 0.4)):
        part, left, top = Region(region).cut(picture)
        assert part.shape == (4, 10, 3) and part[0, 0, 0] == picture[2, 5] and (left, top) == (5, 2)
    assert Region((5, 2, 10, 4)).back([Detection("x", 0, 1.0, (1, 1, 3, 3))], 5, 2)[0].box == (6, 3, 8, 5)
    with pytest.raises(SpecificationError, match="outside the picture of 20 x 10"):
        Region((50, 2, 10, 4)).cut(picture)


def test_a_driver_that_hangs_does_not_keep_the_process(watch, rows_bundle):
    """A FIFO that nobody writes to stands for a device whose driver never answers."""
    os.mkfifo(watch.folder / "device")
    port = free_port()
    toml = ROWS.replace('kind = "rows"\n', 'kind = "rows"\npath = "device"\n') + f"metrics_port = {port}\n"
    child = watch.start(toml)
    until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 0, child.stderr.read()
