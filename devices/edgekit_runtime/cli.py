"""``edgekit-runtime`` on the device: its verbs, each with its body in its own package."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from edgekit_runtime import __version__, choose_command
from edgekit_runtime.agent import command as agent
from edgekit_runtime.capture import command as watch
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.install import command as install
from edgekit_runtime.serve import command as serving
from edgekit_runtime.top import command as top


def command_line() -> argparse.ArgumentParser:
    """The parser; the reference in docs/ is written from it."""
    parser = argparse.ArgumentParser(
        prog="edgekit-runtime",
        description="Run, test and time edgekit bundles on this device.",
        epilog="exit codes: 0 done, 1 failed, 2 bad usage, 4 something needed is missing",
    )
    parser.add_argument("--version", action="version", version=f"edgekit-runtime {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("bundle", help="the .edgekit file")
    model.add_argument("--variant", help="variant to run; the chosen one by default")
    model.add_argument("--backend", help="the only back end that will do, as doctor lists them")
    model.add_argument("--trust", action="store_true", help="let native code in the bundle run")
    model.add_argument("--key", action="append", default=[], help="public key: native code it signed may run")
    threads = argparse.ArgumentParser(add_help=False)
    threads.add_argument("--threads", type=int, help="threads for one inference")
    verbs = parser.add_subparsers(dest="verb", required=True)
    predict = verbs.add_parser("predict", parents=[common, model, threads], help="answer for raw inputs")
    predict.add_argument("inputs", nargs="+", help="pictures, wav files, .json rows or .npy arrays")
    serving.add(verbs, common)
    verbs.add_parser(
        "selftest", parents=[common, model, threads], help="golden samples through the whole path on this device"
    )
    timing = verbs.add_parser("benchmark", parents=[common, model], help="latency on this device")
    timing.add_argument("--seconds", type=float, default=3.0, help="how long to time")
    timing.add_argument("--warm-up", type=float, help="seconds that times may take to settle; as --seconds by default")
    timing.add_argument("--threads", help="threads for one inference; auto for the fastest of 1, 2, 4 by measurement")
    choose_command.add(verbs, [common, model, threads])
    shown = verbs.add_parser("inspect", parents=[common], help="print the manifest")
    shown.add_argument("bundle", help="the .edgekit file")
    agent.add(verbs, common)
    watch.add(verbs, common)
    verbs.add_parser("doctor", parents=[common], help="run a one-operation model on every back end")
    top.add(verbs, common)
    install.add(verbs, common)
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Entry point; errors are one sentence."""
    options = command_line().parse_args(arguments)
    try:
        code = _VERBS[options.verb](options)
    except EdgekitError as error:
        if options.debug:
            raise
        print(f"edgekit-runtime: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        if options.debug:
            raise
        print("edgekit-runtime: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    sys.exit(code)


def _open(options: argparse.Namespace) -> Any:
    from edgekit_runtime.runtime import Runtime

    return Runtime.open(
        options.bundle,
        variant=options.variant,
        backend=options.backend,
        threads=options.threads,
        trust=_trusted(options),
    )


def _trusted(options: argparse.Namespace) -> bool:
    """Whether native code may run: the user says so, or a pinned key that signed the bundle."""
    from edgekit_runtime.native import vouched
    from edgekit_runtime.signing import pinned_keys

    return options.trust or vouched(options.bundle, pinned_keys(options.key))


def plain(value: Any) -> Any:
    """An answer as JSON data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value.tolist() if hasattr(value, "tolist") else value


def in_words(answer: Any) -> str:
    """An answer as one line."""
    if isinstance(answer, list) and not answer:
        return "nothing found"
    if isinstance(answer, list) and hasattr(answer[0], "label"):
        words = [f"{a.label} {a.score:.3f}" for a in answer]
        if hasattr(answer[0], "box"):
            words = [f"{w} at {', '.join(f'{e:.0f}' for e in a.box)}" for w, a in zip(words, answer)]
        return " · ".join(words)
    return json.dumps(plain(answer))


def _predict(options: argparse.Namespace) -> int:
    from edgekit_runtime.errors import UsageError
    from edgekit_runtime.samples import decode_raw

    with _open(options) as runtime:
        answers = {}
        for name in options.inputs:
            try:
                raw = decode_raw(name, Path(name).read_bytes())
            except OSError as error:
                if not runtime.specification.takes_text:
                    raise UsageError(f"cannot read {name}", str(error.strerror or error)) from error
                raw = name  # no file: the text itself
            answers[name] = runtime(raw)
            if not options.json:
                print(f"{name}: {in_words(answers[name])}")
        if options.json:
            print(json.dumps({"predictions": [{"input": n, "answer": plain(a)} for n, a in answers.items()]}))
    return 0


def _selftest(options: argparse.Namespace) -> int:
    from edgekit_runtime.bundle import Bundle
    from edgekit_runtime.selftest import selftest

    with Bundle.open(options.bundle) as bundle:
        report = selftest(
            bundle,
            variant=options.variant,
            backend=options.backend,
            threads=options.threads,
            trust=_trusted(options),
        )
    if options.json:
        print(json.dumps({"passed": report.passed, **dataclasses.asdict(report)}))
    else:
        print(
            f"{report.variant} on {report.backend}, compared with {report.reference}, {report.samples} golden samples"
        )
        for c in report.comparisons:
            print(
                f"  {'ok  ' if c.passed else 'FAIL'} output {c.output}: largest difference {c.largest:.3g}, "
                f"{c.tolerance.absolute:.3g} allowed"
            )
        if report.decoder:
            print(
                f"  note: pictures decode {report.decoder:.2f} grey levels otherwise here"
                f" (at most {report.decoder_allowed:g})"
            )
    report.require()
    if not options.json:
        print("self-test passed")
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    from edgekit_runtime.benchmark import benchmark, in_words, store
    from edgekit_runtime.errors import UsageError

    threads = int(options.threads) if (options.threads or "").isdecimal() else options.threads
    for name in ("seconds", "warm_up"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 86_400:
            raise UsageError(f"--{name.replace('_', '-')} {value:g} is not between 0 and 86400")
    result = benchmark(
        options.bundle,
        variant=options.variant,
        backend=options.backend,
        threads=threads,
        trust=_trusted(options),
        seconds=options.seconds,
        warm_up_limit=options.warm_up,
    )
    sidecar = store(options.bundle, result)
    if options.json:
        print(json.dumps(dataclasses.asdict(result)))
    else:
        print("\n".join([*in_words(result), f"kept in {sidecar}"]))
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from edgekit_runtime.bundle import Bundle
    from edgekit_runtime.choice import known_here

    with Bundle.open(options.bundle) as bundle:
        manifest, digest, choice = bundle.manifest, bundle.digest, known_here(bundle)
    if options.json:
        sys.stdout.write(manifest.to_json().decode())
        return 0
    print(f"{manifest.name} for {manifest.target}, {manifest.task}, digest {digest[:16]}")
    for v in manifest.variants:
        mark = "*" if v.name == manifest.chosen else " "
        figures = ", ".join(f"{k} {x:.4g}" for k, x in v.metrics.items()) or "accuracy not measured"
        print(f" {mark} {v.name}: {manifest.files[v.file].bytes / 1000:,.1f} KB, {figures}")
    for remark in (*manifest.notes, *manifest.warnings):
        print(f"   {remark}")
    if choice:
        print(f"   fastest here: {choice.in_words()}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from edgekit_runtime.doctor import as_json, examine

    findings = examine()
    if options.json:
        print(as_json(findings))
    else:
        for f in findings:
            print(f"{f.state:<7} {f.subject}: {f.detail}" + (f"  ->  {f.fix}" if f.fix else ""))
    broken = any(f.state == "broken" for f in findings)
    usable = any(f.state == "works" and f.subject.startswith("back end") for f in findings)
    return 1 if broken else 0 if usable else 4


def _choose(options: argparse.Namespace) -> int:
    options.trust = _trusted(options)
    return choose_command.run(options)


_VERBS = {
    "choose": _choose,
    "predict": _predict,
    "serve": serving.run,
    "watch": watch.run,
    "selftest": _selftest,
    "benchmark": _benchmark,
    "inspect": _inspect,
    "agent": agent.run,
    "doctor": _doctor,
    "top": top.run,
    "install": install.run,
}
