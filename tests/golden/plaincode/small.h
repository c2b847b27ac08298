#ifndef SMALL_H
#define SMALL_H

/*
 * A small linear model, as plain C99 by edgekit.
 *
 * x: 2 numbers of type double, in this order:
 *     0  length: number
 *     1  colour: category (0 = red, 1 = light blue; -1 = any other), NaN where it is missing
 *
 * Functions allocate nothing, keep nothing between calls and may run at the same time.
 * Memory: no static memory; numbers take 56 bytes of stack. Constant tables: 96 bytes.
 * Of libm: exp.
 */
#include <stddef.h>

#define SMALL_FEATURES 2
#define SMALL_CLASSES 3
#define SMALL_PREDICT_PROBA_SIZE 3

enum {
    SMALL_CLASS_LOW = 0,
    SMALL_CLASS_HIGH = 1,
    SMALL_CLASS_N_A = 2
};

/* Codes of colour. */
#define SMALL_COLOUR_RED 0 /* red */
#define SMALL_COLOUR_LIGHT_BLUE 1 /* light blue */

#ifdef __cplusplus
extern "C" {
#endif

typedef double small_input;

/* predict: the place of a class among 3. 56 bytes of stack. */
int small_predict(const small_input *x);
/* The same for many rows: one answer a row. */
void small_predict_rows(const small_input *x, size_t rows, int *out);

/* predict_proba: 3 numbers. 56 bytes of stack. */
void small_predict_proba(const small_input *x, double out[SMALL_PREDICT_PROBA_SIZE]);
/* The same for many rows: the answers of one row after those of the other. */
void small_predict_proba_rows(const small_input *x, size_t rows, double *out);

/* The name of a class; 0 where there is none of that place. */
const char *small_label(int place);

#ifdef __cplusplus
}
#endif
#endif
