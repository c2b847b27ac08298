"""Writes every page of docs/reference from the code it describes.

python docs/generate.py            write what has changed
python docs/generate.py --check    write nothing; exit 1 and name each page that is not what the code says
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from generators import command_line, errors, schema, steps, targets

REFERENCE = Path(__file__).parent / "reference"
PAGES = {
    "manifest.schema.json": schema.manifest_schema,
    "edgekit.md": command_line.workstation,
    "edgekit-runtime.md": command_line.device,
    "targets.md": targets.targets,
    "steps.md": steps.steps,
    "passes.md": steps.passes,
    "errors.md": errors.errors,
}


def main() -> int:
    """Write or check; 1 where the check finds a page out of date."""
    parser = argparse.ArgumentParser(description="Write docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        path, text = REFERENCE / name, make()
        if not path.is_file() or path.read_text("utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, "utf-8")
    unknown = sorted(p.name for p in REFERENCE.iterdir() if p.name not in PAGES)
    for name in stale:
        print(
            f"docs/reference/{name} {'is not what the code says: run python docs/generate.py' if check else 'written'}"
        )
    for name in unknown:
        print(f"docs/reference/{name} is written by nothing: move or remove it", file=sys.stderr)
    return 1 if unknown or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())
