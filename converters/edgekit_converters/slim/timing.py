"""Times TFLite files in turn, for processes that hold TensorFlow: ``python -m … SECONDS FILE…`` prints milliseconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from edgekit_converters.slim.latency import Run, in_turn
from edgekit_runtime.backends import backend


def runner(path: Path) -> Run:
    """One inference on zeros, batch 1, one thread."""
    session = backend("litert").open(path.read_bytes(), threads=1)
    feeds = [np.zeros([max(e, 1) for e in t.shape], t.dtype) for t in session.inputs]
    return lambda: session.run(feeds)


if __name__ == "__main__":
    print(json.dumps(in_turn([runner(Path(name)) for name in sys.argv[2:]], float(sys.argv[1]))))
