#include "small.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* Products and sums are rounded one by one, as the model's source rounds them; never fused. */
#if defined(__FAST_MATH__)
#error "compile without -ffast-math: the answers depend on NaN and on the order of sums"
#elif defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize ("fp-contract=off")
#endif
#if DBL_MANT_DIG < 53
#error "double has fewer than 64 bits here: on AVR compile with -mdouble=64"
#endif
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "floats are computed in more than their own precision here: compile with -msse2 -mfpmath=sse"
#endif

static void small_s2(const double *x, double *out)
{
    out[0] = (x[0] - 0.1) / 2.0;
}

static void small_s3(const double *x, float *out)
{
    int i;
    double v = x[1];
    i = v >= 0.0 && v < 2.0 ? (int)v : 2;
    if (v != i) i = 2;
    memset(out, 0, 2 * sizeof *out);
    if (i < 2) out[i] = 1.0f;
}

static void small_s4(const double *x0, const float *x1, double *out)
{
    int i;
    out[0] = x0[0];
    for (i = 0; i < 2; i++) out[1 + i] = x1[i];
}

static const double small_s5_weights[9] = {
    0.5, -1.0, 0.1, 1.0, 0.25, 0.0, 0.0, 2.0, -0.5
};
static const float small_s5_bias[3] = {
    0.125f, 0.0f, -0.5f
};
static void small_s5(const double *x, double *out)
{
    const double *w = small_s5_weights;
    int i, j;
    for (i = 0; i < 3; i++) out[i] = 0.0;
    for (j = 0; j < 3; j++) {
        double v = x[j];
        for (i = 0; i < 3; i++) out[i] += v * *w++;
    }
    for (i = 0; i < 3; i++) out[i] += small_s5_bias[i];
}

static void small_s6(const double *x, float *out)
{
    int i, at = 0;
    for (i = 1; i < 3; i++)
        if (x[at] == x[at] && (x[i] > x[at] || x[i] != x[i])) at = i;
    out[0] = (float)at;
}

static void small_s7(const double *x, double *out)
{
    int i;
    double top = x[0], total = 0.0;
    for (i = 1; i < 3; i++) if (x[i] > top || x[i] != x[i]) top = x[i];
    for (i = 0; i < 3; i++) {
        out[i] = exp(x[i] - top);
        total += out[i];
    }
    for (i = 0; i < 3; i++) out[i] /= total;
}

int small_predict(const small_input *x)
{
    double d0[3];
    float f0[2];
    double d1[3];
    small_s2(x, d0);
    small_s3(x, f0);
    small_s4(d0, f0, d1);
    small_s5(d1, d0);
    small_s6(d0, f0);
    return (int)f0[0];
}

void small_predict_rows(const small_input *x, size_t rows, int *out)
{
    size_t i;
    for (i = 0; i < rows; i++) out[i] = small_predict(x + i * 2);
}

void small_predict_proba(const small_input *x, double out[SMALL_PREDICT_PROBA_SIZE])
{
    double d0[3];
    float f0[2];
    double d1[3];
    small_s2(x, d0);
    small_s3(x, f0);
    small_s4(d0, f0, d1);
    small_s5(d1, d0);
    small_s7(d0, out);
}

void small_predict_proba_rows(const small_input *x, size_t rows, double *out)
{
    size_t i;
    for (i = 0; i < rows; i++) small_predict_proba(x + i * 2, out + i * 3);
}

static const char *const small_label_table[3] = {
    "low",
    "high",
    "n/a"
};
const char *small_label(int place)
{
    return place >= 0 && place < 3 ? small_label_table[place] : 0;
}
