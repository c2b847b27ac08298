"""C of texts: n-grams read from UTF-8 as they come, with no copy of the text and no vector of all columns.

What is read is what Python reads: words are runs of ``\\w`` of the `re` module, small letters those of ``str.lower``
(final sigma and dotted capital I included), white space that of ``str.isspace``, for all of Unicode as the Python that
emits the code has it. A byte that is no UTF-8 is read as U+FFFD, as ``bytes.decode("utf-8", "replace")`` reads it.

`Words` that only `Dense` steps read (also through `Select` and `Concat`) are summed as they are read: one n-gram after
the other where counts enter linearly, else in passes over the text, each of which counts the next `TERMS` columns in
order, so that memory is small and known whatever the text. Other steps get the whole vector, if it is small enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.c import characters
from edgekit_converters.plaincode.emitters.c.literals import table, table_type, whole_table, whole_type
from edgekit_converters.plaincode.emitters.c.steps import Code

TERMS = 128
"""Columns that are counted in one pass over a text."""
_CURSOR = 24


# -- rewriting -----------------------------------------------------------------------------------------------------


def stream(program: ir.Program, methods: Sequence[str] = ()) -> ir.Program:
    """The same program with each `Dense` over text and other columns taken apart, so that text can be summed alone."""
    if not any(isinstance(s, ir.Words) for s in program.steps):
        return program
    steps: list[ir.Step] = []
    moved = {0: 0}

    def put(step: ir.Step) -> ir.Register:
        steps.append(step)
        return ir.Register(len(steps), step.width)

    for index, step in enumerate(program.steps):
        parts = _parts(program, step.source, np.asarray(step.weights)) if isinstance(step, ir.Dense) else []
        if isinstance(step, ir.Dense) and len(parts) > 1 or (parts and parts[0][0] != step.sources[0]):
            sums = [
                put(ir.Dense(_moved(r, moved), w, step.bias if last else None))
                for last, (r, w) in ((i == len(parts) - 1, p) for i, p in enumerate(parts))
            ]
            total = sums[0]
            for part in sums[1:]:
                total = put(ir.Arithmetic(total, part, "+"))
            moved[index + 1] = total.index
            continue
        moved[index + 1] = put(_with_sources(step, moved)).index
    answers = {
        m: tuple(replace(a, register=_moved(a.register, moved)) for a in found) for m, found in program.methods.items()
    }
    return replace(program, steps=tuple(steps), methods=answers)


def _moved(register: ir.Register, moved: dict[int, int]) -> ir.Register:
    return ir.Register(moved[register.index], register.width)


def _with_sources(step: ir.Step, moved: dict[int, int]) -> ir.Step:
    changed: dict[str, object] = {}
    for name, value in vars(step).items():
        if isinstance(value, ir.Register):
            changed[name] = _moved(value, moved)
        elif isinstance(value, tuple) and value and isinstance(value[0], ir.Register):
            changed[name] = tuple(_moved(v, moved) for v in value)
    return replace(step, **changed) if changed else step  # type: ignore[type-var] # every step is a dataclass


def _parts(program: ir.Program, register: ir.Register, weights: np.ndarray) -> list[tuple[ir.Register, np.ndarray]]:
    """Registers that a product is the sum over, each with its weights; text lies bare in one of them, if anywhere."""
    if not _holds_text(program, register):
        return [(register, weights)]
    step = program.steps[register.index - 1]
    if isinstance(step, ir.Concat):
        found, at = [], 0
        for part in step.parts:
            found += _parts(program, part, weights[at : at + part.width])
            at += part.width
        return found
    if isinstance(step, ir.Select):
        spread = np.zeros((step.source.width, weights.shape[1]))
        np.add.at(spread, list(step.columns), weights)
        return _parts(program, step.source, spread)
    return [(register, weights)]


def _holds_text(program: ir.Program, register: ir.Register) -> bool:
    if not register.index:
        return False
    step = program.steps[register.index - 1]
    if isinstance(step, (ir.Concat, ir.Select)):
        return any(_holds_text(program, r) for r in step.sources)
    return isinstance(step, ir.Words)


def reads_text(program: ir.Program, step: ir.Step) -> bool:
    """Whether a step's function takes a text."""
    if isinstance(step, ir.Dense):
        source = step.source.index
        return bool(source) and isinstance(program.steps[source - 1], ir.Words)
    return isinstance(step, ir.Words)


def feature_of(program: ir.Program, step: ir.Step) -> int:
    """The text feature that a step reads."""
    if isinstance(step, ir.Dense):
        step = program.steps[step.source.index - 1]
    place = ir.Builder(list(program.features), list(program.steps)).origin(step.sources[0], 0)
    return -1 if place is None else place


# -- shared by all texts of a program ------------------------------------------------------------------------------


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
    code = _filled(_DECODE, P=prefix) + characters.search_code(prefix, kinds)
    code += "".join(characters.set_code(kind, prefix) for kind in kinds)
    if known:
        code += characters.lower_code(prefix, alphabet)
        code += _filled(_LOWER, P=prefix, SIGMA=_filled(_SIGMA, P=prefix) if sigma else "")
    if any(not w.lowercase for w in words):
        code += _filled(_RAW, P=prefix)
    if any(w.vocabulary is None for w in words):
        code += _filled(_HASH, P=prefix)
    if any(w.vocabulary is not None or w.stop_words for w in words):
        code += _filled(_MATCH, P=prefix)
    return code


def _alphabet(step: ir.Words) -> frozenset[str] | None:
    if step.vocabulary is None:
        return None
    return frozenset(c for text in (*step.vocabulary, *step.stop_words) for c in text)


def _filled(template: str, **names: str) -> str:
    for name, value in names.items():
        template = template.replace(f"@{name}@", value)
    return template


_DECODE = """\
/* The next code point of UTF-8; what is none is U+FFFD, as Python's "replace" reads it. */
static uint32_t @P@_decode(const unsigned char **at)
{
    const unsigned char *s = *at;
    uint32_t c = *s++;
    unsigned low, high;
    int more;
    if (c >= 0x80) {
        more = c < 0xC2 || c > 0xF4 ? -1 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
        low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
        high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        if (more < 0) c = 0xFFFD;
        else c &= 0x3FU >> more;
        for (; more > 0; more--) {
            if (*s < low || *s > high) {
                c = 0xFFFD;
                break;
            }
            c = c << 6 | (*s++ & 0x3FU);
            low = 0x80;
            high = 0xBF;
        }
    }
    *at = s;
    return c;
}
/* Encodes a code point; gives the number of bytes. */
static int @P@_encode(uint32_t c, unsigned char *to)
{
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3, i;
    for (i = more; i > 0; i--, c >>= 6) to[i] = (unsigned char)(0x80 | (c & 0x3F));
    to[0] = (unsigned char)(more ? ((0xF00U >> more) & 0xFF) | c : c);
    return more + 1;
}
typedef struct {
    const unsigned char *at;
    uint32_t second;
    int cased;
} @P@_cursor;
"""
_RAW = """\
/* The next code point as it is, 0 at the end. */
static uint32_t @P@_raw(@P@_cursor *c)
{
    return *c->at ? @P@_decode(&c->at) : 0;
}
"""
_LOWER = """\
/* The next code point in small letters, 0 at the end. */
static uint32_t @P@_lower(@P@_cursor *c)
{
    uint32_t v = c->second;
    c->second = 0;
    if (v || !*c->at) return v;
    v = @P@_decode(&c->at);
@SIGMA@    return @P@_small(v, &c->second);
}
"""
_SIGMA = """\
    if (v == 0x3A3) { /* the small sigma of a word's end, or the other one */
        const unsigned char *next = c->at;
        int end = c->cased;
        while (end && *next) {
            uint32_t n = @P@_decode(&next);
            if (@P@_is_ignorable(n)) continue;
            end = !@P@_is_cased(n);
            break;
        }
        c->cased = 1;
        return end ? 0x3C2 : 0x3C3;
    }
    if (!@P@_is_ignorable(v)) c->cased = @P@_is_cased(v);
"""
_HASH = """\
/* MurmurHash3 x86 of 32 bits, byte by byte (the algorithm is Austin Appleby's, in the public domain). */
typedef struct {
    uint32_t h, k, count;
} @P@_hash;
static uint32_t @P@_scrambled(uint32_t k)
{
    k *= 0xCC9E2D51U;
    return (k << 15 | k >> 17) * 0x1B873593U;
}
static void @P@_hash_byte(@P@_hash *s, uint32_t byte)
{
    s->k |= byte << 8 * (s->count & 3);
    if (++s->count & 3) return;
    s->h ^= @P@_scrambled(s->k);
    s->h = (s->h << 13 | s->h >> 19) * 5 + 0xE6546B64U;
    s->k = 0;
}
static uint32_t @P@_hashed(const @P@_hash *s)
{
    uint32_t h = s->h;
    if (s->count & 3) h ^= @P@_scrambled(s->k);
    h ^= s->count;
    h = (h ^ h >> 16) * 0x85EBCA6BU;
    h = (h ^ h >> 13) * 0xC2B2AE35U;
    return h ^ h >> 16;
}
"""
_MATCH = """\
/* The entries low <= i < high of a sorted list of byte strings that begin with the bytes read so far. */
typedef struct {
    uint32_t low, high, depth;
} @P@_match;
static uint32_t @P@_narrowed(const unsigned char *pool, const uint32_t *starts, const @P@_match *s, int byte)
{
    uint32_t low = s->low, high = s->high, middle;
    while (low < high) {
        middle = low + (high - low) / 2;
        if (starts[middle] + s->depth < starts[middle + 1] && (int)pool[starts[middle] + s->depth] >= byte)
            high = middle;
        else low = middle + 1;
    }
    return low;
}
static void @P@_match_byte(const unsigned char *pool, const uint32_t *starts, @P@_match *s, int byte)
{
    uint32_t low = @P@_narrowed(pool, starts, s, byte);
    s->high = @P@_narrowed(pool, starts, s, byte + 1);
    s->low = low;
    s->depth++;
}
static int @P@_matched(const uint32_t *starts, const @P@_match *s)
{
    return s->low < s->high && starts[s->low + 1] - starts[s->low] == s->depth;
}
"""


# -- one text ------------------------------------------------------------------------------------------------------


def _list(name: str, entries: Sequence[bytes]) -> str:
    """A sorted list of byte strings as a pool and where each begins."""
    starts = np.cumsum([0, *(len(e) for e in entries)]).tolist()
    pool = list(b"".join(entries)) or [0]
    return whole_table(f"{name}_pool", pool, "uint8_t") + whole_table(f"{name}_starts", starts, "uint32_t")


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
        code += _list(name, sorted(g.encode("utf-8", "surrogatepass") for g in step.vocabulary))
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
        code += _list(f"{name}_stop", sorted(w.encode("utf-8", "surrogatepass") for w in step.stop_words))
        code += _filled(_STOP, **names, COUNT=str(len(step.stop_words)))
        names["STOP"] = f"        if ({name}_stops(*begin, length)) continue;\n"
    return code + _filled({"word": _WORD, "char": _CHAR, "char_wb": _CHAR_WB}[step.analyzer], **names)


_STOP = """\
static int @N@_stops(@P@_cursor at, int length)
{
    @P@_match s = {0, @COUNT@, 0};
    unsigned char bytes[4];
    int i, count;
    for (; length > 0 && s.low < s.high; length--) {
        count = @P@_encode(@READ@(&at), bytes);
        for (i = 0; i < count; i++) @P@_match_byte(@N@_stop_pool, @N@_stop_starts, &s, bytes[i]);
    }
    return @P@_matched(@N@_stop_starts, &s);
}
"""
_WORD = """\
/* Finds the next word; gives its number of letters, 0 at the end. */
static int @N@_word(@P@_cursor *c, @P@_cursor *begin)
{
    @P@_cursor here;
    uint32_t v;
    int length;
    for (;;) {
        do {
            *begin = *c;
            v = @READ@(c);
            if (!v) return 0;
        } while (!@P@_is_word(v));
        length = 0;
        do {
            length++;
            here = *c;
            v = @READ@(c);
        } while (v && @P@_is_word(v));
        *c = here;
        if (length < @LETTERS@) continue;
@STOP@        return length;
    }
}
static void @N@_scan(const char *text, @SINK@ *to)
{
    @P@_cursor c = {0, 0, 0}, ahead, begin;
    int length, n;
    c.at = (const unsigned char *)text;
    while ((length = @N@_word(&c, &begin)) > 0) {
        @STATE@ s = @START@;
        ahead = c;
        for (n = 1;; n++) {
            for (; length > 0; length--) @N@_feed(&s, @READ@(&begin));
            if (n >= @LOW@) @N@_found(&s, to);
            if (n == @HIGH@ || @END@) break;
            length = @N@_word(&ahead, &begin);
            if (!length) break;
            @N@_feed(&s, ' ');
        }
    }
}
"""
_CHAR = """\
/* The next code point; a run of white space is one space. */
static uint32_t @N@_next(@P@_cursor *c)
{
    uint32_t v = @READ@(c), n;
    if (v && @P@_is_space(v)) {
        @P@_cursor here = *c;
        while ((n = @READ@(&here)) != 0 && @P@_is_space(n)) {
            *c = here;
            v = ' ';
        }
    }
    return v;
}
static void @N@_scan(const char *text, @SINK@ *to)
{
    @P@_cursor c = {0, 0, 0}, ahead;
    uint32_t v;
    int n;
    c.at = (const unsigned char *)text;
    do {
        @STATE@ s = @START@;
        ahead = c;
        for (n = 1; n <= @HIGH@ && (v = @N@_next(&ahead)) != 0; n++) {
            @N@_feed(&s, v);
            if (n == 1) c = ahead;
            if (n >= @LOW@) @N@_found(&s, to);
            if (@END@) {
                n++;
                break;
            }
        }
    } while (n > 1);
}
"""
_CHAR_WB = """\
/* A word between two spaces: phase 0 before the first, 2 after the last. */
typedef struct {
    @P@_cursor c;
    int phase;
} @N@_piece;
static uint32_t @N@_next(@N@_piece *p)
{
    @P@_cursor here = p->c;
    uint32_t v;
    if (p->phase == 2) return 0;
    if (p->phase == 0) {
        p->phase = 1;
        return ' ';
    }
    v = @READ@(&p->c);
    if (v && !@P@_is_space(v)) return v;
    p->c = here;
    p->phase = 2;
    return ' ';
}
static void @N@_scan(const char *text, @SINK@ *to)
{
    @P@_cursor c = {0, 0, 0};
    @N@_piece piece, ahead;
    uint32_t v;
    int n, first;
    c.at = (const unsigned char *)text;
    for (;;) {
        do {
            piece.c = c;
            v = @READ@(&c);
        } while (v && @P@_is_space(v));
        if (!v) break;
        piece.phase = 0;
        first = 1;
        do {
            @STATE@ s = @START@;
            ahead = piece;
            for (n = 1; n <= @HIGH@ && (v = @N@_next(&ahead)) != 0; n++) {
                @N@_feed(&s, v);
                if (n == 1) piece = ahead;
                if (n >= @LOW@) @N@_found(&s, to);
            }
            /* a word shorter than the shortest n-gram counts once, as it is */
            if (first && n > 1 && n <= @LOW@) @N@_found(&s, to);
            first = 0;
        } while (n > 1);
        c = piece.c;
    }
}
"""


def _prefix(name: str) -> str:
    return name.rpartition("_s")[0]


def _keys(step: ir.Words) -> list[int]:
    """Columns in the order of the sorted vocabulary."""
    if step.vocabulary is None:
        return []
    return [c for _, c in sorted((g.encode("utf-8", "surrogatepass"), c) for g, c in step.vocabulary.items())]


def _value(step: ir.Words, weight: str) -> str:
    """Statements that turn a count ``v`` that is not 0 into a value."""
    lines = []
    if step.binary:
        lines.append("v = v > 0.0 ? 1.0 : -1.0;" if step.vocabulary is None else "v = 1.0;")
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
    tables += f"static void {name}_add(double *to, uint32_t column, int by)\n{{\n    to[{column}] += by;\n}}\n"
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
        lookup = _SPARSE
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
    tables += _filled(sum_code, **names)
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
    tables += _filled(_TERMS, **names, KEY=f"    column = {key};\n" if key != "column" else "")
    total = {"l1": "total += fabs(v);\n", "l2": "total += v * v;\n"}.get(step.norm, "")
    body = f"{name}_terms terms;\nint i;\n" + ("double total = 0.0;\n" if total else "") + start
    inner = (
        f"double v = terms.count[i];\nuint32_t column = terms.column[i];\nif (v == 0.0) continue;\n"
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


_SPARSE = """const @T@ *w;
    int low = 0, high = @USED@, middle;
    while (low < high) {
        middle = (low + high) / 2;
        if (@N@_used[middle] < column) low = middle + 1;
        else high = middle;
    }
    if (low == @USED@ || @N@_used[low] != column) return;
    w = @N@_products + (size_t)low * @W@;
"""
_TERMS = """\
/* Counts of the first @TERMS@ columns from `from` on, in order; `full` where there are more. */
typedef struct {
    uint32_t column[@TERMS@], from;
    int32_t count[@TERMS@];
    int used, full;
} @N@_terms;
static void @N@_add(@N@_terms *to, uint32_t column, int by)
{
    int low = 0, high = to->used, middle;
@KEY@    if (column < to->from) return;
    while (low < high) {
        middle = (low + high) / 2;
        if (to->column[middle] < column) low = middle + 1;
        else high = middle;
    }
    if (low == to->used || to->column[low] != column) {
        if (to->used == @TERMS@) {
            to->full = 1;
            if (low == @TERMS@) return;
            to->used--;
        }
        memmove(to->column + low + 1, to->column + low, (size_t)(to->used - low) * sizeof *to->column);
        memmove(to->count + low + 1, to->count + low, (size_t)(to->used - low) * sizeof *to->count);
        to->column[low] = column;
        to->count[low] = 0;
        to->used++;
    }
    to->count[low] += by;
}
"""
