"""C of text reading with places to fill, ``@NAME@``: what is the same for every program but for its names."""

DECODE = """\
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
    to[0] = (unsigned char)(more ? ((0xFF00U >> (more + 1)) & 0xFF) | c : c);
    return more + 1;
}
typedef struct {
    const unsigned char *at;
    uint32_t second;
    int cased;
} @P@_cursor;
"""
RAW = """\
/* The next code point as it is, 0 at the end. */
static uint32_t @P@_raw(@P@_cursor *c)
{
    return *c->at ? @P@_decode(&c->at) : 0;
}
"""
LOWER = """\
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
SIGMA = """\
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
HASH = """\
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
MATCH = """\
typedef @START_TYPE@ @P@_start;
/* The entries low <= i < high of a sorted list of byte strings that begin with the bytes read so far. */
typedef struct {
    uint32_t low, high, depth;
} @P@_match;
static uint32_t @P@_narrowed(const unsigned char *pool, const @P@_start *starts, const @P@_match *s, int byte)
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
static void @P@_match_byte(const unsigned char *pool, const @P@_start *starts, @P@_match *s, int byte)
{
    uint32_t low = @P@_narrowed(pool, starts, s, byte);
    s->high = @P@_narrowed(pool, starts, s, byte + 1);
    s->low = low;
    s->depth++;
}
static int @P@_matched(const @P@_start *starts, const @P@_match *s)
{
    return s->low < s->high && (uint32_t)(starts[s->low + 1] - starts[s->low]) == s->depth;
}
"""
STOP = """\
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
WORD = """\
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
CHAR = """\
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
CHAR_WB = """\
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
SPARSE = """const @T@ *w;
    int low = 0, high = @USED@, middle;
    while (low < high) {
        middle = (low + high) / 2;
        if (@N@_used[middle] < column) low = middle + 1;
        else high = middle;
    }
    if (low == @USED@ || @N@_used[low] != column) return;
    w = @N@_products + (size_t)low * @W@;
"""
TERMS = """\
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
    @COUNTED@
}
"""


def filled(template: str, **names: str) -> str:
    """A template with its places filled."""
    for name, value in names.items():
        template = template.replace(f"@{name}@", value)
    return template
