"""What other people's quantizers raise, as our errors."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

from edgekit_converters.errors import ConversionError, MissingRequirement
from edgekit_converters.quiet import quiet
from edgekit_runtime.errors import EdgekitError

_LONGEST = 200


def require(*packages: str) -> None:
    """Check that packages are installed, without importing them.

    Raises:
        MissingRequirement: One is not.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingRequirement(f"{package} is not installed", 'pip install "edgekit[quantize]"')


@contextlib.contextmanager
def refusals(tool: str, hint: str = "try --quantize fp32") -> Iterator[None]:
    """Run a quantizer quietly and turn what it raises into a `ConversionError` that keeps its words.

    Args:
        tool: Its name in the error.
        hint: What to do about it.

    Raises:
        ConversionError: It raised; the original is chained, so that ``--debug`` shows it.
    """
    try:
        with quiet():
            yield
    except (EdgekitError, MemoryError):
        raise
    except Exception as error:  # the quantizers raise bare Exception, IndexError, AssertionError, … for a refusal
        text = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
        raise ConversionError(f"{tool} failed ({text})", hint) from error


def refuse_convolutional(products: int, convolutions: int) -> None:
    """Refuse dynamic int8 where convolutions are at least as many as matrix products (measured: slower than float).

    Raises:
        ConversionError: They are.
    """
    if products <= convolutions:
        raise ConversionError(
            f"dynamic int8 would slow this model down ({convolutions} convolutions, {products} matrix products)",
            "use --quantize int8 with calibration data",
        )
