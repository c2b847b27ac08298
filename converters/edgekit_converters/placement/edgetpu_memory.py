"""How many bytes of parameters the Edge TPU keeps in its SRAM, and how many are streamed at every inference.

Nothing of the layout is published. These rules were fitted to 11 published compiled files, whose packages name both
figures; four come out to the byte, the others within 8.5 %. What rests on one of those files alone says so.

- Output channels are spread over 16 tiles of 4 lanes, so that they are padded to 64; layers of up to 32 channels are
  split along the picture instead and not padded.
- Input channels are padded to 4; a depthwise layer, which has one, thus takes four times its weights.
- A channel has its bias (4 bytes), and a second word where weights are quantized per channel.
- Memory is handed out in pieces of 64 bytes.
"""

from __future__ import annotations

from math import prod

from edgekit_converters.placement.tflite_graph import Graph, Operator

SRAM_BYTES = 8 * 2**20
_PIECE = 64
_LANES, _TILES = 4, 16
_UNPADDED = 32
_LEAST = 512  # of a layer: the smallest seen, in one file; only tiny models notice
_LONGEST_ROW = 16_384  # weights of one output channel: of this length they are streamed, in one file; 1,280 are cached
_MOST_ACTIVATIONS = 4 * 2**20  # larger ones are split along the picture; a compiled file's tiles use up to 3.1 MB


def parameter_bytes(graph: Graph, mapped: tuple[bool, ...]) -> dict[str, int]:
    """Bytes of parameters ``cached`` in SRAM and ``streamed`` at every inference.

    Args:
        graph: The model.
        mapped: Which of its operators run on the Edge TPU.
    """
    cached = streamed = 0
    room = SRAM_BYTES - _activations(graph, mapped)
    for op in (op for op, there in zip(graph.operators, mapped, strict=True) if there):
        kept, flowing = _layer(op, graph)
        if cached + kept > room:  # whole layers, in order, until the memory is full
            kept, flowing = 0, flowing + kept
        cached, streamed = cached + kept, streamed + flowing
    return {"cached": _up(cached, _PIECE), "streamed": _up(streamed, _PIECE)}


def _layer(op: Operator, graph: Graph) -> tuple[int, int]:
    """(bytes that can be cached, bytes that are streamed in any case) of one layer."""
    if op.kind == "SOFTMAX":  # in one file
        return _PIECE, 0
    if op.kind in ("UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"):
        return _lstm(op, graph)
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
        return 0, 0
    weights = graph.tensors[op.inputs[1]]
    if len(weights.shape) < 2:
        return 0, 0
    if op.kind == "DEPTHWISE_CONV_2D":
        out, row = weights.shape[-1], prod(weights.shape[:-1]) * _LANES
    else:
        out, row = weights.shape[0], prod(weights.shape[1:-1]) * _up(weights.shape[-1], _LANES)
    per_channel = 8 if weights.per_channel else 4
    padded = _channels(out, dense=op.kind == "FULLY_CONNECTED")
    if row >= _LONGEST_ROW:
        return _up(padded * per_channel, _PIECE), padded * row
    return max(padded * (row + per_channel), _LEAST), 0


def _channels(count: int, *, dense: bool) -> int:
    if dense:  # there is no picture to split; a single output goes to one lane of every tile (in one file)
        return _TILES if count == 1 else _up(count, _LANES * _TILES)
    return count if count <= _UNPADDED else _up(count, _LANES * _TILES)


def _lstm(op: Operator, graph: Graph) -> tuple[int, int]:
    """Four gates with weights of input and state; the states of all steps are streamed (seen in one model)."""
    matrices = [graph.tensors[i] for i in op.inputs[1:9] if i >= 0 and len(graph.tensors[i].shape) == 2]
    units = max((m.shape[0] for m in matrices), default=0)
    padded = _up(units, _UNPADDED)
    kept = sum(padded * _up(m.shape[1], _LANES) for m in matrices) + 4 * padded * 4
    steps = graph.tensors[op.inputs[0]].shape[-2:-1] or (1,)
    return max(kept, _LEAST), _up(steps[0] * units, _PIECE)


def _activations(graph: Graph, mapped: tuple[bool, ...]) -> int:
    """Bytes that activations need: the largest input and output that one mapped operator has at once."""
    largest = 0
    for op, there in zip(graph.operators, mapped, strict=True):
        if there:
            ends = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
            largest = max(largest, sum(t.size for t in ends if t.constant is None))
    return min(largest, _MOST_ACTIVATIONS)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
