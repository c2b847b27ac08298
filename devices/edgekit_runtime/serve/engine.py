"""In a model's process: bodies in, replies out; requests that wait together are run as one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np

from edgekit_runtime.cli import plain
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.monitor.recorder import Monitor
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.serve import oip, raw, tensorflow
from edgekit_runtime.serve.datatypes import VERSION
from edgekit_runtime.serve.http import Refused, Reply, error_reply, json_reply, packed, unpack, whole_number

_LOG = logging.getLogger("edgekit_runtime")

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Request:
    """One request as it came.

    Attributes:
        action: ``infer``, ``predict`` or ``tensorflow``.
        headers: Those that matter here, by their names in lower case.
        arrived: `time.monotonic` of its arrival.
        body: Its bytes, in shared memory: gone when the request is answered.
    """

    action: str
    headers: Mapping[str, str]
    arrived: float
    body: memoryview


@dataclass
class Result:
    """One request's reply, and what it took in nanoseconds.

    Attributes:
        reply: The reply.
        decode: Body to tensors.
        infer: Inference; a batch's is each of its requests'.
        encode: Tensors to reply.
        samples: Samples that were inferred.
        batch: Samples of its inference; 0 where another request of its batch counts it.
    """

    reply: Reply
    decode: int = 0
    infer: int = 0
    encode: int = 0
    samples: int = 0
    batch: int = 0


@dataclass
class _Work:
    """A decoded request: tensors and what makes a reply of them, or a raw sample."""

    place: int
    decode: int
    feeds: Tensors
    encode: Callable[[Tensors], Reply]
    sample: Any = None
    rows: int = 1

    @property
    def kind(self) -> Any:
        """Equal for requests that can be run as one."""
        return tuple((n, a.shape[1:], a.dtype.str) for n, a in self.feeds.items())


class Engine:
    """Answers requests with one runtime.

    Args:
        runtime: The runtime.
        limit: Bytes that a body may have when it is unpacked.
        monitor: Who counts the model's calls; None for nobody.
    """

    def __init__(self, runtime: Runtime, limit: int, monitor: Optional[Monitor] = None) -> None:
        self._runtime, self._limit, self._monitor = runtime, limit, monitor
        self._manifest = runtime.manifest
        self._dtypes = {o.name: o.dtype for o in self._manifest.outputs}
        self._batch = runtime.takes_batches

    def answer(self, requests: Sequence[Request]) -> list[Result]:
        """A reply for each request, whatever is wrong with it."""
        results: list[Optional[Result]] = [None] * len(requests)
        groups: dict[Any, list[_Work]] = {}
        for place, request in enumerate(requests):
            begin = time.perf_counter_ns()
            try:
                work = self._decoded(place, request, begin)
            except Exception as error:
                results[place] = Result(_failed(error), time.perf_counter_ns() - begin)
                continue
            groups.setdefault("raw" if work.sample is not None else work.kind, []).append(work)
        for group in groups.values():
            for work, result in zip(group, self._run(group)):
                results[work.place] = result
        return [r for r in results if r is not None]

    def _decoded(self, place: int, request: Request, begin: int) -> _Work:
        headers = request.headers
        encoding = headers.get("content-encoding", "")
        content: Any = unpack(bytes(request.body), encoding, self._limit) if encoding else request.body
        if request.action == "infer":
            length = whole_number(headers.get("inference-header-content-length", ""), oip.LENGTH_HEADER)
            asked = oip.decode_request(content, length)
            if asked.timeout is not None and time.monotonic() > request.arrived + asked.timeout:
                raise Refused(504, "the timeout passed before the request had its turn")
            accepted = headers.get("accept-encoding", "")

            def encode(outputs: Tensors) -> Reply:
                return packed(oip.encode_reply(self._manifest.name, VERSION, asked, outputs, self._dtypes), accepted)

            feeds = self._checked(asked.inputs)
        elif request.action == "tensorflow":
            inputs, by_row = tensorflow.decode_request(bytes(content), self._manifest)

            def encode(outputs: Tensors) -> Reply:
                return tensorflow.encode_reply(outputs, self._dtypes, by_row)

            feeds = self._checked(inputs)
        else:
            sample = raw.decode_sample(raw.kind_of(self._manifest), headers.get("content-type", ""), bytes(content))
            return _Work(place, time.perf_counter_ns() - begin, {}, json_reply, sample)
        rows = len(next(iter(feeds.values()))) if self._batch else 1
        return _Work(place, time.perf_counter_ns() - begin, feeds, encode, rows=rows)

    def _run(self, group: Sequence[_Work]) -> list[Result]:
        if len(group) > 1 and self._runtime.joins_batches:
            try:
                return self._together(group)
            except Exception as error:  # each by itself: one's fault is not the others'
                _LOG.debug("a batch of %d failed (%s)", len(group), error)
        return [self._alone(work) for work in group]

    def _alone(self, work: _Work) -> Result:
        begin = time.perf_counter_ns()
        try:
            if work.sample is not None:
                scores, answer = self._runtime.answer(work.sample)
            else:
                outputs = self._runtime.run(work.feeds)
        except Exception as error:
            if self._monitor is not None:
                self._monitor.failed()
            return Result(_failed(error), work.decode, time.perf_counter_ns() - begin)
        taken = time.perf_counter_ns() - begin
        if work.sample is not None:
            result = self._told(work, answer, taken)
            if self._monitor is not None:
                self._monitor.count(taken / 1e9, raw=work.sample, scores=scores)
        else:
            result = self._encoded(work, outputs, taken)
            self._count(outputs, work.rows, taken)
        result.batch = work.rows
        return result

    def _together(self, group: Sequence[_Work]) -> list[Result]:
        begin = time.perf_counter_ns()
        if group[0].sample is not None:
            answers = self._runtime.answer_batch([w.sample for w in group])
            taken = time.perf_counter_ns() - begin
            results = [self._told(w, answer, taken) for w, (_, answer) in zip(group, answers)]
            for work, (scores, _) in zip(group, answers) if self._monitor is not None else ():
                self._monitor.count(taken / 1e9, raw=work.sample, scores=scores)  # type: ignore[union-attr]
            results[0].batch = len(group)
            return results
        feeds = {n: np.concatenate([w.feeds[n] for w in group]) for n in group[0].feeds}
        outputs = self._runtime.run(feeds)
        rows = sum(w.rows for w in group)
        if any(v.shape[:1] != (rows,) for v in outputs.values()):
            raise EdgekitError("an output has no row for each sample")
        taken = time.perf_counter_ns() - begin
        results, place = [], 0
        for work in group:
            results.append(self._encoded(work, {n: v[place : place + work.rows] for n, v in outputs.items()}, taken))
            place += work.rows
        self._count(outputs, rows, taken)
        results[0].batch = rows
        return results

    def _encoded(self, work: _Work, outputs: Tensors, taken: int) -> Result:
        begin = time.perf_counter_ns()
        try:
            reply = work.encode(outputs)
        except Exception as error:
            reply = _failed(error)
        return Result(reply, work.decode, taken, time.perf_counter_ns() - begin, work.rows)

    def _told(self, work: _Work, answer: Any, taken: int) -> Result:
        begin = time.perf_counter_ns()
        try:
            reply = json_reply({"predictions": [{"input": "body", "answer": plain(answer)}]})
        except EdgekitError as error:
            reply = _failed(error)
        return Result(reply, work.decode, taken, time.perf_counter_ns() - begin, 1)

    def _count(self, outputs: Tensors, rows: int, taken: int) -> None:
        """Tell the monitor; raw samples are not at hand here, so inputs are not counted."""
        if self._monitor is None:
            return
        by_row = all(v.shape[:1] == (rows,) for v in outputs.values())
        for i in range(rows):
            scores = None
            if by_row:
                try:
                    one = {n: v[i] for n, v in outputs.items()}
                    scores = self._runtime.specification.scores(one, self._runtime.context())
                except EdgekitError:  # a step that needs to know the raw sample
                    pass
            self._monitor.count(taken / rows / 1e9, scores=scores)

    def _checked(self, inputs: Tensors) -> Tensors:
        """The inputs in the model's order; what does not fit is told before it runs.

        Raises:
            Refused: 400, naming the input and what it takes.
        """
        infos = self._manifest.inputs
        if set(inputs) != {i.name for i in infos}:
            given = ", ".join(inputs)[:200]
            raise Refused(400, f"the model takes {', '.join(i.name for i in infos)}, but was given {given}")
        batches = set()
        for info in infos:
            array = inputs[info.name]
            shape = (-1, *info.shape[1:]) if self._batch and info.shape else info.shape
            if len(array.shape) != len(shape) or any(w not in (-1, g) for w, g in zip(shape, array.shape)):
                raise Refused(400, f"input {info.name!r} takes shape {list(shape)}, not {list(array.shape)}")
            if 0 in array.shape:
                raise Refused(400, f"input {info.name!r} is empty")
            if not _convertible(array.dtype, info.dtype):
                raise Refused(400, f"input {info.name!r} takes {info.dtype}, not {array.dtype}")
            batches.add(array.shape[:1])
        if self._batch and len(batches) != 1:
            raise Refused(400, "the inputs differ in their number of samples")
        return {i.name: inputs[i.name] for i in infos}


def _convertible(given: np.dtype, wanted: str) -> bool:
    """Whether no number can change: a picture of bytes may go to a float model, but no fraction to a whole number."""
    if wanted == "string" or given.kind == "O":
        return wanted == "string" and given.kind == "O"
    want = np.dtype(wanted)
    return np.can_cast(given, want, "same_kind" if want.kind == "f" else "safe")


def _failed(error: Exception) -> Reply:
    if isinstance(error, EdgekitError):
        return error_reply(error, error.status if isinstance(error, Refused) else 422)
    _LOG.error("a request failed", exc_info=error)
    return json_reply({"error": "the server failed; its log says why"}, 500)
