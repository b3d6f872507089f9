/* linear: x . W^T, requantised into rows, keys or values, or added to int32. Contract: tileformer.h. */
#include "tileformer.h"
#include "tlf_math.h"

static int32_t dot(const tlf_linear_args *a, int32_t row, int32_t column) {
    const int8_t *x = a->x + row * a->x_stride;
    const int8_t *w = a->w + (column / 2) * a->w_stride + column % 2;
    int32_t acc = 0;
    for (int32_t d = 0; d < a->k; d++) {
        acc += x[d] * w[2 * d];
    }
    return acc;
}

static int8_t output(const tlf_linear_args *a, int32_t row, int32_t column) {
    const int32_t *channel = a->channel + 2 * column;
    return tlf_requant(dot(a, row, column) + channel[0], channel[1], a->round, a->preshift, a->shift);
}

void tlf_linear_rows_ref(const tlf_linear_args *args) {
    int8_t *y = (int8_t *)args->y;
    for (int32_t r = 0; r < args->m; r++) {
        for (int32_t c = 0; c < args->n; c++) {
            y[r * args->y_stride + c] = output(args, r, c);
        }
    }
}

void tlf_linear_keys_ref(const tlf_linear_args *args) {
    int8_t *y = (int8_t *)args->y;
    const int32_t rows = args->m + args->m % 2;
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t c = 0; c < args->n; c++) {
            y[tlf_pairs_index(r, c, args->y_stride)] = r < args->m ? output(args, r, c) : (int8_t)0;
        }
    }
}

void tlf_linear_values_ref(const tlf_linear_args *args) {
    int8_t *y = (int8_t *)args->y;
    const int32_t rows = args->m + args->m % 2;
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t c = 0; c < args->n; c++) {
            y[tlf_pairs_index(c, r, args->y_stride)] = r < args->m ? output(args, r, c) : (int8_t)0;
        }
    }
}

void tlf_linear_add_ref(const tlf_linear_args *args) {
    for (int32_t r = 0; r < args->m; r++) {
        int32_t *y = (int32_t *)(void *)((uint8_t *)args->y + r * args->y_stride);
        for (int32_t c = 0; c < args->n; c++) {
            y[c] += dot(args, r, c);
        }
    }
}
