"""``edgekit-runtime serve`` that does not outlive the agent that started it.

An agent that was killed would else find its socket taken by a server that nobody watches, with every model in memory
twice. ``python -m edgekit_runtime.agent.server_child PARENT WORDS…``; PARENT is the agent's process number.
"""

from __future__ import annotations

import sys

from edgekit_runtime.parent import die_with


def main() -> None:
    """Entry point of the child."""
    die_with(int(sys.argv[1]))
    from edgekit_runtime.cli import main as runtime

    runtime(["serve", *sys.argv[2:]])


if __name__ == "__main__":
    main()
