/* narrow, zero, lut, add: one value in, one value out. Contract: tileformer.h. */
#include "tileformer.h"
#include "tlf_math.h"

void tlf_narrow_ref(const tlf_narrow_args *args) {
    for (int32_t r = 0; r < args->m; r++) {
        const int32_t *x = (const int32_t *)(const void *)((const uint8_t *)args->x + r * args->x_stride);
        int8_t *y = args->y + r * args->y_stride;
        for (int32_t c = 0; c < args->n; c++) {
            const int32_t *channel = args->channel + 2 * c;
            y[c] = tlf_requant(x[c] + channel[0], channel[1], args->round, args->preshift, args->shift);
        }
    }
}

void tlf_zero_ref(const tlf_zero_args *args) {
    for (int32_t i = 0; i < args->n; i++) {
        args->y[i] = 0;
    }
}

void tlf_lut_ref(const tlf_lut_args *args) {
    const int8_t *table = args->table + 128;
    for (int32_t i = 0; i < args->n; i++) {
        args->y[i] = table[args->x[i]];
    }
}

void tlf_add_ref(const tlf_add_args *args) {
    for (int32_t i = 0; i < args->n; i++) {
        args->y[i] = tlf_sat8((args->a[i] * args->mult_a + args->b[i] * args->mult_b + args->round) >> args->shift);
    }
}
