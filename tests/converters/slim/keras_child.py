"""Prunes Keras networks in a process of its own and prints what came out, as JSON."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from edgekit_converters.errors import EdgekitError
from edgekit_converters.slim.latency import KerasStopwatch
from edgekit_converters.slim.prune_keras import KerasSurgeon, prune, replay
from edgekit_converters.slim.settings import PruneSettings

L = keras.layers
SURGEON = KerasSurgeon()
PICTURES = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)


def functional():
    """Every layer that is known: a MobileNetV2-like block, a separable convolution, flattening."""
    keras.utils.set_random_seed(0)
    i = L.Input((16, 16, 3), name="picture")
    x = L.Conv2D(16, 3, 2, padding="same", use_bias=False, name="stem")(L.Rescaling(0.5)(i))
    x = L.ReLU(6.0)(L.BatchNormalization()(x))
    y = L.Conv2D(48, 1, use_bias=False, name="expand")(x)
    y = L.ReLU(6.0)(L.BatchNormalization(name="norm")(y))
    y = L.DepthwiseConv2D(3, padding="same", name="depth")(y)
    y = L.Activation("hard_swish")(L.BatchNormalization(name="second")(y))
    x = L.Add(name="joined")([x, L.Conv2D(16, 1, name="reduce")(y)])
    x = L.MaxPooling2D(2)(L.SeparableConv2D(24, 3, activation="relu", name="separable")(x))
    x = L.Dense(32, activation="relu", name="dense")(L.Dropout(0.2)(L.Flatten()(x)))
    network = keras.Model(i, L.Dense(5, activation="softmax", name="head")(x))
    generator = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return network


def sequential():
    return keras.Sequential(
        [
            L.Input((8, 8, 1)),
            L.Conv2D(16, 3, activation="relu"),
            L.Conv2D(24, 3),
            L.GlobalAveragePooling2D(),
            L.Dense(3),
        ]
    )


def by_macs(*networks):
    return tuple(SURGEON.cost(n)[1] / 1e4 for n in networks)


def same(_network):
    return 1.0


def refusal(network):
    try:
        prune(network, score=same, measure=by_macs)
    except EdgekitError as error:
        return error.message
    return ""


def widths(network):
    return {n.name: n.get_config().get("filters", n.get_config().get("units")) for n in network.layers}


def main() -> None:
    found: dict[str, object] = {}
    network = functional()
    before = [w.copy() for w in network.get_weights()]
    result = prune(network, score=same, measure=by_macs, settings=PruneSettings(share=0.4, steps=2))
    found["widths"], found["left"], found["ratio"] = widths(result.module), dict(result.left), result.last.ratio
    found["untouched"] = all(np.array_equal(a, b) for a, b in zip(before, network.get_weights()))
    found["input"] = result.module.inputs[0].name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pruned.keras"
        result.module.save(path)
        loaded = keras.models.load_model(path)
        again = replay(functional(), json.loads(json.dumps(result.plain()))["cuts"])
        again.set_weights(loaded.get_weights())
    found["replayed"] = float(
        np.abs(again.predict(PICTURES, verbose=0) - result.module.predict(PICTURES, verbose=0)).max()
    )

    dead = np.arange(0, 48, 3)
    network = functional()
    for name in ("expand", "norm", "depth", "second"):
        layer = network.get_layer(name)
        weights = layer.get_weights()
        if name in ("norm", "second"):
            weights[0][dead], weights[1][dead] = 0, 0
        else:
            weights[0][(..., dead) if name == "expand" else (slice(None), slice(None), dead)] = 0
        layer.set_weights(weights)
    layer = network.get_layer("reduce")
    kernel, bias = layer.get_weights()
    kernel[:, :, dead] = 0
    layer.set_weights([kernel, bias])
    keep = ("stem", "separable", "dense", "reduce")
    for importance in ("group-l2", "l1", "l2", "bn"):
        settings = PruneSettings(share=1 / 3, steps=1, keep=keep, importance=importance)
        cut = prune(network, score=same, measure=by_macs, settings=settings)
        found[f"dead {importance}"] = [list(c.channels) for c in cut.cuts] == [dead.tolist()]
        found[f"difference {importance}"] = float(
            np.abs(cut.module.predict(PICTURES, verbose=0) - network.predict(PICTURES, verbose=0)).max()
        )

    settings = PruneSettings(steps=1, depth=0.9, keep=("stem", "separable", "dense"))
    kept = prune(functional(), score=same, measure=by_macs, settings=replace(settings, keep=("expand",)))
    found["kept"] = [c.layer for c in kept.cuts]
    cut = prune(functional(), score=same, measure=by_macs, settings=settings)
    found["dropped"] = [[c.layer, len(c.channels)] for c in cut.cuts]
    found["gone"] = sorted({n.name for n in functional().layers} - {n.name for n in cut.module.layers})
    again = replay(functional(), [c.plain() for c in cut.cuts])
    shallow = functional()
    around = keras.Model(shallow.input, shallow.get_layer("separable").output)  # by hand: the branch adds nothing
    kernel, bias = around.get_layer("reduce").get_weights()
    around.get_layer("reduce").set_weights([kernel * 0, bias * 0])
    wanted = shallow.predict(PICTURES, verbose=0)
    found["without"] = [float(np.abs(n.predict(PICTURES, verbose=0) - wanted).max()) for n in (cut.module, again)]

    cut = prune(sequential(), score=same, measure=by_macs, settings=PruneSettings(steps=1))
    found["sequential"] = [type(cut.module).__name__, *[w for w in widths(cut.module).values() if w]]
    slow = prune(sequential(), score=same, measure=lambda *n: (1.0, 1.0, 2.0)[: len(n)])
    found["slow"] = [s.why for s in slow.steps]
    found["timed"] = KerasStopwatch(0.1)(sequential(), cut.module)

    i = L.Input((8, 8, 3))
    x = L.Conv2D(16, 3, padding="same", name="a")(i)
    joined = L.Concatenate()([x, L.Conv2D(16, 3, padding="same", name="b")(x)])
    grouped = L.Conv2D(32, 3, groups=2, name="c")(joined)
    found["unknown"] = refusal(keras.Model(i, L.Dense(3)(L.GlobalAveragePooling2D()(grouped))))
    twice = L.Conv2D(16, 3, padding="same", name="twice")
    j = L.Input((8, 8, 16))
    found["twice"] = refusal(keras.Model(j, twice(twice(j))))

    class Own(keras.Model):
        pass

    found["own"] = refusal(Own())
    try:
        replay(sequential(), [{"layer": "nowhere", "channels": [0]}])
    except EdgekitError as error:
        found["nowhere"] = error.message
    print(json.dumps(found))


if __name__ == "__main__":
    main()
