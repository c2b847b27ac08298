/* Prints what A small linear model says about one row. */
#include <stdio.h>

#include "small.h"

int main(void)
{
    static const small_input x[] = {
        0.5, /* length */
        1.0, /* colour */
    };
    printf("predict: %s\n", small_label(small_predict(x)));
    {
        double out[SMALL_PREDICT_PROBA_SIZE];
        int i;
        small_predict_proba(x, out);
        printf("predict_proba:");
        for (i = 0; i < SMALL_PREDICT_PROBA_SIZE; i++) printf(" %.17g", out[i]);
        printf("\n");
    }
    return 0;
}
