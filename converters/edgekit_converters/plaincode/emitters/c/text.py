r"""C of texts: n-grams read from UTF-8 as they come, with no copy of the text and no vector of all columns.

What is read is what Python reads: words are runs of ``\w`` of the `re` module, small letters those of ``str.lower``
(final sigma and dotted capital I included), white space that of ``str.isspace``, for all of Unicode as the Python that
emits the code has it. A byte that is no UTF-8 is read as U+FFFD, as ``bytes.decode("utf-8", "replace")`` reads it.

`Words` that only `Dense` steps read (also through `Select` and `Concat`) are summed as they are read: one n-gram after
the other where counts enter linearly, else in passes over the text, each of which counts the next `TERMS` columns in
order, so that memory is small and known whatever the text. Other steps get the whole vector, if it is small enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.c import characters, templates
from edgekit_converters.plaincode.emitters.c.literals import table, table_type, whole_table, whole_type
from edgekit_converters.plaincode.emitters.c.steps import Code
from edgekit_converters.plaincode.emitters.c.templates import filled

TERMS = 128
"""Columns that are counted in one pass over a text."""
_CURSOR = 24


def shared(program: ir.Program, order: Sequence[int], prefix: str) -> str:
    """Functions and tables that every text of a program is read with."""
    words = [s for s in (program.steps[i] for i in order) if isinstance(s, ir.Words)]
    if not words:
        return ""
    known = [_alphabet(w) for w in words if w.lowercase]
    alphabet = None if any(a is None for a in known) else frozenset().union(*(a for a in known if a is not None))
    sigma = bool(known) and (alphabet is None or bool(alphabet & set(characters.SIGMA)))
    kinds = [k for k, wanted in (
        ("word", any(w.analyzer == "word" for w in words)), ("space", any(w.analyzer != "word" for w in words)),
        ("cased", sigma), ("ignorable", sigma),
    ) if wanted]  # fmt: skip
    code = filled(templates.DECODE, P=prefix) + characters.search_code(prefix, kinds)
    code += "".join(characters.set_code(kind, prefix) for kind in kinds)
    if known:
        code += characters.lower_code(prefix, alphabet)
        code += filled(templates.LOWER, P=prefix, SIGMA=filled(templates.SIGMA, P=prefix) if sigma else "")
    if any(not w.lowercase for w in words):
        code += filled(templates.RAW, P=prefix)
    if any(w.vocabulary is None for w in words):
        code += filled(templates.HASH, P=prefix)
    if any(w.vocabulary is not None or w.stop_words for w in words):
        code += filled(templates.MATCH, P=prefix, START_TYPE=whole_type([_longest(words)]))
    return code


def _longest(words: Sequence[ir.Words]) -> int:
    """Bytes of the longest list of n-grams or stop words, at least as much as 16 bits count."""
    lists = [(*(w.vocabulary or ()),) for w in words] + [tuple(w.stop_words) for w in words]
    return max(1 << 8, *(sum(len(_bytes(g)) for g in grams) for grams in lists))


def _bytes(gram: str) -> bytes:
    return gram.encode("utf-8", "surrogatepass")


def _alphabet(step: ir.Words) -> frozenset[str] | None:
    if step.vocabulary is None:
        return None
    return frozenset(c for text in (*step.vocabulary, *step.stop_words) for c in text)


def _list(prefix: str, name: str, entries: Sequence[bytes]) -> str:
    """A sorted list of byte strings as a pool and where each begins."""
    starts = np.cumsum([0, *(len(e) for e in entries)]).tolist()
    pool = list(b"".join(entries)) or [0]
    return whole_table(f"{name}_pool", pool, "uint8_t") + whole_table(f"{name}_starts", starts, f"{prefix}_start")


def _scan(step: ir.Words, name: str, prefix: str, sink: str) -> str:
    """``static void NAME_scan(const char *text, SINK *to)``: calls ``NAME_add(to, column, 1 or -1)`` per n-gram."""
    read = f"{prefix}_lower" if step.lowercase else f"{prefix}_raw"
    code = ""
    if step.vocabulary is None:
        state, start = f"{prefix}_hash", "{0, 0, 0}"
        feed, end = f"{prefix}_hash_byte(s, bytes[i])", "0"
        sign = "h >> 31 ? -1 : 1" if step.alternate_sign else "1"
        found = (
            f"    uint32_t h = {prefix}_hashed(s);\n"
            f"    {name}_add(to, (h >> 31 ? 0U - h : h) % {step.size}U, {sign});\n"
        )
    else:
        state, start = f"{prefix}_match", f"{{0, {len(step.vocabulary)}, 0}}"
        feed = f"{prefix}_match_byte({name}_pool, {name}_starts, s, bytes[i])"
        found = f"    if ({prefix}_matched({name}_starts, s)) {name}_add(to, s->low, 1);\n"
        end = "s.low == s.high"
        code += _list(prefix, name, sorted(_bytes(g) for g in step.vocabulary))
    code += (
        f"static void {name}_feed({state} *s, uint32_t c)\n{{\n    unsigned char bytes[4];\n"
        f"    int i, count = {prefix}_encode(c, bytes);\n    for (i = 0; i < count; i++) {feed};\n}}\n"
        f"static void {name}_found(const {state} *s, {sink} *to)\n{{\n{found}}}\n"
    )
    names = {
        "N": name, "P": prefix, "READ": read, "STATE": state, "START": start, "SINK": sink, "END": end,
        "LOW": str(step.ngrams[0]), "HIGH": str(step.ngrams[1]), "LETTERS": "1" if step.single_letters else "2",
        "STOP": "",
    }  # fmt: skip
    if step.analyzer == "word" and step.stop_words:
        code += _list(prefix, f"{name}_stop", sorted(_bytes(w) for w in step.stop_words))
        code += filled(templates.STOP, **names, COUNT=str(len(step.stop_words)))
        names["STOP"] = f"        if ({name}_stops(*begin, length)) continue;\n"
    return code + filled(
        {"word": templates.WORD, "char": templates.CHAR, "char_wb": templates.CHAR_WB}[step.analyzer], **names
    )


def _prefix(name: str) -> str:
    """The program's prefix, of a step's name ``PREFIX_s7``."""
    return name.rpartition("_s")[0]


def _keys(step: ir.Words) -> list[int]:
    """Columns in the order of the sorted vocabulary."""
    if step.vocabulary is None:
        return []
    return [c for _, c in sorted((_bytes(g), c) for g, c in step.vocabulary.items())]


def _counted(step: ir.Words, place: str) -> str:
    """The statement that notes an n-gram in a column: counted, or only that it is there."""
    return f"(void)by;\n    {place} = 1;" if step.binary else f"{place} += by;"


def _value(step: ir.Words, weight: str) -> str:
    """Statements that turn a count ``v`` that is not 0 into a value."""
    lines = []
    if step.sublinear:
        lines.append("v = log(v) + 1.0;")
    if step.weights is not None:
        lines.append(f"v *= {weight};")
    return "\n".join(f"    {line}" for line in lines) + "\n" if lines else ""


def dense_code(step: ir.Words, name: str) -> Code:
    """A text to all its columns."""
    keys = _keys(step)
    tables = whole_table(f"{name}_columns", keys) if keys else ""
    column = f"{name}_columns[column]" if keys else "column"
    tables += (
        f"static void {name}_add(double *to, uint32_t column, int by)\n{{\n    {_counted(step, f'to[{column}]')}\n}}\n"
    )
    tables += _scan(step, name, _prefix(name), "double")
    if step.weights is not None:
        tables += table(f"{name}_weights", step.weights)
    body = f"int i;\nfor (i = 0; i < {step.size}; i++) out[i] = 0.0;\n{name}_scan(x, out);\n"
    work = _value(step, f"{name}_weights[i]")
    total = {"l1": "    total += fabs(v);\n", "l2": "    total += v * v;\n"}.get(step.norm, "")
    if work or total:
        start = "double total = 0.0;\n" if total else ""
        body = (
            f"{start}{body}for (i = 0; i < {step.size}; i++) {{\n    double v = out[i];\n"
            f"    if (v == 0.0) continue;\n{work}{total}    out[i] = v;\n}}\n"
        )
    if total:
        root = "total = sqrt(total);\n" if step.norm == "l2" else ""
        body += f"{root}if (total != 0.0) for (i = 0; i < {step.size}; i++) out[i] /= total;\n"
    return Code(body, tables)


def streamed_code(step: ir.Words, dense: ir.Dense, name: str) -> tuple[Code, int]:
    """A text to the products of its columns with weights, and the bytes of stack that this takes."""
    prefix, keys = _prefix(name), _keys(step)
    weights, scale = np.asarray(dense.weights, np.float64), step.weights
    scale = np.asarray(scale, np.float64) if scale is not None else None
    tables, width = "", dense.width
    if keys and len(set(keys)) == len(keys):  # tables in the order of the vocabulary need no columns
        weights, scale = weights[keys], scale[keys] if scale is not None else None
    elif keys:
        tables += whole_table(f"{name}_keys", keys, "uint32_t")
    used = np.flatnonzero((weights != 0).any(axis=1))
    linear = not (step.norm or step.binary or step.sublinear)
    lookup = "const @T@ *w = @N@_products + (size_t)column * @W@;\n"
    if step.vocabulary is None and 2 * len(used) < len(weights):
        lookup = templates.SPARSE
        tables += whole_table(f"{name}_used", used.tolist() or [0]) + table(
            f"{name}_products", weights[used] if len(used) else np.zeros(width)
        )
    else:
        tables += table(f"{name}_products", weights)
    if scale is not None:
        tables += table(f"{name}_scale", scale)
    names = {
        "N": name, "P": prefix, "W": str(width), "T": table_type(weights), "USED": str(len(used)),
        "U": whole_type(used.tolist() or [0]), "TERMS": str(TERMS),
    }  # fmt: skip
    sum_code = (
        "static void @N@_sum(double *out, uint32_t column, double v)\n{\n    int i;\n    "
        + lookup
        + "    for (i = 0; i < @W@; i++) out[i] += v * w[i];\n}\n"
    )
    tables += filled(sum_code, **names)
    key = f"{name}_keys[column]" if keys and len(set(keys)) != len(keys) else "column"
    value = _value(step, f"{name}_scale[column]")
    bias = ""
    if dense.bias is not None:
        tables += table(f"{name}_bias", np.broadcast_to(np.asarray(dense.bias, np.float64), (width,)))
        bias = f"for (i = 0; i < {width}; i++) out[i] += {name}_bias[i];\n"
    start = f"for (i = 0; i < {width}; i++) out[i] = 0.0;\n"
    if linear:
        tables += (
            f"static void {name}_add(double *to, uint32_t column, int by)\n{{\n    double v = by;\n"
            + (f"    column = {key};\n" if key != "column" else "")
            + f"{value}    {name}_sum(to, column, v);\n}}\n"
        )
        return Code(f"int i;\n{start}{name}_scan(x, out);\n{bias}",
                    tables + _scan(step, name, prefix, "double")), 6 * _CURSOR  # fmt: skip
    tables += filled(
        templates.TERMS,
        **names,
        KEY=f"    column = {key};\n" if key != "column" else "",
        COUNTED=_counted(step, "to->count[low]"),
    )
    total = {"l1": "total += fabs(v);\n", "l2": "total += v * v;\n"}.get(step.norm, "")
    body = f"{name}_terms terms;\nint i;\n" + ("double total = 0.0;\n" if total else "") + start
    inner = (
        "double v = terms.count[i];\nuint32_t column = terms.column[i];\nif (v == 0.0) continue;\n"
        + "".join(line.strip() + "\n" for line in value.splitlines())
        + total
        + f"{name}_sum(out, column, v);\n"
    )
    body += (
        "terms.from = 0;\ndo {\n    terms.used = 0;\n    terms.full = 0;\n"
        f"    {name}_scan(x, &terms);\n    for (i = 0; i < terms.used; i++) {{\n"
        + "".join(f"        {line}\n" for line in inner.splitlines())
        + "    }\n    if (terms.used) terms.from = terms.column[terms.used - 1] + 1;\n} while (terms.full);\n"
    )
    if total:
        root = "total = sqrt(total);\n" if step.norm == "l2" else ""
        body += f"{root}if (total != 0.0) for (i = 0; i < {width}; i++) out[i] /= total;\n"
    return Code(body + bias, tables + _scan(step, name, prefix, f"{name}_terms")), 8 * TERMS + 12 + 6 * _CURSOR
