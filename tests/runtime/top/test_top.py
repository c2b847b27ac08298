"""`edgekit-runtime top` beside a real server, in a pipe and in a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import subprocess
import sys

import pytest

from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.cli import main

from ..conftest import double_manifest
from ..serve.test_server import TOKEN, ask, needs_uvicorn, process  # noqa: F401

TOP = [sys.executable, "-m", "edgekit_runtime", "top"]
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()


@pytest.fixture
def server(tmp_path, needs_uvicorn):  # noqa: F811
    path = tmp_path / "double.edgekit"
    write_bundle(path, *double_manifest())
    with process(path, f"--socket={tmp_path / 's'}") as where:
        yield where


def shown(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["top", *arguments])
    assert end.value.code == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_one_look_at_a_server(server, capsys, monkeypatch, tmp_path):
    assert [ask(server, "POST", "/v2/models/double/infer", BODY)[0] for _ in range(3)] == [200] * 3
    assert ask(server, "POST", "/v2/models/double/infer", b"nonsense")[0] == 400
    digest = json.loads(ask(server, "GET", "/v2/models/double")[1])["parameters"]["digest"]
    (tmp_path / "token").write_text(TOKEN)
    options = ("--socket", server[len("unix:") :], "--token-file", str(tmp_path / "token"), "--once", "--interval=0.1")
    monkeypatch.setenv("COLUMNS", "120")
    text = shown(capsys, *options)
    assert "ready" in text and "litert" in text and digest[:8] in text and "RAM" in text and "\x1b" not in text
    said = json.loads(shown(capsys, *options, "--json"))
    (model,) = said["models"]
    assert said["ready"] and said["device"]["memory_bytes"] > 0
    assert (model["requests"], model["errors"], model["digest"]) == (4, 1, digest)
    assert model["state"] == "READY" and 0 < model["p50_ms"] <= model["p99_ms"]


def test_a_terminal_is_drawn_on_and_left_as_it_was(server):
    mine, theirs = pty.openpty()
    words = [*TOP, "--socket", server[len("unix:") :], "--interval=0.1"]
    settings = {**os.environ, "TERM": "xterm", "EDGEKIT_SERVE_TOKEN": TOKEN, "COLUMNS": "100", "PYTHONUTF8": "1"}
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=settings) as running:
        try:
            os.close(theirs)
            seen = until(mine, b"double")
            os.write(mine, b"q")
            seen += until(mine, b"\x1b[?1049l")
            assert running.wait(10) == 0
        finally:
            running.kill()
            os.close(mine)
    assert seen.startswith(b"\x1b[?1049h\x1b[?25l") and b"\x1b[?25h" in seen
    assert b"\x1b[2J" not in seen  # clearing first is what flickers


def until(terminal: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        assert select.select([terminal], [], [], 30)[0], seen
        seen += os.read(terminal, 65536)
    return seen


def test_lines_go_on_through_a_server_that_is_not_there(tmp_path):
    words = [*TOP, "--socket", str(tmp_path / "none"), "--interval=0.05"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline().endswith("trying again\n")
        assert running.poll() is None
        running.terminate()
        assert running.wait(10) == 0 and running.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["http://127.0.0.1:1", "--once"], 1, "does not answer"),
        (["--socket=/nowhere/at/all", "--once"], 1, "does not answer"),
        (["ftp://pi"], 2, "is not the URL of a server"),
        (["http://pi:none"], 2, "is not a URL"),
        (["http://[pi"], 2, "is not a URL"),
        (["--interval=0"], 2, "is not between"),
        (["--token-file=/nowhere"], 2, "cannot read the token"),
    ],
)
def test_what_cannot_be_is_one_sentence(capsys, arguments, code, said):
    with pytest.raises(SystemExit) as end:
        main(["top", *arguments])
    printed = capsys.readouterr()
    assert end.value.code == code and said in printed.err and printed.err.count("\n") == 1 and not printed.out


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", b""])
def test_a_server_of_another_kind_is_one_sentence(capsys, tmp_path, answer):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "s"))
        other.listen(8)
        words = [*TOP, "--once", "--socket", str(tmp_path / "s")]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as running:
            other.settimeout(30)
            while running.poll() is None:
                if not select.select([other], [], [], 0.05)[0]:
                    continue
                asked = other.accept()[0]
                with asked:
                    asked.recv(65536)
                    asked.sendall(answer)
            assert running.stderr is not None
            assert running.returncode == 1 and running.stderr.read().count("\n") == 1
