"""``edgekit-runtime top``."""

from __future__ import annotations

import argparse
from typing import Any

DEFAULT = "http://127.0.0.1:8080"


def add(verbs: Any, common: argparse.ArgumentParser) -> None:
    """Register the verb."""
    top = verbs.add_parser("top", parents=[common], help="watch a running server in the terminal")
    top.add_argument("url", nargs="?", default=DEFAULT, help=f"where it listens; {DEFAULT} by default")
    top.add_argument("--socket", help="its Unix socket, instead of the URL")
    top.add_argument("--token-file", help="file with the token that it wants; else EDGEKIT_SERVE_TOKEN")
    top.add_argument("--once", action="store_true", help="print what one interval shows, and end")
    top.add_argument("--interval", type=float, default=2.0, help="seconds between looks")


def run(options: argparse.Namespace) -> int:
    """Watch until told to stop."""
    from edgekit_runtime.top import loop

    return loop.run(options)
