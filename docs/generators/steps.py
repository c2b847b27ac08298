"""Steps of the specification and passes of a recipe, from their classes."""

from __future__ import annotations

import json

from edgekit_converters.registry import PASSES, pass_class
from edgekit_runtime.specification import presets
from edgekit_runtime.specification.step import _STEPS, step_class
from generators import NOTICE
from generators.docstrings import described, settings, table

_GROUPS = {
    "image": "Pictures",
    "array": "Arrays of any kind",
    "audio": "Sound",
    "table": "Tables",
    "wordpiece": "Text",
    "output": "Answers",
    "detection": "Detection",
}


def steps() -> str:
    """Every pre- and post-processing step with its settings, then the presets."""
    parts = [
        f'# Steps\n\n{NOTICE}\nA specification is `{{"kind": …, "input": [steps], "output": [steps]}}`, a step ',
        'is `{"step": NAME, …settings}`. Settings at their default may be left out; an unknown one is an error. ',
        "How to write one: [pre-processing](../guide/preprocessing.md).\n",
    ]
    group = ""
    for name in sorted(_STEPS, key=lambda n: list(_GROUPS).index(_module(n))):
        if _module(name) != group:
            group = _module(name)
            parts.append(f"\n## {_GROUPS[group]}\n")
        cls = step_class(name)
        parts.append(f"\n### {name}\n\n{described(cls)[0]}\n\n{settings(cls)}")
    both = {**presets.IMAGE_PRESETS, **presets.AUDIO_PRESETS}
    rows = [
        [
            f"`{name}`",
            "pictures" if name in presets.IMAGE_PRESETS else "sound",
            "<br>".join(f"`{json.dumps({**s, **_rounded(s)})}`" for s in plain),
        ]
        for name, plain in both.items()
    ]
    parts.append(
        "\n## Presets\n\nWhat `--preprocess NAME` stands for. Those for pictures come after `decode` and `resize` to "
        "the model's size, and before `layout` where the model wants channels first.\n\n"
    )
    return "".join(parts) + table(["preset", "for", "steps"], rows)


def passes() -> str:
    """Every pass with its settings."""
    parts = [
        f'# Passes\n\n{NOTICE}\nA recipe is a list of passes, each `{{"pass": NAME, …settings}}`; the manifest keeps ',
        "the one that made each variant.\n",
    ]
    for name in PASSES:
        cls = pass_class(name)
        parts.append(f"\n## {name}\n\n{described(cls)[0]}\n\n{settings(cls)}")
    return "".join(parts)


def _module(step: str) -> str:
    return _STEPS[step].split(":")[0].rsplit(".", 1)[-1]


def _rounded(step: dict[str, object]) -> dict[str, object]:
    """Factors such as 1/255 to seven digits."""
    return {k: round(v, 7) for k, v in step.items() if isinstance(v, float)}
