"""KServe's own clients, unchanged, against our server."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import numpy as np
import onnxruntime
import pytest

from . import network
from .conftest import HERE, TOKEN, python_of


@pytest.fixture(scope="module")
def expected(model):
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": network.pictures(3)})[0]


@pytest.fixture(scope="module")
def said(ours) -> Any:
    question = {
        "rest": f"http://{ours.http}",
        "grpc": ours.grpc,
        "token": f"Bearer {TOKEN}",
        "model": network.NAME,
        "array": network.pictures(3).tolist(),
    }
    done = subprocess.run(
        [python_of("kserve"), str(HERE / "ask_with_kserve.py")],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_the_clients_find_the_server_and_the_model(said):
    assert said["live"] and said["ready"] and said["model ready"] and said["grpc live"] and said["grpc model ready"]


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("rest", "JSON"),
        ("rest", "binary"),
        ("rest", "binary both ways"),
        ("rest", "v1"),
        ("grpc", "typed"),
        ("grpc", "raw"),
    ],
)
def test_every_way_gives_the_models_answer(said, expected, way, kind):
    found = said[way][kind]
    assert found["id"] == "7"
    assert np.allclose(found["scores"], expected, rtol=0, atol=1e-6)
    assert np.array(found["scores"]).shape == (3, network.CLASSES)


def test_refusals_reach_the_user_with_their_sentence(said):
    status, text = said["rest"]["wrong input"]
    assert status == 400 and "takes image, but was given picture" in text
    status, text = said["rest"]["wrong token"]
    assert status == 401 and "wants a token" in text
    code, text = said["grpc"]["wrong input"]
    assert code == "INVALID_ARGUMENT" and "takes image, but was given picture" in text
