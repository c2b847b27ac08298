"""Milliseconds of networks on the interpreter that ships, timed in turn: what drifts hits all alike."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.quiet import quiet

Run = Callable[[], object]


class Stopwatch:
    """Times float networks as ONNX or TFLite, on one thread; the `measure` of `prune`.

    A network is converted when it is first seen. Weights do not matter for its latency, its architecture must not
    change afterwards.

    Args:
        examples: One tensor an input, batch axis first; timed with a batch of 1.
        limits: Of the target; its first format of ``onnx`` and ``tflite`` is taken.
        seconds: Longest time for one measurement of one network, once it is converted.
    """

    def __init__(self, examples: Sequence[Any], limits: TargetLimits | None = None, seconds: float = 0.5) -> None:
        self.examples = tuple(examples)
        self.limits = limits or TargetLimits(("onnx",))
        self.seconds = seconds
        self._known: weakref.WeakKeyDictionary[Any, Run] = weakref.WeakKeyDictionary()

    def __call__(self, *networks: Any) -> tuple[float, ...]:
        """Median milliseconds of each network.

        Raises:
            ConversionError: One cannot be converted.
        """
        return in_turn([self._runner(n) for n in networks], self.seconds)

    def _runner(self, network: Any) -> Run:
        if network not in self._known:
            self._known[network] = self._open(network)
        return self._known[network]

    def _open(self, network: Any) -> Run:
        from edgekit_converters.sources.torch import TorchSource, to_onnx, to_tflite
        from edgekit_runtime.backends import backend

        format = next(f for f in self.limits.formats if f in ("onnx", "tflite"))
        one = tuple(e[:1] for e in self.examples)
        training = network.training
        try:
            source = TorchSource("candidate", "", network.eval(), one, free_batch=False)
            with tempfile.TemporaryDirectory(prefix="latency-") as work:
                convert = to_onnx if format == "onnx" else to_tflite
                converted = convert(source, Path(work), self.limits)
                content = converted.path.read_bytes()
        finally:
            network.train(training)
        session = backend("onnx" if format == "onnx" else "litert").open(content, threads=1)
        given = {i.name: e.numpy() for i, e in zip(source.inputs, one, strict=True)}
        feeds = []
        for tensor in session.inputs:
            binding = next(b for b in converted.inputs if b.name == tensor.name)
            value = given[binding.tensor]
            value = value.transpose(binding.transpose) if binding.transpose else value
            feeds.append(np.ascontiguousarray(value, binding.dtype))
        return lambda: session.run(feeds)


class KerasStopwatch:
    """Times float Keras networks as TFLite on LiteRT, on one thread, in a process without TensorFlow.

    Args:
        seconds: Longest time for one measurement of one network, once it is converted.
    """

    def __init__(self, seconds: float = 0.5) -> None:
        self.seconds = seconds
        self._known: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()

    def __call__(self, *networks: Any) -> tuple[float, ...]:
        """Median milliseconds of each network.

        Raises:
            ConversionError: One cannot be converted or timed.
        """
        with tempfile.TemporaryDirectory(prefix="latency-") as work:
            paths = [Path(work) / f"{number}.tflite" for number in range(len(networks))]
            for path, network in zip(paths, networks, strict=True):
                path.write_bytes(self._content(network))
            done = subprocess.run(
                [sys.executable, "-P", "-m", "edgekit_converters.slim.timing", str(self.seconds), *map(str, paths)],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConversionError(f"the networks could not be timed ({last:.200})")
        return tuple(json.loads(done.stdout))

    def _content(self, network: Any) -> bytes:
        if network not in self._known:
            import tensorflow as tf

            try:
                with quiet():
                    self._known[network] = tf.lite.TFLiteConverter.from_keras_model(network).convert()
            except Exception as error:  # whatever TensorFlow's converter raises
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ConversionError(f"TFLiteConverter failed ({first:.200})") from error
        return self._known[network]


def in_turn(runs: Sequence[Run], seconds: float = 0.5, rounds: int = 100) -> tuple[float, ...]:
    """Median milliseconds of each, A B C A B C.

    Args:
        runs: What to time.
        seconds: Longest time for each of them together; never fewer than 10 rounds.
        rounds: Rounds at most.
    """
    for _ in range(3):
        for run in runs:
            run()
    taken: list[list[float]] = [[] for _ in runs]
    begin = time.perf_counter()
    for number in range(rounds):
        for run, times in zip(runs, taken, strict=True):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        if number >= 9 and time.perf_counter() - begin > seconds * len(runs):
            break
    return tuple(median(times) for times in taken)
