/* What kernels/rv32imc/products_s8.S and products_u8.S compute, in C for the machine the tests run on. */
#include "products.h"

static void products(const uint8_t *x, int32_t x_stride, int32_t x_min, const int8_t *w, int32_t w_stride, int32_t n,
                     int32_t k, int32_t *out, int32_t rows) {
    for (int32_t c = 0; c < n; c++) {
        for (int32_t r = 0; r < rows; r++) {
            int32_t sum = 0;
            for (int32_t d = 0; d < k; d++) {
                const int32_t raw = x[r * x_stride + d];
                sum += (raw > 127 ? raw + 2 * x_min : raw) * w[c * w_stride + d];
            }
            out[c * rows + r] = sum;
        }
    }
}

void tlf_products_s8(const void *x, int32_t x_stride, const int8_t *w, int32_t w_stride, int32_t n, int32_t k,
                     int32_t *out, int32_t rows) {
    products((const uint8_t *)x, x_stride, -128, w, w_stride, n, k, out, rows);
}

void tlf_products_u8(const void *x, int32_t x_stride, const int8_t *w, int32_t w_stride, int32_t n, int32_t k,
                     int32_t *out, int32_t rows) {
    products((const uint8_t *)x, x_stride, 0, w, w_stride, n, k, out, rows);
}
