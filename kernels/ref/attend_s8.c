/* attend: softmax . V with the division in the requantisation. Contract: tileformer.h. Reads rows and columns. */
#include "tileformer.h"
#include "tlf_math.h"

static int32_t product(const tlf_attend_args *a, int32_t row, int32_t column) {
    const uint8_t *e = (const uint8_t *)a->e + row * a->e_stride;
    const int8_t *v = a->values + column * a->values_stride;
    int32_t acc = 0;
    for (int32_t j = 0; j < a->k; j++) {
        acc += e[j] * v[j];
    }
    const int32_t factor = (a->scale[0] + a->sum[row] / 2) / a->sum[row];
    return ((acc + ((1 << a->preshift) >> 1)) >> a->preshift) * factor;
}

void tlf_attend_rows_ref(const tlf_attend_args *args) {
    int8_t *y = (int8_t *)args->y;
    for (int32_t r = 0; r < args->m; r++) {
        for (int32_t c = 0; c < args->n; c++) {
            y[r * args->y_stride + c] = tlf_sat8((product(args, r, c) + args->round) >> args->shift);
        }
    }
}

void tlf_attend_add_ref(const tlf_attend_args *args) {
    for (int32_t r = 0; r < args->m; r++) {
        int32_t *y = (int32_t *)(void *)((uint8_t *)args->y + r * args->y_stride);
        for (int32_t c = 0; c < args->n; c++) {
            y[c] += product(args, r, c);
        }
    }
}
