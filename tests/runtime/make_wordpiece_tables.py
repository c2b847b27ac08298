"""Makes devices/edgekit_runtime/specification/wordpiece_tables.py: asks `tokenizers` about every character.

Run it as ``python tests/runtime/make_wordpiece_tables.py > devices/edgekit_runtime/specification/wordpiece_tables.py``;
`test_wordpiece.py` compares every character with whatever release of `tokenizers` is installed.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable

import tokenizers
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

_OFF = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
_ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def _only(setting: str) -> BertNormalizer:
    return BertNormalizer(**{**_OFF, setting: True})


def _ranges(codes: Iterable[int]) -> str:
    found: list[list[int]] = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return " ".join(f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in found)


def _lower() -> str:
    """``first-last/step+distance`` of capitals whose small letter is as far away."""
    normalizer = _only("lowercase")
    found: list[list[int]] = []  # first, last, step (0: not known yet), distance
    for code in _ALL:
        small = normalizer.normalize_str(chr(code))
        if len(small) != 1 or small == chr(code):  # the one that becomes two characters is said in the code
            continue
        distance = ord(small) - code
        last = found[-1] if found else None
        if last and last[3] == distance and code - last[1] == (last[2] or code - last[1]) and code - last[1] < 3:
            last[1], last[2] = code, code - last[1]
        else:
            found.append([code, code, 0, distance])
    return " ".join(f"{a:x}{f'-{b:x}/{s}' if s else ''}{d:+x}" for a, b, s, d in found)


def _active() -> list[int]:
    """Characters that canonical decomposition takes apart or moves, as `tokenizers` knows them."""
    nfd = NFD()

    def moves(mark: str) -> bool:
        return any(nfd.normalize_str(pair) != pair for pair in ("\u0301" + mark, mark + "\u0334"))

    return [c for c in _ALL if nfd.normalize_str(chr(c)) != chr(c) or (unicodedata.combining(chr(c)) and moves(chr(c)))]


def main() -> None:
    """Print the module."""
    clean, marks, cjk, words = (
        _only("clean_text"), _only("strip_accents"), _only("handle_chinese_chars"), BertPreTokenizer(),
    )  # fmt: skip
    parts = {c: len(words.pre_tokenize_str(f"a{chr(c)}b")) for c in _ALL}
    cleaned = {c: clean.normalize_str(chr(c)) for c in _ALL}
    tables = {
        "REMOVED": _ranges(c for c in _ALL if cleaned[c] == ""),
        "BLANK": _ranges(c for c in _ALL if cleaned[c] == " "),
        "SPACE": _ranges(c for c in _ALL if parts[c] == 2),
        "PUNCTUATION": _ranges(c for c in _ALL if parts[c] == 3),
        "CJK": _ranges(c for c in _ALL if cjk.normalize_str(chr(c)) != chr(c)),
        "MARKS": _ranges(c for c in _ALL if marks.normalize_str(chr(c)) == ""),
        "ACTIVE": _ranges(_active()),
        "LOWER": _lower(),
    }
    print(f'"""How BERT\'s tokenizer sees characters: made from tokenizers {tokenizers.__version__}.')
    print(
        "\nBy tests/runtime/make_wordpiece_tables.py. Tables of our own, since Python's know another Unicode in every"
    )
    print(
        "release, and the tokenizer that models are trained with an older one: equal answers on every board need one."
    )
    print('"""\n')
    for name, table in tables.items():
        lines = textwrap.wrap(table, 112, break_on_hyphens=False)
        many = "(\n" + "\n".join(f'    "{line} "' for line in lines) + "\n)"
        print(f"{name} = " + (many if len(lines) > 1 else f'"{table}"'))


if __name__ == "__main__":
    main()
