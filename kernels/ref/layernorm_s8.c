/* layernorm: each row normalised in integers, then scaled per channel. Contract: tileformer.h. */
#include "tileformer.h"
#include "tlf_math.h"

static void normalise_row(const tlf_layernorm_args *a, const int8_t *x, int8_t *y) {
    const int32_t n = a->n;
    int32_t sum = 0;
    int32_t squares = 0;
    for (int32_t c = 0; c < n; c++) {
        sum += x[c];
        squares += x[c] * x[c];
    }
    uint32_t spread = (uint32_t)n * (uint32_t)squares - (uint32_t)(sum * sum) + (uint32_t)a->epsilon;
    int32_t exponent = 0;
    while (spread < (1u << 28)) {
        spread <<= 2;
        exponent++;
    }
    const int32_t root = (int32_t)tlf_isqrt30(spread);
    const int32_t recip = ((1 << 29) + root / 2) / root;
    const int32_t unit = 1 << exponent; /* multiplied, not shifted: the centred value may be negative */
    const int32_t half = (1 << a->guard) >> 1;
    const int32_t rest = 17 - a->guard;
    for (int32_t c = 0; c < n; c++) {
        const int32_t centred = ((n * x[c] - sum) * unit + half) >> a->guard;
        const int32_t normal = (centred * recip + (1 << (rest - 1))) >> rest;
        y[c] = tlf_sat8((normal * a->channel[2 * c] + a->channel[2 * c + 1]) >> a->shift);
    }
}

void tlf_layernorm_ref(const tlf_layernorm_args *args) {
    for (int32_t r = 0; r < args->m; r++) {
        normalise_row(args, args->x + r * args->x_stride, args->y + r * args->y_stride);
    }
}
