/* layernorm on RV32IMC: the two passes of a row with everything that is constant in it taken out. Contract: tileformer.h. */
#include "clamp.h"
#include "tileformer.h"
#include "tlf_math.h"

/* n * sum of squares - sum^2 + epsilon; the sum of x goes to *sum. */
static uint32_t spread_of(const int8_t *x, int32_t n, int32_t epsilon, int32_t *sum) {
    const int8_t *const end = x + n;
    int32_t total = 0, squares = 0;
    for (; end - x >= 4; x += 4) {
        const int32_t v0 = x[0], v1 = x[1], v2 = x[2], v3 = x[3];
        total += v0 + v1 + v2 + v3;
        squares += v0 * v0 + v1 * v1 + v2 * v2 + v3 * v3;
    }
    for (; x != end; x++) {
        total += *x;
        squares += *x * *x;
    }
    *sum = total;
    return (uint32_t)n * (uint32_t)squares - (uint32_t)(total * total) + (uint32_t)epsilon;
}

static void normalise_row(const tlf_layernorm_args *a, const int8_t *x, int8_t *y) {
    const int32_t n = a->n, guard = a->guard, rest = 17 - guard, shift = a->shift;
    int32_t sum, exponent = 0;
    uint32_t spread = spread_of(x, n, a->epsilon, &sum);
    while (spread < (1u << 28)) {
        spread <<= 2;
        exponent++;
    }
    const int32_t root = (int32_t)tlf_isqrt30(spread);
    const int32_t recip = ((1 << 29) + root / 2) / root;
    /* (n * x - sum) * 2^exponent + half, its two terms apart: each is below 2^30 */
    const int32_t scale = n * (1 << exponent), offset = ((1 << guard) >> 1) - sum * (1 << exponent);
    const int32_t half = 1 << (rest - 1);
    const int32_t *channel = a->channel;
    const int8_t *const end = x + n;
    for (; end - x >= 2; x += 2, y += 2, channel += 4) {
        const int32_t mult0 = channel[0], round0 = channel[1], mult1 = channel[2], round1 = channel[3];
        const int32_t normal0 = (((x[0] * scale + offset) >> guard) * recip + half) >> rest;
        const int32_t normal1 = (((x[1] * scale + offset) >> guard) * recip + half) >> rest;
        y[0] = tlf_clamp((normal0 * mult0 + round0) >> shift, -128);
        y[1] = tlf_clamp((normal1 * mult1 + round1) >> shift, -128);
    }
    if (x != end) {
        const int32_t normal = (((*x * scale + offset) >> guard) * recip + half) >> rest;
        *y = tlf_clamp((normal * channel[0] + channel[1]) >> shift, -128);
    }
}

void tlf_layernorm_scalar(const tlf_layernorm_args *args) {
    for (int32_t r = 0; r < args->m; r++) {
        normalise_row(args, args->x + r * args->x_stride, args->y + r * args->y_stride);
    }
}
