/* probs on XpulpV2, in tiles of 4 rows by 2 tokens. Contract: tileformer.h. Reads rows and columns. scratch: the steps of 4 rows. */
#include "sdot4x2.h"
#include "tileformer.h"

static void steps(const tlf_probs_args *a, int32_t r, int32_t *step) {
    const int32_t mult = a->mult[0], half = 1 << (a->shift - 1);
    for (int32_t c = 0; c < a->n; c += 2) {
        const tlf_tile tile = tlf_tile_at(r, c, a->m, a->n);
        int32_t acc[8];
        tlf_products_s8(acc, &tile, a->q, a->q_stride, a->keys, a->keys_stride, a->k);
        for (int32_t i = 0; i < 4; i++) {
            step[i * a->n + tile.column[1]] = (half - acc[2 * i + 1] * mult) >> a->shift;
            step[i * a->n + c] = (half - acc[2 * i] * mult) >> a->shift;
        }
    }
}

void tlf_probs_rows_sdot4x2(const tlf_probs_args *args) {
    int32_t *scratch = (int32_t *)args->scratch;
    const uint8_t *table = args->table; /* held in registers: the stores of e might alias the record */
    const int32_t n = args->n;
    for (int32_t r = 0; r < args->m; r++) {
        if (r % 4 == 0) {
            steps(args, r, scratch);
        }
        const int32_t *step = scratch + r % 4 * n;
        int32_t best = step[0], sum = 0;
        for (int32_t j = 1; j < n; j++) {
            best = tlf_min(step[j], best);
        }
        uint8_t *e = (uint8_t *)args->e + r * args->e_stride;
        for (int32_t j = 0; j < n; j++) {
            const uint8_t value = table[tlf_min(step[j] - best, 255)];
            e[j] = value;
            sum += value;
        }
        args->sum[r] = sum;
    }
}
