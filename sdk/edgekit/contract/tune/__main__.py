"""A worker of a study in a process of its own."""

import sys

from edgekit.contract.tune.search import worker
from edgekit_runtime.errors import EdgekitError

if __name__ == "__main__":
    try:
        sys.exit(worker(sys.argv[1]))
    except EdgekitError as error:
        print(f"edgekit: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
