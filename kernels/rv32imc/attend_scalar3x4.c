/* attend on RV32IMC: products of 3 rows in assembly, then their requantisation. Contract: tileformer.h. Reads rows and
 * columns. scratch: the products of 3 rows with up to 32 columns. */
#include "clamp.h"
#include "products.h"
#include "tileformer.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void to_rows(const tlf_attend_args *a, const int32_t *acc, const int32_t *factor, int32_t r, int32_t rows, int32_t c,
                    int32_t n) {
    const int32_t half = (1 << a->preshift) >> 1, preshift = a->preshift, round = a->round, shift = a->shift;
    const int32_t stride = a->y_stride, *end = acc + n * rows;
    int8_t *y = (int8_t *)a->y + r * stride + c;
    for (; acc != end; acc += rows, y++) {
        for (int32_t i = 0; i < rows; i++) {
            y[i * stride] = tlf_clamp((((acc[i] + half) >> preshift) * factor[i] + round) >> shift, -128);
        }
    }
}

INLINE void to_sum(const tlf_attend_args *a, const int32_t *acc, const int32_t *factor, int32_t r, int32_t rows, int32_t c,
                   int32_t n) {
    const int32_t half = (1 << a->preshift) >> 1, preshift = a->preshift;
    for (int32_t i = 0; i < rows; i++) {
        int32_t *y = (int32_t *)(void *)((uint8_t *)a->y + (r + i) * a->y_stride) + c;
        const int32_t *next = acc + i, by = factor[i];
        for (int32_t j = 0; j < n; j++, next += rows) {
            y[j] += ((*next + half) >> preshift) * by;
        }
    }
}

INLINE void attend(const tlf_attend_args *a, int32_t add) {
    const uint8_t *e = (const uint8_t *)a->e;
    int32_t *acc = (int32_t *)a->scratch, factor[TLF_ROWS];
    for (int32_t r = 0; r < a->m; r += TLF_ROWS) {
        const int32_t rows = tlf_smaller(a->m - r, TLF_ROWS);
        for (int32_t i = 0; i < rows; i++) {
            factor[i] = (a->scale[0] + a->sum[r + i] / 2) / a->sum[r + i];
        }
        for (int32_t c = 0; c < a->n; c += TLF_COLUMNS) {
            const int32_t n = tlf_smaller(a->n - c, TLF_COLUMNS);
            const int8_t *values = a->values + c * a->values_stride;
            tlf_products_u8(e + r * a->e_stride, a->e_stride, values, a->values_stride, n, a->k, acc, rows);
            if (add) {
                to_sum(a, acc, factor, r, rows, c, n);
            } else if (rows == TLF_ROWS) {
                to_rows(a, acc, factor, r, TLF_ROWS, c, n);
            } else {
                to_rows(a, acc, factor, r, rows, c, n);
            }
        }
    }
}

void tlf_attend_rows_scalar3x4(const tlf_attend_args *args) { attend(args, 0); }

void tlf_attend_add_scalar3x4(const tlf_attend_args *args) { attend(args, 1); }
