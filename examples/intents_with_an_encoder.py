"""Which intent has this text? A sentence encoder learns a few intents and becomes a bundle for a Raspberry Pi 5.

    python examples/intents_with_an_encoder.py ENCODER DATA [FOLDER]

ENCODER is a folder with a BERT-class encoder (``config.json``, ``model.safetensors``, its tokenizer), as
``hf download sentence-transformers/all-MiniLM-L6-v2`` fetches one. DATA is a table with columns `text` and `intent`.
Needs `edgekit[train]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit import Runtime, TrainPlan, export, train
from edgekit.training import export_plan
from edgekit_converters.train import TrainConfig

ASKED = ("how much money do i have", "wake me at seven tomorrow")


def main(encoder: str, data: str, folder: Path) -> None:
    # the probe alone: seconds, and the encoder stays as it came; leave fine_tune out for the last point of accuracy
    config = TrainConfig("text", weights=encoder, options={"fine_tune": False})
    trained = train(TrainPlan(data, config, str(folder / "run"), label="intent", text="text"))
    print(f"validation accuracy {trained.trained.metrics['val_accuracy']:.3f}")

    bundle = folder / "intents.edgekit"
    made = export(export_plan(trained.run, "pi5", quantize="dynamic", max_drop=0.02, output=str(bundle)))
    print(f"chosen: {made.choice.name}, contract held: {made.choice.held}")
    with Runtime.open(bundle) as runtime:
        for text in ASKED:
            best = runtime(text)[0]
            print(f"{text}: {best.label} {best.score:.2f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3] if len(sys.argv) > 3 else "."))
