"""Pruning of Keras networks, in a child process: TensorFlow never starts in the tests' own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("keras_child.py"))],
        capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_channels_are_rounded_and_the_head_stays(found):
    widths = found["widths"]
    assert widths["expand"] == 32 and widths["separable"] == 16 and widths["dense"] == 16
    assert widths["stem"] == widths["reduce"] == 8, "one grid for both sides of the addition"
    assert widths["head"] == 5 and found["left"] == {"head": "holds the network's outputs"}
    assert found["ratio"] < 0.7 and found["untouched"] and found["input"] == "picture"


def test_the_pruned_architecture_comes_back_from_plain_data(found):
    assert found["replayed"] < 1e-6


@pytest.mark.parametrize("importance", ["group-l2", "l1", "l2", "bn"])
def test_channels_that_nothing_takes_go_first_and_the_function_stays(found, importance):
    assert found[f"dead {importance}"] and found[f"difference {importance}"] < 1e-5


def test_a_residual_block_is_dropped_and_what_goes_around_it_stays(found):
    assert found["dropped"] == [["joined", 0]]
    assert found["kept"] and "joined" not in found["kept"], "a block with a layer to be kept stays"
    assert {"joined", "expand", "depth", "reduce"} <= set(found["gone"]) and "stem" not in found["gone"]
    assert max(found["without"]) < 1e-5


def test_sequential_networks_stay_sequential(found):
    assert found["sequential"] == ["Sequential", 8, 16, 3]


def test_steps_that_are_no_faster_are_undone(found):
    assert found["slow"] and all("not faster" in why for why in found["slow"])


def test_networks_are_timed_without_tensorflow_in_the_process(found):
    given, pruned = found["timed"]
    assert given > 0 and pruned > 0


def test_what_is_not_known_is_refused_aloud(found):
    assert "goes through a Concatenate layer" in found["unknown"]
    assert found["twice"] == "layer 'twice' is used more than once"
    assert "neither Sequential nor functional" in found["own"] and "no layer 'nowhere'" in found["nowhere"]
