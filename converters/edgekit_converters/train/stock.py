"""Examples on their way into a network.

Order and variation depend on seed, epoch and place alone: a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit_converters.errors import TrainingError
from edgekit_converters.train.material import Example

_NAMED = 5


@dataclass(frozen=True)
class Stock:
    """Examples and how one becomes a model input and its target.

    Attributes:
        examples: The examples.
        make: Index, and a generator of randomness where the example is to be varied, to (input, target).
        seed: Of order and variation.
        vary: Whether to hand `make` a generator.
        threads: How many examples are made at once; decoding pictures leaves the interpreter's lock alone.
    """

    examples: Sequence[Example]
    make: Callable[[int, np.random.Generator | None], tuple[Any, Any]]
    seed: int = 0
    vary: bool = False
    threads: int = field(default=2, compare=False)

    def __len__(self) -> int:
        return len(self.examples)

    def order(self, epoch: int) -> np.ndarray:
        """(examples,) indices in the order of an epoch."""
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.examples))

    def item(self, index: int, epoch: int) -> tuple[Any, Any]:
        """(input, target) of one example in an epoch."""
        return self.make(index, np.random.default_rng((self.seed, epoch, index)) if self.vary else None)

    def batches(self, size: int, epoch: int, shuffle: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(inputs, targets) of a whole epoch, stacked, `size` at a time."""
        order = self.order(epoch) if shuffle else np.arange(len(self))
        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(order), size):
                made = list(pool.map(lambda index: self.item(int(index), epoch), order[start : start + size]))
                yield np.stack([m[0] for m in made]), np.stack([m[1] for m in made])

    def not_finite(self, epoch: int, indices: Sequence[int]) -> TrainingError:
        """The error for a loss that is not finite, with the batch named.

        Args:
            epoch: From 1, for the message.
            indices: Of the examples in the batch.
        """
        names = [self.examples[int(i)].id for i in indices]
        said = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        return TrainingError(
            f"the loss is not finite in epoch {epoch}, at the batch of samples {said}",
            "look at these samples, or give a smaller --rate or --fine-rate",
        )
