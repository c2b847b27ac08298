"""Puts a bundle that lies here into a store, and its slot on it; stdin has what, as one JSON object.

The store is the agent's where there is one that this user may write, else deploy's own. Run by the environment's
Python, which has edgekit-runtime.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

SECONDS = 120.0
"""For the server to load it and answer its golden samples."""


def agents(places: list[str]) -> tuple[Path | None, str]:
    """The agent's store, or why it is not taken."""
    for place in places:
        root = Path(place)
        if not os.path.lexists(root):
            continue
        folders = [root / name for name in ("bundles", "slots", "agent")]
        if all(os.access(folder, os.R_OK | os.W_OK | os.X_OK) for folder in folders):
            return root, ""
        return None, f"{place} is an agent's store that this user may not write"
    return None, ""


def underway(root: Path) -> str:
    """Number of the job that the agent is at; empty for none."""
    try:
        found = json.loads((root / "agent" / "journal.json").read_bytes()).get("underway")
    except FileNotFoundError:
        return ""
    return str(found["job"]["job"]) if found else ""


def main() -> int:
    """Put it there."""
    from edgekit_runtime.agent.serving import Serving
    from edgekit_runtime.agent.store import Store
    from edgekit_runtime.errors import EdgekitError

    order = json.load(sys.stdin)
    root, remark = agents(order["places"])
    found, name, digest = Path(order["bundle"]), order["slot"], order["digest"]
    socket = None if root is None else root / "agent" / "serve.sock"
    loaded = False
    try:
        if root is not None and (job := underway(root)):
            raise EdgekitError(f"its agent is at job {job} just now", "try again when that is over")
        store = Store(root or order["own"])
        if not store.has(digest):
            with tempfile.TemporaryDirectory(prefix=".deploy.", dir=store.root) as folder:
                copy = Path(folder) / "bundle"
                shutil.copyfile(found, copy)
                store.adopt(copy, digest)
        if order["signature"]:
            store.sign(digest, order["signature"].encode())
        before = store.slot(name)
        slot = store.point(name, digest)
        if socket is not None and socket.exists():
            try:
                Serving(path=socket).load(name, SECONDS)
                loaded = True
            except EdgekitError:
                store.restore(name, before)
                raise
    except (EdgekitError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    print(
        json.dumps(
            {
                "store": str(store.root),
                "agent": root is not None,
                "slot": name,
                "previous": slot.previous or "",
                "loaded": loaded,
                "remark": remark,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
