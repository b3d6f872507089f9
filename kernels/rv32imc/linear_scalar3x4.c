/* linear on RV32IMC: products of 3 rows in assembly, then their requantisation. Contract: tileformer.h. Reads rows and
 * columns; channel records. scratch: the products of 3 rows with up to 32 columns. */
#include "clamp.h"
#include "products.h"
#include "tileformer.h"

typedef enum { ROWS, KEYS, VALUES } operand;
typedef void (*finish)(const void *args, const int32_t *acc, int32_t r, int32_t rows, int32_t c, int32_t n);

#define INLINE static inline __attribute__((always_inline))

/* Every product in blocks; `done` gets each block of `rows` rows from r and n columns from c. */
INLINE void blocks(const tlf_linear_args *a, const void *args, finish done) {
    const int8_t *x = (const int8_t *)a->x;
    int32_t *acc = (int32_t *)a->scratch;
    for (int32_t r = 0; r < a->m; r += TLF_ROWS) {
        const int32_t rows = tlf_smaller(a->m - r, TLF_ROWS);
        for (int32_t c = 0; c < a->n; c += TLF_COLUMNS) {
            const int32_t n = tlf_smaller(a->n - c, TLF_COLUMNS);
            tlf_products_s8(x + r * a->x_stride, a->x_stride, a->w + c * a->w_stride, a->w_stride, n, a->k, acc, rows);
            done(args, acc, r, rows, c, n);
        }
    }
}

/* A block of results; called with a constant number of rows where that matters. */
INLINE void requant(const tlf_linear_args *a, const int32_t *acc, int32_t r, int32_t rows, int32_t c, int32_t n, operand to) {
    const int32_t round = a->round, preshift = a->preshift, shift = a->shift, stride = a->y_stride;
    const int32_t low = to == ROWS ? -128 : -127, by_row = to == VALUES ? 1 : stride, by_column = to == VALUES ? stride : 1;
    const int32_t *channel = a->channel + 2 * c, *end = channel + 2 * n;
    int8_t *y = (int8_t *)a->y + r * by_row + c * by_column;
    for (; channel != end; channel += 2, acc += rows, y += by_column) {
        const int32_t bias = channel[0], mult = channel[1];
        for (int32_t i = 0; i < rows; i++) {
            y[i * by_row] = tlf_clamp((((acc[i] + bias) >> preshift) * mult + round) >> shift, low);
        }
    }
}

#define FINISH(name, to)                                                                                                \
    static void name(const void *args, const int32_t *acc, int32_t r, int32_t rows, int32_t c, int32_t n) {             \
        if (rows == TLF_ROWS) {                                                                                        \
            requant((const tlf_linear_args *)args, acc, r, TLF_ROWS, c, n, to);                                        \
        } else {                                                                                                       \
            requant((const tlf_linear_args *)args, acc, r, rows, c, n, to);                                            \
        }                                                                                                              \
    }

FINISH(to_rows, ROWS)
FINISH(to_keys, KEYS)
FINISH(to_values, VALUES)

static void to_sum(const void *args, const int32_t *acc, int32_t r, int32_t rows, int32_t c, int32_t n) {
    const tlf_linear_args *a = (const tlf_linear_args *)args;
    for (int32_t i = 0; i < rows; i++) {
        int32_t *y = (int32_t *)(void *)((uint8_t *)a->y + (r + i) * a->y_stride) + c;
        const int32_t *next = acc + i;
        for (int32_t j = 0; j < n; j++, next += rows) {
            y[j] += *next;
        }
    }
}

static void to_residual(const void *args, const int32_t *acc, int32_t r, int32_t rows, int32_t c, int32_t n) {
    const tlf_linear_residual_args a = *(const tlf_linear_residual_args *)args;
    for (int32_t i = 0; i < rows; i++) {
        const int8_t *residual = a.r + (r + i) * a.r_stride + c;
        int8_t *y = (int8_t *)a.y + (r + i) * a.y_stride + c;
        const int32_t *channel = a.channel + 2 * c, *next = acc + i;
        for (int32_t j = 0; j < n; j++, next += rows, channel += 2) {
            const int32_t v = tlf_clamp((((*next + channel[0]) >> a.preshift) * channel[1] + a.round) >> a.shift, -128);
            y[j] = tlf_clamp((v * a.mult_y + residual[j] * a.mult_r + a.add_round) >> a.add_shift, -128);
        }
    }
}

void tlf_linear_rows_scalar3x4(const tlf_linear_args *args) { blocks(args, args, to_rows); }

void tlf_linear_keys_scalar3x4(const tlf_linear_args *args) { blocks(args, args, to_keys); }

void tlf_linear_values_scalar3x4(const tlf_linear_args *args) { blocks(args, args, to_values); }

void tlf_linear_add_scalar3x4(const tlf_linear_args *args) { blocks(args, args, to_sum); }

void tlf_linear_residual_scalar3x4(const tlf_linear_residual_args *args) {
    const tlf_linear_args linear = {
        .x = args->x,
        .w = args->w,
        .scratch = args->scratch,
        .m = args->m,
        .n = args->n,
        .k = args->k,
        .x_stride = args->x_stride,
        .w_stride = args->w_stride,
    };
    blocks(&linear, args, to_residual);
}
