"""The command line: one file per verb family; thin: parse, call the API, print."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Entry point of ``edgekit``: errors are one sentence, exit codes as documented."""
    from edgekit_runtime.errors import EdgekitError

    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        from edgekit.cli.app import app

        app(args=arguments, prog_name="edgekit")
    except EdgekitError as error:
        if debug:
            raise
        print(f"edgekit: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        # typer turns the former into the latter
        if debug or (isinstance(stop, SystemExit) and stop.code != INTERRUPTED):
            raise
        print("edgekit: interrupted; nothing half-written was left", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (OSError, MemoryError) as error:
        if debug:
            raise
        what = getattr(error, "strerror", None) or type(error).__name__
        where = getattr(error, "filename", None)
        print(f"edgekit: {what}{f': {where}' if where else ''}: see --debug for where it happened", file=sys.stderr)
        sys.exit(1)
