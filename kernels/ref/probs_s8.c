/* probs: unnormalised softmax rows of one head, as uint8 rows. Contract: tileformer.h. Reads rows and columns.
 * The scores are computed twice (the best step, then the table), so no scratch is needed. */
#include "tileformer.h"
#include "tlf_math.h"

static int32_t step(const tlf_probs_args *a, int32_t row, int32_t token) {
    const int8_t *q = (const int8_t *)a->q + row * a->q_stride;
    const int8_t *key = a->keys + token * a->keys_stride;
    int32_t acc = 0;
    for (int32_t d = 0; d < a->k; d++) {
        acc += q[d] * key[d];
    }
    return ((1 << (a->shift - 1)) - acc * a->mult[0]) >> a->shift;
}

void tlf_probs_rows_ref(const tlf_probs_args *args) {
    uint8_t *e = (uint8_t *)args->e;
    for (int32_t r = 0; r < args->m; r++) {
        int32_t best = step(args, r, 0);
        for (int32_t j = 1; j < args->n; j++) {
            const int32_t s = step(args, r, j);
            best = s < best ? s : best;
        }
        int32_t sum = 0;
        for (int32_t j = 0; j < args->n; j++) {
            const int32_t index = step(args, r, j) - best;
            const uint8_t value = args->table[index > 255 ? 255 : index];
            e[r * args->e_stride + j] = value;
            sum += value;
        }
        args->sum[r] = sum;
    }
}
