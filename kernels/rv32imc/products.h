/* What the matrix products on RV32IMC share: the products of a few rows. */
#ifndef TLF_PRODUCTS_H
#define TLF_PRODUCTS_H

#include <stdint.h>

#define TLF_ROWS 3     /* most rows of one call */
#define TLF_COLUMNS 32 /* columns that linear and attend take at a time: their scratch holds TLF_ROWS times as many results */

/* out[c * rows + r] = sum_d x[r * x_stride + d] * w[c * w_stride + d] for c < n, r < rows; 1 <= rows <= 3; n, k >= 1. */
void tlf_products_s8(const void *x, int32_t x_stride, const int8_t *w, int32_t w_stride, int32_t n, int32_t k,
                     int32_t *out, int32_t rows);
void tlf_products_u8(const void *x, int32_t x_stride, const int8_t *w, int32_t w_stride, int32_t n, int32_t k,
                     int32_t *out, int32_t rows);

static inline int32_t tlf_smaller(int32_t a, int32_t b) { return a < b ? a : b; }

#endif
