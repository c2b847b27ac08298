"""Texts to weighted counts of n-grams, exactly as scikit-learn's vectorizers count them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from edgekit_converters.plaincode.ir import Words

_TOKENS = {False: re.compile(r"(?u)\b\w\w+\b"), True: re.compile(r"(?u)\b\w+\b")}
_SPACES = re.compile(r"\s\s+")
_MASK = 0xFFFFFFFF


def murmur3(data: bytes, seed: int = 0) -> int:
    """MurmurHash3 x86 of 32 bits, signed (Austin Appleby, public domain), which scikit-learn hashes n-grams with."""
    h, whole = seed, len(data) // 4 * 4
    for at in range(0, whole, 4):
        h ^= _scrambled(int.from_bytes(data[at : at + 4], "little"))
        h = (_rotated(h, 13) * 5 + 0xE6546B64) & _MASK
    if whole < len(data):
        h ^= _scrambled(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & _MASK
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & _MASK
    h ^= h >> 16
    return h - (1 << 32) if h >> 31 else h


def _rotated(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & _MASK


def _scrambled(k: int) -> int:
    return (_rotated((k * 0xCC9E2D51) & _MASK, 15) * 0x1B873593) & _MASK


def ngrams(step: Words, text: str) -> Iterable[str]:
    """The n-grams of a text, repetitions included."""
    text = text.lower() if step.lowercase else text
    low, high = step.ngrams
    if step.analyzer == "word":
        words: Sequence[str] = [w for w in _TOKENS[step.single_letters].findall(text) if w not in step.stop_words]
        joint = " "
        pieces: list[Sequence[str]] = [words]
    else:
        text = _SPACES.sub(" ", text)
        joint, pieces = "", [text] if step.analyzer == "char" else [f" {w} " for w in text.split()]
    for piece in pieces:
        for n in range(low, high + 1):
            if step.analyzer == "char_wb" and len(piece) < n:
                if n == low:  # a word shorter than the shortest n-gram counts once, as it is
                    yield joint.join(piece)
                break
            for start in range(len(piece) - n + 1):
                yield joint.join(piece[start : start + n])


def count_words(step: Words, texts: Iterable[str]) -> np.ndarray:
    """(texts, size) float64."""
    rows = []
    for text in texts:
        row, touched = np.zeros(step.size), np.zeros(step.size, bool)
        for gram in ngrams(step, text):
            if step.vocabulary is not None:
                if gram in step.vocabulary:
                    row[step.vocabulary[gram]] += 1
                continue
            hashed = murmur3(gram.encode())
            row[abs(hashed) % step.size] += -1 if step.alternate_sign and hashed < 0 else 1
            touched[abs(hashed) % step.size] = True
        if step.binary:
            row = (touched if step.vocabulary is None else row != 0).astype(np.float64)
        rows.append(_weighted(step, row))
    return np.stack(rows)


def _weighted(step: Words, row: np.ndarray) -> np.ndarray:
    if step.sublinear:
        row[row != 0] = np.log(row[row != 0]) + 1
    if step.weights is not None:
        row = row * step.weights
    if step.norm:
        total = np.abs(row).sum() if step.norm == "l1" else np.sqrt((row * row).sum())
        row = row / total if total else row
    return row
