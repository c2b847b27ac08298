"""Runtime: a bundle, opened and ready to answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np

from edgekit_runtime.backends import Backend, Session, accelerator_of, choose
from edgekit_runtime.binding import feeder, fetcher
from edgekit_runtime.bundle import Bundle
from edgekit_runtime.errors import BackendError, EdgekitError, MissingRequirement, SpecificationError, UsageError
from edgekit_runtime.manifest import Manifest, Variant
from edgekit_runtime.native import member_to_run
from edgekit_runtime.shortcut import shortcut
from edgekit_runtime.specification import FOLDER, Specification, Tensors, files_of
from edgekit_runtime.specification.step import Context

if TYPE_CHECKING:
    from edgekit_runtime.choice import Choice

_LOG = logging.getLogger("edgekit_runtime")


class Runtime:
    """One variant of a model on one back end, with its pre- and post-processing.

    Not to be used from two threads at once: open one per thread.

    Attributes:
        manifest: What the bundle says about itself.
        variant: The variant that runs.
        backend: The back end that runs it.
        session: The interpreter's session.
        specification: Pre- and post-processing.
        fallback: Why another variant than the chosen one runs, in one sentence; empty where it is the chosen one, or
            the one that was asked for.
        choice: What was measured to choose this variant, back end and number of threads; None where nothing was.
    """

    fallback: str = ""
    choice: Optional[Choice] = None

    def __init__(
        self,
        manifest: Manifest,
        variant: Variant,
        backend: Backend,
        session: Session,
        files: Optional[Mapping[str, bytes]] = None,
    ) -> None:
        self.manifest = manifest
        self.variant = variant
        self.backend = backend
        self.session = session
        self.specification = Specification.from_data(manifest.specification, files)
        self._names = [i.name for i in manifest.inputs]
        ins = {b.name: (i, b) for i, b in zip(manifest.inputs, variant.inputs)}
        outs = {t.name: (n, t) for n, t in enumerate(session.outputs)}
        if set(ins) != {t.name for t in session.inputs} or any(b.name not in outs for b in variant.outputs):
            raise BackendError(
                f"the file of variant {variant.name!r} does not have the tensors that the manifest binds; it takes "
                f"{', '.join(t.name for t in session.inputs)} and gives {', '.join(outs)}"
            )
        # the session takes its inputs in the file's order
        self._feeders = [
            (ins[found.name][0].name, feeder(ins[found.name][0], ins[found.name][1], found)) for found in session.inputs
        ]
        self._fetchers = [
            (info.name, outs[b.name][0], fetcher(info, b, outs[b.name][1]))
            for info, b in zip(manifest.outputs, variant.outputs)
        ]
        self._batches = all(b.shape[:1] == (-1,) for b in (*variant.inputs, *variant.outputs))
        self._single = all(b.shape[:1] == (1,) for b in variant.inputs)
        only = len(manifest.inputs) == 1
        self._shortcut = shortcut(self.specification, manifest.inputs[0], variant.inputs[0]) if only else None

    @classmethod
    def open(
        cls,
        bundle: Union[str, os.PathLike[str], Bundle],
        *,
        variant: Optional[str] = None,
        backend: Optional[str] = None,
        threads: Optional[int] = None,
        trust: bool = False,
        measured: bool = False,
    ) -> Runtime:
        """Open a bundle for inference.

        Without `variant` it is the chosen one on the first of its back ends that is installed. Where none of them is,
        or `backend` cannot open it, the next variant of the bundle that can run takes its place; that is never silent:
        `fallback` says why, and the logger ``edgekit_runtime`` warns (on standard error unless logging is set up).
        A variant that is made for an accelerator is never replaced so: the CPU takes its place only when it is asked
        for, by `variant` or `backend`.

        Args:
            bundle: Path or opened bundle.
            variant: The only variant that will do.
            backend: The only back end that will do.
            threads: Threads for one inference; None for the interpreter's own choice.
            trust: Whether native code in the bundle may run.
            measured: Whether what is fastest here runs instead, of what `variant`, `backend` and `threads` leave; that
                is measured the first time (`edgekit_runtime.choice.choose_here`).

        Raises:
            BundleError: The bundle is not what it should be.
            UsageError: There is no such back end, it cannot open the variant, there are less than 1 threads, or the
                variant is native code and `trust` is not set.
            MissingRequirement: No interpreter for the variant is installed (names the extra), or it is native code for
                other machines.
            BackendError: The interpreter refused the model.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        try:
            choice = None
            if measured:
                from edgekit_runtime.choice import choose_here

                choice = choose_here(opened, variant=variant, backend=backend, threads=threads, trust=trust)
                variant, backend, threads = choice.variant, choice.backend, choice.threads
            wanted, chosen, fallback = _pick(opened.manifest, variant, backend, trust)
            member = member_to_run(wanted, native=chosen.native, trust=trust)
            session = chosen.open(opened.view(member), threads=threads)
            runtime = cls(opened.manifest, wanted, chosen, session, specification_files(opened))
        finally:
            if opened is not bundle:
                opened.close()
        runtime.choice = choice
        if fallback:
            runtime.fallback = fallback
            _LOG.warning("%s", fallback)
        return runtime

    def __call__(self, raw: Any) -> Any:
        """The answer for one raw sample, as the specification's last output step gives it.

        Raises:
            SpecificationError: The sample is not what the specification says.
            BackendError: The interpreter failed.
        """
        context = self.context()
        return self.specification.postprocess(self._answer(raw, context), context)

    def answer(self, raw: Any) -> tuple[Any, Any]:
        """`scores` and the answer of one raw sample from one inference, for whoever watches the model."""
        context = self.context()
        return self.specification.answer(self._answer(raw, context), context)

    def predict_batch(self, raws: Sequence[Any]) -> list[Any]:
        """Answers for several raw samples; one inference where the variant takes batches, else one each."""
        contexts = [self.context() for _ in raws]
        return [self.specification.postprocess(a, c) for a, c in zip(self._answers(raws, contexts), contexts)]

    def answer_batch(self, raws: Sequence[Any]) -> list[tuple[Any, Any]]:
        """`answer` of several raw samples; one inference where the variant takes batches, else one each."""
        contexts = [self.context() for _ in raws]
        return [self.specification.answer(a, c) for a, c in zip(self._answers(raws, contexts), contexts)]

    def preprocess(self, raw: Any) -> dict[str, np.ndarray]:
        """Model inputs for one raw sample, with a batch axis of 1, as `run` takes them."""
        value = self._named(self.specification.preprocess(raw, self.context()))
        return {n: v[None] for n, v in value.items()}

    def tensors(self, raw: Any) -> dict[str, np.ndarray]:
        """Model outputs (name to array without batch axis, dequantized) for one raw sample."""
        return self._answer(raw, self.context())

    def scores(self, raw: Any) -> np.ndarray:
        """Scores of one raw sample: every output step but those that present an answer."""
        context = self.context()
        return np.asarray(self.specification.scores(self._answer(raw, context), context))

    def run(self, feeds: Tensors) -> dict[str, np.ndarray]:
        """Model inputs (with batch axis, as `manifest.inputs`) to outputs (with batch axis, dequantized).

        A file that is fixed to a batch of 1 is run once for each sample of a larger batch.

        Raises:
            BackendError: An input is missing or does not fit; names it and the shape it takes.
        """
        try:
            if self._single and feeds[self._names[0]].shape[:1] > (1,):
                return self._each(feeds)
            arrays = [feed(feeds[name]) for name, feed in self._feeders]
        except KeyError as error:
            raise BackendError(f"input {error} is missing; the model takes {', '.join(self._names)}") from error
        return self._run_file(arrays)

    @property
    def takes_batches(self) -> bool:
        """Whether `run` takes any number of samples at once (in one inference or one each)."""
        return self._single or all(b.shape[:1] == (-1,) for b in self.variant.inputs)

    @property
    def joins_batches(self) -> bool:
        """Whether `run` takes any number of samples in one inference."""
        return self._batches

    def context(self) -> Context:
        """A fresh context for one sample."""
        return Context(labels=self.manifest.labels)

    def close(self) -> None:
        """Release the interpreter."""
        self.session.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _named(self, value: Union[np.ndarray, Tensors]) -> Mapping[str, np.ndarray]:
        if not isinstance(value, Mapping):
            if len(self._names) != 1:
                raise SpecificationError(f"the model takes {', '.join(self._names)}, but only one array was given")
            return {self._names[0]: np.asarray(value)}
        if set(value) != set(self._names):
            given = ", ".join(map(str, value)) or "nothing"
            raise SpecificationError(f"the model takes {', '.join(self._names)}, but was given {given}")
        return {n: np.asarray(v) for n, v in value.items()}

    def _answer(self, raw: Any, context: Context) -> dict[str, np.ndarray]:
        """Outputs for one raw sample, without batch axis."""
        if self._shortcut is not None:
            outputs = self._run_file([self._shortcut(raw, context)])
        else:
            value = self.specification.preprocess(raw, context)
            outputs = self.run({n: v[None] for n, v in self._named(value).items()})
        return {n: v[0] if v.ndim else v for n, v in outputs.items()}

    def _answers(self, raws: Sequence[Any], contexts: Sequence[Context]) -> list[dict[str, np.ndarray]]:
        """Outputs for several raw samples, each without batch axis."""
        if not len(raws):
            return []
        if not self._batches:
            return [self._answer(r, c) for r, c in zip(raws, contexts)]
        return self._together(raws, contexts)

    def _together(self, raws: Sequence[Any], contexts: Sequence[Context]) -> list[dict[str, np.ndarray]]:
        """Outputs for several raw samples from one inference; from one each where their inputs differ in shape."""
        if self._shortcut is not None:
            arrays = [self._shortcut(r, c) for r, c in zip(raws, contexts)]
            feeds = [np.concatenate(arrays)] if len({a.shape for a in arrays}) == 1 else []
            results = [self._run_file(feeds)] if feeds else [self._run_file([a]) for a in arrays]
        else:
            prepared = [self._named(self.specification.preprocess(r, c)) for r, c in zip(raws, contexts)]
            alike = all(len({p[n].shape for p in prepared}) == 1 for n in self._names)
            batches = [prepared] if alike else [[p] for p in prepared]
            results = [self.run({n: np.stack([p[n] for p in batch]) for n in self._names}) for batch in batches]
        return [{n: v[i] for n, v in outputs.items()} for outputs in results for i in range(_length(outputs))]

    def _run_file(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        """The file's inputs, in its order, to the model's outputs, with batch axis."""
        outputs = self.session.run(arrays)
        return {name: fetch(outputs[place]) for name, place, fetch in self._fetchers}

    def _each(self, feeds: Tensors) -> dict[str, np.ndarray]:
        counts = {n: len(feeds[n]) for n in self._names}
        if len(set(counts.values())) != 1:
            raise BackendError(f"the inputs have batches of different size: {counts}")
        parts = [self.run({n: feeds[n][i : i + 1] for n in self._names}) for i in range(counts[self._names[0]])]
        return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}


def specification_files(bundle: Bundle) -> dict[str, bytes]:
    """Content of the files that a bundle's specification needs, by name.

    Raises:
        BundleError: One is not in the bundle, or was altered.
    """
    return {name: bundle.read(f"{FOLDER}/{name}") for name in files_of(bundle.manifest.specification)}


def _length(outputs: Tensors) -> int:
    return len(next(iter(outputs.values())))


def _pick(manifest: Manifest, name: Optional[str], backend: Optional[str], trust: bool) -> tuple[Variant, Backend, str]:
    """The variant to run, its back end, and why it is not the chosen one (empty if it is)."""
    wanted = manifest.variant(name)
    errors: list[EdgekitError] = []
    for variant in [wanted] if name else [wanted, *(v for v in manifest.variants if v is not wanted)]:
        try:
            found = choose(variant.backends, backend)
            member_to_run(variant, native=found.native, trust=trust)
        except (MissingRequirement, UsageError) as error:
            errors.append(error)
            if variant is wanted and backend is None and (unit := accelerator_of(wanted.backends)):
                raise type(error)(
                    f"variant {wanted.name} is for the {unit} and cannot run here ({error.message})", error.hint
                ) from error
            continue
        if variant is wanted:
            return variant, found, ""
        reason = f"variant {wanted.name} was chosen but cannot run here ({errors[0].message})"
        return variant, found, f"{manifest.name}: {reason}; {variant.name} on {found.name} runs instead"
    # what can be installed is the better advice
    raise next((e for e in errors if isinstance(e, MissingRequirement)), errors[0])
