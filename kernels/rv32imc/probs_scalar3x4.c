/* probs on RV32IMC: scores of 3 rows in assembly, then two passes over them: the best score, then the table. Contract:
 * tileformer.h. Reads rows and columns. scratch: the scores of 3 rows.
 *
 * The step falls as the score grows (mult > 0), so the best step is that of the largest score. A step minus the best one is
 * ((half - best * 2^shift) - score * mult) >> shift: not negative and below 2^32, hence unsigned. */
#include "products.h"
#include "tileformer.h"

#define INLINE static inline __attribute__((always_inline))

/* The largest score of each row, as the minuend of its steps. */
INLINE void largest(const int32_t *score, const int32_t *end, int32_t rows, uint32_t *start, const tlf_probs_args *a) {
    int32_t best[TLF_ROWS] = {INT32_MIN, INT32_MIN, INT32_MIN};
    for (; score != end; score += rows) {
        for (int32_t i = 0; i < rows; i++) {
            if (__builtin_expect(score[i] > best[i], 0)) {
                best[i] = score[i];
            }
        }
    }
    const int32_t half = 1 << (a->shift - 1);
    for (int32_t i = 0; i < rows; i++) {
        const int32_t step = (half - best[i] * a->mult[0]) >> a->shift;
        start[i] = (uint32_t)half - ((uint32_t)step << a->shift);
    }
}

/* `rows` rows from row r; called with a constant number of rows. */
INLINE void finish(const tlf_probs_args *a, int32_t r, int32_t rows) {
    const int32_t *score = (const int32_t *)a->scratch, *const end = score + a->n * rows;
    const uint32_t mult = (uint32_t)a->mult[0];
    const int32_t shift = a->shift, stride = a->e_stride;
    const uint8_t *const table = a->table;
    uint8_t *e = (uint8_t *)a->e + r * stride;
    uint32_t start[TLF_ROWS];
    int32_t sum[TLF_ROWS] = {0, 0, 0};
    largest(score, end, rows, start, a);
    for (; score != end; score += rows, e++) {
        uint32_t index[TLF_ROWS];
        for (int32_t i = 0; i < rows; i++) {
            index[i] = (start[i] - (uint32_t)score[i] * mult) >> shift;
            if (__builtin_expect(index[i] > 255, 0)) {
                index[i] = 255;
            }
        }
        for (int32_t i = 0; i < rows; i++) {
            const uint8_t value = table[index[i]];
            e[i * stride] = value;
            sum[i] += value;
        }
    }
    for (int32_t i = 0; i < rows; i++) {
        a->sum[r + i] = sum[i];
    }
}

void tlf_probs_rows_scalar3x4(const tlf_probs_args *args) {
    const int8_t *q = (const int8_t *)args->q;
    int32_t *score = (int32_t *)args->scratch;
    for (int32_t r = 0; r < args->m; r += TLF_ROWS) {
        const int32_t rows = tlf_smaller(args->m - r, TLF_ROWS), stride = args->q_stride;
        tlf_products_s8(q + r * stride, stride, args->keys, args->keys_stride, args->n, args->k, score, rows);
        if (rows == TLF_ROWS) {
            finish(args, r, TLF_ROWS);
        } else if (rows == 2) {
            finish(args, r, 2);
        } else {
            finish(args, r, 1);
        }
    }
}
