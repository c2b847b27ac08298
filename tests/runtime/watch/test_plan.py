"""The TOML file, and what decides whether an answer is told."""

from __future__ import annotations

import json
import os
import platform

import pytest

from edgekit_runtime import Bundle
from edgekit_runtime.capture.changes import Changes
from edgekit_runtime.capture.plan import WatchSettings, masked, read_plan
from edgekit_runtime.capture.settings import secret
from edgekit_runtime.errors import UsageError
from edgekit_runtime.signing import signature_path
from edgekit_runtime.specification.detection import Detection
from edgekit_runtime.specification.output import Class

from ..test_plain import ROWS as NATIVE
from ..test_plain import bundle_of, library
from ..test_signing import PUBLIC, pem, signature_of

GOOD = '[model]\nbundle = "m.edgekit"\n[source]\nkind = "rows"\n'


def read(tmp_path, text):
    (tmp_path / "watch.toml").write_text(text)
    return read_plan(tmp_path / "watch.toml")


def test_paths_are_beside_the_file_and_the_sink_is_standard_output(tmp_path):
    plan = read(tmp_path, GOOD + 'path = "rows.csv"\n')
    assert plan.model.bundle == str(tmp_path / "m.edgekit") and plan.source.path == str(tmp_path / "rows.csv")
    assert [type(s).__name__ for s in plan.sinks] == ["Stdout"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model\n", "is not TOML"),
        ("\x00", "is not TOML"),
        ("", "[source] needs a kind"),
        (GOOD + "[wtach]\n", "did you mean watch?"),
        (GOOD + "colums = []\n", "did you mean columns?"),
        (GOOD.replace("rows", "camra"), "did you mean camera?"),
        (GOOD + "[watch]\nmin_scor = 1\n", "did you mean min_score?"),
        (GOOD + '[watch]\nfps = "ten"\n', "fps must be a number"),
        (GOOD + "[watch]\nfps = -1\n", "must not be negative"),
        (GOOD + "[watch]\nagree = [2, 4]\n", "more than half"),
        (GOOD + "[watch]\nregion = [0, 0, 0, 5]\n", "region must be"),
        (GOOD + "[sink]\n", "[[sink]]"),
        (GOOD + '[[sink]]\nkind = "mqtt"\n', "host is missing"),
        (GOOD + '[[sink]]\nkind = "mqtt"\nhost = "h"\npassword = "x"\n', "has no setting 'password'"),
        (GOOD + '[[sink]]\nkind = "mqtt"\nhost = "h"\ntopic = "a/#"\n', "no + or #"),
        (GOOD + '[[sink]]\nkind = "http"\nurl = "http://u:secret@h/"\n', "token_file"),
        (GOOD.replace("rows", "gstreamer") + 'pipeline = ""\n', "must not be empty"),
        (GOOD.replace("rows", "gstreamer") + 'pipeline = "a \'"\n', "quotation"),
        ('[model]\n[source]\nkind = "rows"\n', "bundle is missing"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(tmp_path, text, words):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value) and "\n" not in str(caught.value).strip()


def test_a_password_in_an_url_is_refused_without_being_repeated(tmp_path):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, GOOD.replace("rows", "rtsp") + 'url = "rtsp://me:hunter2@camera/1"\n')
    assert "password_file" in str(caught.value) and "hunter2" not in str(caught.value)
    assert masked("cannot open rtsp://me:hunter2@camera/1") == "cannot open rtsp://me:***@camera/1"


def test_secrets_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    (tmp_path / "word").write_text("s3cret\n")
    monkeypatch.setenv("WORD", "other")
    assert secret(str(tmp_path / "word"), "", "it") == "s3cret" and secret("", "WORD", "it") == "other"
    assert secret("", "", "it") == ""
    for file, variable in ((str(tmp_path / "none"), ""), ("", "NOT_SET"), (str(tmp_path / "word"), "WORD")):
        with pytest.raises(UsageError):
            secret(file, variable, "it")


def test_check_runs_nothing(watch, rows_bundle):
    toml = GOOD.replace("m.edgekit", "rows.edgekit")
    said = watch.start(toml, "--check", "--json").communicate(timeout=60)[0]
    assert json.loads(said)["source"] == "rows"
    assert "m.edgekit" in watch(GOOD, "--check", code=1)[1]
    (watch.folder / "watch.toml").unlink()
    os.mkfifo(watch.folder / "rows.csv")  # opening it would wait for ever
    watch(toml + 'path = "rows.csv"\n', "--check")


def seen(*labels, score=0.9):
    return [Class(label, 0, score) for label in labels]


def boxed(*labels):
    return [Detection(label, 0, 0.9, (0, 0, 1, 1)) for label in labels]


def told(changes, answers):
    return [changes(a)[0] for a in answers]


def test_without_changes_only_everything_is_told_but_what_is_left_out(tmp_path):
    changes = Changes(WatchSettings(min_score=0.5, classes=("cat",), skip_empty=True))
    assert changes(seen("cat", "dog"))[1] == seen("cat")
    assert told(changes, [seen("dog"), seen("cat", score=0.4), seen("cat")]) == [False, False, True]


def test_a_change_is_told_when_enough_answers_agree():
    changes = Changes(WatchSettings(changes_only=True, agree=(2, 3)))
    answers = [seen(x) for x in ("cat", "cat", "dog", "cat", "dog", "dog", "dog")]
    assert told(changes, answers) == [False, True, False, False, True, False, False]


def test_what_was_told_stays_down_to_the_release_score():
    changes = Changes(WatchSettings(changes_only=True, min_score=0.8, release_score=0.5))
    scores = (0.7, 0.85, 0.6, 0.4, 0.7, 0.9)
    # nothing at first; there; stays; gone; not enough to come back; there
    assert told(changes, [seen("cat", score=s) for s in scores]) == [True, True, False, True, False, True]


def test_each_label_of_boxes_comes_and_goes_by_itself():
    changes = Changes(WatchSettings(changes_only=True))
    answers = [boxed("cat"), boxed("cat", "cat"), boxed("cat", "dog"), boxed("dog"), boxed("dog"), []]
    assert told(changes, answers) == [True, False, True, True, False, True]


def test_numbers_are_told_when_they_have_moved():
    changes = Changes(WatchSettings(changes_only=True, min_change=1.0))
    assert told(changes, [10.0, 10.5, 11.5, 11.0, 9.0]) == [True, False, True, False, True]


@pytest.mark.tool("cc")
def test_native_code_runs_by_the_key_that_signed_it_as_elsewhere(tmp_path, watch):
    bundle = bundle_of(tmp_path, library(tmp_path, NATIVE), platform.machine())
    toml = '[model]\nbundle = "a.edgekit"\n[source]\nkind = "rows"\n[watch]\nevery = true\n'
    (tmp_path / "k.pub").write_text(pem(PUBLIC))
    key = f"--key={tmp_path / 'k.pub'}"
    _, said = watch(toml, key, code=2)
    assert "native code" in said and "--key" in said
    with Bundle.open(bundle) as opened:
        digest = opened.digest
    signature_path(bundle).write_bytes(signature_of(digest).to_json())
    _, said = watch(toml, key, stdin="")
    assert "native code" not in said and "0 seen" in said
    signature_path(bundle).write_bytes(signature_of("0" * 64).to_json())
    _, said = watch(toml, key, code=1)
    assert said.count("\n") == 1
