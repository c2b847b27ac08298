"""A keyword model with its sound front end: wav bytes in, a word out.

    python examples/keyword_spotter.py kws.tflite WAVS FOLDER

`WAVS` holds one folder of one-second 16 kHz wav files a word.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit import ExportPlan, Runtime, export

WORDS = "down go left no off on right stop up yes _silence_ _unknown_".split()


def main(model: str, wavs: str, folder: Path) -> None:
    (folder / "words.txt").write_text("\n".join(WORDS))
    result = export(
        ExportPlan(
            model=model,
            target="pi4",
            data=wavs,
            preprocess="kws-mfcc",
            labels=f"{folder}/words.txt",
            output=f"{folder}/keywords.edgekit",
            overwrite=True,
        )
    )
    print(f"accuracy {result.source.metrics['accuracy']:.3f} on {result.source.samples} wavs")
    with Runtime.open(result.bundle) as spotter:
        for path in sorted(Path(wavs).glob("yes/*.wav"))[:3]:
            best = spotter(path.read_bytes())[0]
            print(f"{path.name}: {best.label} ({best.score:.2f})")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
