"""Plain Python of texts: weighted counts of n-grams as a dictionary from column to value."""

from __future__ import annotations

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.python_steps import Code, literal

TEXT_HELPERS = {
    "_hash": '''\
def _hash(data):
    """MurmurHash3 x86 of 32 bits, signed."""
    h, whole = 0, len(data) // 4 * 4
    for at in range(0, len(data), 4):
        k = 0
        for i, byte in enumerate(data[at : at + 4]):
            k |= byte << (8 * i)
        k = (k * 0xCC9E2D51) & 0xFFFFFFFF
        k = (((k << 15) | (k >> 17)) * 0x1B873593) & 0xFFFFFFFF
        h ^= k
        if at < whole:
            h = (((h << 13) | (h >> 19)) & 0xFFFFFFFF) * 5 + 0xE6546B64 & 0xFFFFFFFF
    h ^= len(data)
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    h ^= h >> 16
    return h - (1 << 32) if h >> 31 else h
''',
    "_words": '''\
def _words(text, shortest, stop):
    """Runs of letters, digits and underscores."""
    found, word = [], ""
    for c in text + " ":
        if c == "_" or c.isalpha() or c.isdigit() or (c > "~" and c.isalnum()):
            word += c
        else:
            if len(word) >= shortest and word not in stop:
                found.append(word)
            word = ""
    return found
''',
    "_spaced": '''\
def _spaced(text):
    """Each run of several white spaces as one space."""
    out, run = "", ""
    for c in text:
        if c.isspace():
            run += c
        else:
            out += (" " if len(run) > 1 else run) + c
            run = ""
    return out + (" " if len(run) > 1 else run)
''',
    "_pieces": '''\
def _pieces(pieces, joint, low, high, alone):
    """The n-grams of each piece; with `alone`, a piece shorter than the shortest counts once, as it is."""
    grams = []
    for piece in pieces:
        if alone and len(piece) < low:
            grams.append(joint.join(piece))
        for n in range(low, high + 1):
            for start in range(len(piece) - n + 1):
                grams.append(joint.join(piece[start : start + n]))
    return grams
''',
}  # fmt: skip


def words_code(step: ir.Words, name: str) -> Code:
    """Python of `Words`: ``x`` is the text, the result a dictionary without zeros."""
    low, high = step.ngrams
    body = ["x = x.lower()"] if step.lowercase else []
    constants: dict[str, str] = {}
    if step.analyzer == "word":
        if step.stop_words:
            constants["stop"] = f"{{{', '.join(ascii(w) for w in sorted(step.stop_words))}}}"
        stop = f"{name}_stop" if step.stop_words else "()"
        pieces, joint = f"[_words(x, {1 if step.single_letters else 2}, {stop})]", " "
    else:
        pieces, joint = ("[_spaced(x)]" if step.analyzer == "char" else '[" " + w + " " for w in x.split()]'), ""
    body += [
        "out = {}",
        f'for gram in _pieces({pieces}, "{joint}", {low}, {high}, {step.analyzer == "char_wb"}):',
    ]
    if step.vocabulary is None:
        by = "(-1 if h < 0 else 1)" if step.alternate_sign else "1"
        body += ['    h = _hash(gram.encode("utf-8"))', f"    column = abs(h) % {step.size}",
                 f"    out[column] = {'1' if step.binary else f'out.get(column, 0) + {by}'}"]  # fmt: skip
    else:
        items = ", ".join(f"{g!a}: {int(c)}" for g, c in step.vocabulary.items())
        constants["vocabulary"] = f"{{{items}}}"
        body += [f"    column = {name}_vocabulary.get(gram)", "    if column is not None:",
                 f"        out[column] = {'1' if step.binary else 'out.get(column, 0) + 1'}"]  # fmt: skip
    body.append("out = {column: float(v) for column, v in out.items() if v}")
    if step.sublinear:
        body.append("out = {column: _log(v) + 1 for column, v in out.items()}")
    if step.weights is not None:
        constants["weights"] = literal(step.weights)
        body.append(f"out = {{column: v * {name}_weights[column] for column, v in out.items()}}")
    if step.norm:
        each = "abs(v)" if step.norm == "l1" else "v * v"
        body.append(f"total = sum([{each} for v in out.values()])")
        total = "math.sqrt(total)" if step.norm == "l2" else "total"
        body += ["if total:", f"    out = {{column: v / {total} for column, v in out.items()}}"]
    return Code([*body, "return out"], constants)
