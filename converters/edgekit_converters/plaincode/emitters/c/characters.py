"""Tables of Unicode's letters for C, made from the Python that emits them: all of Unicode, as ranges.

A set is the sorted list of the places where membership changes, so that a code point is in it where an odd number of
them is at or below it; 16 bits each up to U+FFFF and 32 bits beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.emitters.c.literals import whole_table

_END, _PLANE = 0x110000, 0x10000
SIGMA = "\u03a3\u03c3\u03c2"
_TESTS: dict[str, Callable[[str], bool]] = {
    "word": lambda c: c.isalnum() or c == "_",
    "space": str.isspace,
    # what str.lower looks at around a capital sigma: told by what it makes of one
    "cased": lambda c: (c + "\u03a3").lower().endswith("\u03c2"),
    "ignorable": lambda c: (
        ("A" + c + "\u03a3").lower().endswith("\u03c2") and not (c + "\u03a3").lower().endswith("\u03c2")
    ),
}


@lru_cache(maxsize=8)
def changes(kind: str) -> tuple[int, ...]:
    """Code points where membership of a set (``word``, ``space``, ``cased``, ``ignorable``) changes."""
    test, inside, found = _TESTS[kind], False, []
    for code in range(_END):
        if test(chr(code)) is not inside:
            inside = not inside
            found.append(code)
    return tuple(found)


def set_code(kind: str, prefix: str) -> str:
    """``static int PREFIX_is_KIND(uint32_t c)`` and its tables; needs `SEARCH`."""
    small = [c for c in changes(kind) if c < _PLANE]
    large = [c for c in changes(kind) if c >= _PLANE]
    name, start = f"{prefix}_{kind}", len(small) % 2  # a set that goes on beyond U+FFFF
    code = whole_table(f"{name}_small", small, "uint16_t")
    after = str(start)
    if large:
        code += whole_table(f"{name}_large", large, "uint32_t")
        search = f"{prefix}_below32({name}_large, {len(large)}, c)"
        after = f"({search} + {start}) & 1" if start else f"{search} & 1"
    return code + (
        f"static int {prefix}_is_{kind}(uint32_t c)\n{{\n"
        f"    return c < 0x10000 ? {prefix}_below16({name}_small, {len(small)}, c) & 1 : {after};\n}}\n"
    )


def search_code(prefix: str, kinds: Iterable[str]) -> str:
    """The binary searches that the sets need."""
    sizes = [16, 32] if any(c >= _PLANE for k in kinds for c in changes(k)) else [16]
    return "".join(
        f"static int {prefix}_below{size}(const uint{size}_t *at, int count, uint32_t c)\n{{\n"
        "    int low = 0, middle;\n    while (low < count) {\n        middle = (low + count) / 2;\n"
        "        if (at[middle] <= c) low = middle + 1;\n        else count = middle;\n    }\n    return low;\n}\n"
        for size in sizes
    )


def lower_code(prefix: str, alphabet: frozenset[str] | None) -> str:
    """``static uint32_t PREFIX_small(uint32_t c, uint32_t *second)``: a letter's small letter, maybe in two parts.

    Letters that make no difference are left out where `alphabet` (all characters of the vocabulary) is known: those
    that neither are in it nor become one that is, and that stay in or out of words.
    """
    single: list[tuple[int, int]] = []
    double: list[tuple[int, int, int]] = []
    word, space = _TESTS["word"], _TESTS["space"]
    for code in range(_END):
        letter = chr(code)
        small = letter.lower()
        if small == letter:
            continue
        if len(small) == 1:
            same = word(small) == word(letter) and space(small) == space(letter)
            if alphabet is None or not same or letter in alphabet or small in alphabet:
                single.append((code, ord(small) - code))
        elif len(small) == 2:
            double.append((code, ord(small[0]), ord(small[1])))
        else:
            raise ConversionError(f"U+{code:04X} has a small form of three letters", "use another Python")
    runs: list[list[int]] = []  # first, last, step, difference
    for code, difference in single:
        run = runs[-1] if runs else [0, -9, 1, 0]
        gap = code - run[1]
        if run[3] == difference and gap in (1, 2) and (run[0] == run[1] or gap == run[2]):
            run[1], run[2] = code, gap
        else:
            runs.append([code, code, 1, difference])
    runs = runs or [[0, 0, 1, 0]]
    columns = [[run[place] for run in runs] for place in range(4)]
    special = "".join(
        f"    if (c == 0x{code:X}) {{\n        *second = 0x{b:X};\n        return 0x{a:X};\n    }}\n"
        for code, a, b in double
    )
    name = f"{prefix}_lower"
    return (
        "".join(whole_table(f"{name}_{word}", columns[place]) for place, word in enumerate(("first", "last", "step")))
        + whole_table(f"{name}_difference", columns[3], "int32_t")
        + f"static uint32_t {prefix}_small(uint32_t c, uint32_t *second)\n{{\n"
        f"    int low = 0, high = {len(runs)}, middle;\n{special or '    (void)second;' + chr(10)}"
        "    while (low < high) {\n        middle = (low + high) / 2;\n"
        f"        if ({name}_first[middle] <= c) low = middle + 1;\n        else high = middle;\n    }}\n"
        f"    if (!low || c > {name}_last[low - 1] || (c - {name}_first[low - 1]) % {name}_step[low - 1]) return c;\n"
        f"    return (uint32_t)((int32_t)c + {name}_difference[low - 1]);\n}}\n"
    )  # fmt: skip
