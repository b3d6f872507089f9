/* mean on RV32IMC: four columns a turn. Contract: tileformer.h. y may be the first row of x. */
#include "clamp.h"
#include "tileformer.h"

void tlf_mean_scalar(const tlf_mean_args *args) {
    const int32_t m = args->m, n = args->n, stride = args->x_stride;
    const int32_t mult = args->mult, round = args->round, shift = args->shift;
    int32_t c = 0;
    for (; n - c >= 4; c += 4) {
        const int8_t *x = args->x + c;
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (int32_t r = m; r > 0; r--, x += stride) {
            const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
            s0 += x0;
            s1 += x1;
            s2 += x2;
            s3 += x3;
        }
        args->y[c] = tlf_clamp((s0 * mult + round) >> shift, -128);
        args->y[c + 1] = tlf_clamp((s1 * mult + round) >> shift, -128);
        args->y[c + 2] = tlf_clamp((s2 * mult + round) >> shift, -128);
        args->y[c + 3] = tlf_clamp((s3 * mult + round) >> shift, -128);
    }
    for (; c < n; c++) {
        const int8_t *x = args->x + c;
        int32_t sum = 0;
        for (int32_t r = m; r > 0; r--, x += stride) {
            sum += *x;
        }
        args->y[c] = tlf_clamp((sum * mult + round) >> shift, -128);
    }
}
