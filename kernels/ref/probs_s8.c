/* probs: unnormalised softmax rows of one head, as uint8 rows or int16 panels. Contract: tileformer.h.
 * The scores are computed twice (maximum, then exponentials), so no scratch is needed. */
#include "tileformer.h"
#include "tlf_math.h"

static int32_t score(const tlf_probs_args *a, int32_t row, int32_t token) {
    const int8_t *q = a->q + row * a->q_stride;
    const int8_t *key = a->keys + (token / 2) * a->keys_stride + token % 2;
    int32_t acc = 0;
    for (int32_t d = 0; d < a->k; d++) {
        acc += q[d] * key[2 * d];
    }
    return acc;
}

static int32_t top_score(const tlf_probs_args *a, int32_t row) {
    int32_t top = score(a, row, 0);
    for (int32_t j = 1; j < a->n; j++) {
        const int32_t s = score(a, row, j);
        top = s > top ? s : top;
    }
    return top;
}

static uint8_t weight(const tlf_probs_args *a, int32_t row, int32_t token, int32_t top) {
    const int32_t index = ((top - score(a, row, token)) * a->mult[0] + a->round) >> a->shift;
    return a->table[index > 255 ? 255 : index];
}

void tlf_probs_rows_ref(const tlf_probs_args *args) {
    uint8_t *e = (uint8_t *)args->e;
    for (int32_t r = 0; r < args->m; r++) {
        const int32_t top = top_score(args, r);
        int32_t sum = 0;
        for (int32_t j = 0; j < args->n; j++) {
            const uint8_t value = weight(args, r, j, top);
            e[r * args->e_stride + j] = value;
            sum += value;
        }
        args->sum[r] = sum;
    }
}

void tlf_probs_panels_ref(const tlf_probs_args *args) {
    int16_t *e = (int16_t *)args->e;
    const int32_t padded = args->n + args->n % 2;
    for (int32_t r = 0; r < args->m; r++) {
        const int32_t first = r - r % 4;
        const int32_t height = args->m - first < 4 ? args->m - first : 4;
        int16_t *panel = e + first * padded;
        const int32_t top = top_score(args, r);
        int32_t sum = 0;
        for (int32_t j = 0; j < padded; j++) {
            const int16_t value = j < args->n ? (int16_t)weight(args, r, j, top) : (int16_t)0;
            panel[((j / 2) * height + r - first) * 2 + j % 2] = value;
            sum += value;
        }
        args->sum[r] = sum;
    }
}
