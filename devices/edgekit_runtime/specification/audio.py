"""Sound: wav to waveform, waveform to mel features.

Formulas are those of ``tf.signal`` (stft, linear_to_mel_weight_matrix, mfccs_from_log_mel_spectrograms), so that
models trained behind them see the same numbers (to about 1e-5; tested with numbers that TensorFlow made).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.step import Context, Step
from edgekit_runtime.specification.wav import MAX_FRAMES, read_wav, resample

__all__ = ["LogMel", "Mfcc", "Waveform", "read_wav"]

_MAX_SPECTRUM = 2**26  # values of all windows together: 256 MB of float32


@dataclass(frozen=True)
class Waveform(Step):
    """Sound to a float32 waveform of fixed length.

    Takes wav bytes or a path, a float array in -1..1 or an int16 array as sound cards give it, at the stated rate.

    Attributes:
        rate: Samples a second that the model wants.
        samples: Length; shorter sound is padded with zeros at its end, longer is cut.
        peak: Whether to divide by the largest sample first; the largest, not the largest in magnitude, since that is
            how the MLPerf Tiny keyword models were trained.
        resample: What to do with sound of another rate: ``refuse``, never resampled in silence, or ``fourier``
            (`wav.resample`).
    """

    name = "waveform"
    rate: int = 16_000
    samples: int = 16_000
    peak: bool = False
    resample: str = "refuse"

    def __post_init__(self) -> None:
        if not 0 < self.samples <= MAX_FRAMES or not 0 < self.rate <= 1_000_000:
            raise ValueError(f"{self.samples} samples at {self.rate} a second is out of range")
        if self.resample not in ("refuse", "fourier"):
            raise ValueError(f"resample must be refuse or fourier, not {self.resample!r:.40}")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        if isinstance(value, np.ndarray):
            sound, rate = _from_array(value), self.rate
        else:
            sound, rate = read_wav(value)
        if rate != self.rate:
            if self.resample == "refuse":
                raise SpecificationError(
                    f"the sound has {rate} samples a second, the model takes {self.rate}",
                    'resample it, or set "resample": "fourier" in step waveform',
                )
            sound = resample(sound, rate, self.rate)
        if self.peak:
            top = float(np.max(sound, initial=0.0))
            sound = sound / np.float32(top) if top > 0 else sound
        fixed = np.zeros(self.samples, np.float32)
        length = min(len(sound), self.samples)
        fixed[:length] = sound[:length]
        return fixed


def _from_array(value: np.ndarray) -> np.ndarray:
    if value.ndim != 1 or value.size == 0 or not (value.dtype.kind == "f" or value.dtype == np.int16):
        raise SpecificationError(f"a waveform must be one axis of float or int16, not {value.dtype} {value.shape}")
    if value.dtype == np.int16:
        return value.astype(np.float32) / np.float32(2**15)
    if not np.isfinite(value).all():
        raise SpecificationError("the waveform holds samples that are not finite")
    return value.astype(np.float32)


@functools.lru_cache(maxsize=8)
def _mel_matrix(bins: int, fft: int, rate: int, low: float, high: float) -> np.ndarray:
    """(fft // 2 + 1, bins) triangles on the HTK mel scale, 1127 ln(1 + f / 700), the zero bin left out."""

    def mel(hertz: Any) -> Any:
        return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

    spectrum = mel(np.linspace(0.0, rate / 2, fft // 2 + 1)[1:])[:, None]
    edges = np.linspace(mel(low), mel(high), bins + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.maximum(0, np.minimum((spectrum - lower) / (centre - lower), (upper - spectrum) / (upper - centre)))
    return np.pad(triangles, ((1, 0), (0, 0))).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _hann(length: int) -> np.ndarray:
    """``tf.signal.hann_window``: periodic for even lengths, symmetric for odd ones."""
    period = max(length - length % 2, 1)
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / period)).astype(np.float32)


@dataclass(frozen=True)
class LogMel(Step):
    """Waveform to log-mel energies, (frames, bins), of the magnitude spectrum behind a Hann window.

    Attributes:
        frame: Window length in samples.
        hop: Step in samples.
        fft: Length of the Fourier transform; 0 for the next power of two from `frame`.
        bins: Mel bands.
        low: Lowest frequency in hertz.
        high: Highest frequency in hertz.
        rate: Samples a second.
        offset: Added before the natural logarithm.
    """

    name = "log_mel"
    frame: int = 480
    hop: int = 320
    fft: int = 0
    bins: int = 40
    low: float = 20.0
    high: float = 4000.0
    rate: int = 16_000
    offset: float = 1e-6

    def __post_init__(self) -> None:
        if not (0 < self.hop <= 2**16 and 1 < self.frame <= 2**16 and 0 < self.bins <= 512):
            raise ValueError("frame, hop or bins is out of range")
        if self.fft and not self.frame <= self.fft <= 2**17:
            raise ValueError(f"fft must be 0, or {self.frame} to {2**17}")
        if not 0 < self.rate <= 1_000_000 or not 0 <= self.low < self.high <= self.rate / 2:
            raise ValueError("frequencies must rise up to half the rate")
        if not 1e-30 <= self.offset <= 1e30:
            raise ValueError("offset must be positive")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind != "f" or len(value) < self.frame:
            raise SpecificationError(f"step {self.name} takes a float waveform of at least {self.frame} samples")
        windows = np.lib.stride_tricks.sliding_window_view(value, self.frame)[:: self.hop]
        fft = self.fft or 1 << (self.frame - 1).bit_length()
        if len(windows) * max(fft, self.bins) > _MAX_SPECTRUM:
            raise SpecificationError(f"step {self.name} would make {len(windows):,} frames of this sound, too many")
        spectrum = np.abs(np.fft.rfft(windows * _hann(self.frame), fft)).astype(np.float32)
        mel = spectrum @ _mel_matrix(self.bins, fft, self.rate, self.low, self.high)
        return np.asarray(np.log(mel + np.float32(self.offset)), np.float32)


@functools.lru_cache(maxsize=8)
def _dct(bins: int, coefficients: int) -> np.ndarray:
    """(bins, coefficients): orthogonal DCT-II without its own scaling of the first one, as tf.signal has MFCCs."""
    angle = np.pi / bins * (np.arange(bins)[:, None] + 0.5) * np.arange(coefficients)
    return np.asarray(2 * np.cos(angle) / np.sqrt(2 * bins), np.float32)


@dataclass(frozen=True)
class Mfcc(LogMel):
    """Waveform to mel-frequency cepstral coefficients, (frames, coefficients), of what step ``log_mel`` gives.

    Attributes:
        coefficients: How many are kept.
    """

    name = "mfcc"
    coefficients: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.coefficients <= self.bins:
            raise ValueError(f"coefficients must be 1 to {self.bins}")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        return np.asarray(super().__call__(value, context) @ _dct(self.bins, self.coefficients))
