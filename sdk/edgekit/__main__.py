"""``python -m edgekit`` is ``edgekit``."""

from edgekit.cli import main

main()
