"""``edgekit-runtime choose``: measure what runs a bundle fastest here, and show what was looked at."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any


def add(verbs: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Register the verb."""
    text = "measure which variant, back end and number of threads is fastest on this device"
    choose = verbs.add_parser("choose", parents=parents, help=text)
    choose.add_argument("--allow-cpu", action="store_true", help="let the CPU compete with the bundle's accelerator")
    choose.add_argument("--cache", help="folder to keep the outcome in; else EDGEKIT_CACHE or the user's cache")
    choose.add_argument("--again", action="store_true", help="measure though the outcome is known")
    choose.add_argument("--seconds", type=float, default=3.0, help="how long to measure, all together")


def run(options: argparse.Namespace) -> int:
    """Choose and print."""
    from edgekit_runtime.choice import choose_here

    choice = choose_here(
        options.bundle,
        variant=options.variant,
        backend=options.backend,
        threads=options.threads,
        trust=options.trust,
        allow_cpu=options.allow_cpu,
        cache=options.cache,
        again=options.again,
        seconds=options.seconds,
    )
    if options.json:
        print(json.dumps(dataclasses.asdict(choice)))
        return 0
    for c in choice.candidates:
        mark = "*" if (c.variant, c.backend, c.threads) == (choice.variant, choice.backend, choice.threads) else " "
        print(f" {mark} {c.in_words()}: " + (f"p50 {c.p50_ms:.3f} ms" if c.p50_ms is not None else c.reason))
    print(choice.in_words())
    return 0
