"""`edgekit compress --host`: latencies come from the board, which is asked for before anything takes long."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ..conftest import edgekit


def compressed(model: Path, data: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return edgekit("compress", str(model), "-t", "generic-cpu", "--data", str(data), "--preprocess", "0..1",
                   "--limit", "40", "--max-drop", "0.2", "-o", "a", "--overwrite", "--json", *options,
                   cwd=folder)  # fmt: skip


def way(host: str, options: Sequence[str]) -> list[str]:
    return ["--host", host, *(word for option in options for word in ("--ssh-option", option))]


@pytest.mark.tool("sshd")
def test_latencies_are_the_boards(sshd, wheels, digits_onnx, trained, tmp_path):
    """On a board that has nothing of ours yet: the runtime is brought, float and int8 are timed in turns."""
    host, home = f"{getpass.getuser()}@127.0.0.1", sshd.folder / "home"
    assert not (home / ".edgekit").exists()
    there = way(host, sshd.options)
    done = compressed(digits_onnx, trained / "digits.npz", tmp_path, *there)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["measured_on"].startswith(f"{host}: ") and "workstation" not in told["measured_on"]
    floating, int8 = told["attempts"][:2]
    assert floating["latency_ratio_interval"] == [1.0, 1.0] and int8["latency_ms"] > 0
    low, high = int8["latency_ratio_interval"]
    assert low <= int8["latency_ratio"] <= high and ("slower than float" in int8["verdict"]) == (low > 1)
    assert list((home / ".edgekit").glob("venv-*")) and (tmp_path / "a.edgekit").is_file()
    # what was measured there is kept: the same again does without the board
    off = [o.replace(f"Port={sshd.port}", "Port=1") for o in sshd.options]
    again = compressed(digits_onnx, trained / "digits.npz", tmp_path, *way(host, off))
    assert again.returncode == 0, again.stderr
    assert all(row["from_earlier_run"] for row in json.loads(again.stdout)["attempts"])


@pytest.mark.tool("ssh")
def test_a_board_that_is_off_ends_it_before_anything_takes_long(digits_onnx, trained, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        there = way("127.0.0.1", [f"Port={closed.getsockname()[1]}"])
        done = compressed(digits_onnx, trained / "digits.npz", tmp_path, *there)
    assert done.returncode == 1 and "cannot reach 127.0.0.1" in done.stderr and "Traceback" not in done.stderr
    assert "convert" not in done.stderr and not (tmp_path / "a.edgekit").exists() and not done.stdout


@pytest.mark.tool("sshd")
def test_a_runtime_that_cannot_be_brought_is_one_sentence(sshd, digits_onnx, trained, tmp_path):
    """A wheelhouse that has no wheel for the board, and a Python that it does not have."""
    (tmp_path / "empty").mkdir()
    there = way(f"{getpass.getuser()}@127.0.0.1", sshd.options)
    for option, said in (("--wheelhouse=empty", "empty"), ("--python=3.2", "3.2")):
        done = compressed(digits_onnx, trained / "digits.npz", tmp_path, *there, option)
        last = done.stderr.strip().splitlines()
        assert done.returncode in (1, 2, 4) and said in " ".join(last[-3:]) and "Traceback" not in done.stderr
        assert not (tmp_path / "a.edgekit").exists()
