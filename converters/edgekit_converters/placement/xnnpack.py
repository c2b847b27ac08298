"""Which operators of a TFLite file XNNPACK takes, measured: the file is loaded and its interpreter asked.

XNNPACK chooses by operator, type and shape while a file is loaded. What this machine's LiteRT delegates is taken for
what a Pi's does; another version of LiteRT, and kernels that one architecture has alone, may choose otherwise.
"""

from __future__ import annotations

from pathlib import Path

from edgekit_converters.errors import SourceError
from edgekit_converters.placement.placement import CPU, OpPlacement, Placement
from edgekit_converters.placement.tflite_graph import read_graph
from edgekit_converters.quiet import quiet

UNIT = "XNNPACK"
_DELEGATE = "DELEGATE"


def measure(path: Path) -> Placement:
    """Load a TFLite file and see what was delegated.

    Raises:
        SourceError: It cannot be read, is damaged, or the interpreter refuses it.
    """
    from ai_edge_litert.interpreter import Interpreter

    graph = read_graph(path)  # refuses what is no TFLite file with a sentence of ours
    try:
        with quiet():
            interpreter = Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
            details = interpreter._get_ops_details()
    except (ValueError, RuntimeError, SystemError) as error:
        raise SourceError(f"the interpreter refuses {path.name} ({' '.join(str(error).split())[:200]})") from error
    given = len(graph.operators)
    taken = _delegated([d for d in details if d["op_name"] == _DELEGATE and d["index"] >= given], details[:given])
    rows = tuple(
        OpPlacement(n, op.kind, UNIT, "")
        if n in taken
        else OpPlacement(n, op.kind, CPU, "XNNPACK does not take it; TensorFlow Lite's own kernel runs")
        for n, op in enumerate(graph.operators)
    )
    notes = ("Measured with this machine's LiteRT; another version on the board may choose otherwise.",)
    return Placement(UNIT, rows, "measured here", {}, notes)


def _delegated(delegates: list[dict], originals: list[dict]) -> set[int]:  # type: ignore[type-arg]
    """Numbers of the operators inside of delegates: those between a delegate's inputs and its outputs."""
    maker = {int(t): int(d["index"]) for d in originals for t in d["outputs"]}
    reads = {int(d["index"]): [int(t) for t in d["inputs"]] for d in originals}
    found: set[int] = set()
    for delegate in delegates:
        ends = {int(t) for t in delegate["inputs"]}
        waiting = [int(t) for t in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            op = maker.get(tensor)
            if op is None or op in found:
                continue
            found.add(op)
            waiting += [t for t in reads[op] if t >= 0 and t not in ends]
    return found
