/* probs on RV32IMC: scores of 3 rows in assembly, then two passes over them: the best score, then the table. Contract:
 * tileformer.h. Reads rows and columns. scratch: the scores of 3 rows. */
#include "products.h"
#include "tileformer.h"

/* One row of `rows` interleaved ones. The step falls as the score grows (mult > 0), so the best step is that of the largest score.
 * A step minus the best one is ((half - best * 2^shift) - score * mult) >> shift: not negative and below 2^32, hence unsigned. */
static int32_t lookup(const tlf_probs_args *a, const int32_t *score, int32_t rows, uint8_t *e) {
    const int32_t n = a->n, mult = a->mult[0], shift = a->shift;
    const uint8_t *table = a->table;
    const int32_t *next = score;
    int32_t best = *next;
    for (int32_t j = n; j > 1; j--) {
        next += rows;
        if (__builtin_expect(*next > best, 0)) {
            best = *next;
        }
    }
    const int32_t half = 1 << (shift - 1), step = (half - best * mult) >> shift;
    const uint32_t start = (uint32_t)half - ((uint32_t)step << shift);
    int32_t sum = 0;
    for (int32_t j = n; j > 0; j--, score += rows) {
        uint32_t index = (start - (uint32_t)*score * (uint32_t)mult) >> shift;
        index = index > 255 ? 255 : index;
        *e++ = table[index];
        sum += table[index];
    }
    return sum;
}

void tlf_probs_rows_scalar3x4(const tlf_probs_args *args) {
    const int8_t *q = (const int8_t *)args->q;
    int32_t *score = (int32_t *)args->scratch;
    for (int32_t r = 0; r < args->m; r += TLF_ROWS) {
        const int32_t rows = tlf_smaller(args->m - r, TLF_ROWS);
        tlf_products_s8(q + r * args->q_stride, args->q_stride, args->keys, args->keys_stride, args->n, args->k, score, rows);
        for (int32_t i = 0; i < rows; i++) {
            args->sum[r + i] = lookup(args, score + i, rows, (uint8_t *)args->e + (r + i) * args->e_stride);
        }
    }
}
