/* linear: x . W^T, requantised into rows, keys or values, added to int32, or added to a residual. Contract: tileformer.h.
 * Reads rows and columns; channel parameters are records. */
#include "tileformer.h"
#include "tlf_math.h"

static int32_t dot(const tlf_linear_args *a, int32_t row, int32_t column) {
    const int8_t *x = (const int8_t *)a->x + row * a->x_stride;
    const int8_t *w = a->w + column * a->w_stride;
    int32_t acc = 0;
    for (int32_t d = 0; d < a->k; d++) {
        acc += x[d] * w[d];
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
    for (int32_t r = 0; r < args->m; r++) {
        for (int32_t c = 0; c < args->n; c++) {
            y[r * args->y_stride + c] = tlf_right(output(args, r, c));
        }
    }
}

void tlf_linear_values_ref(const tlf_linear_args *args) {
    int8_t *y = (int8_t *)args->y;
    for (int32_t r = 0; r < args->m; r++) {
        for (int32_t c = 0; c < args->n; c++) {
            y[c * args->y_stride + r] = tlf_right(output(args, r, c));
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

void tlf_linear_residual_ref(const tlf_linear_residual_args *args) {
    const tlf_linear_args linear = {
        .x = args->x,
        .w = args->w,
        .channel = args->channel,
        .m = args->m,
        .n = args->n,
        .k = args->k,
        .x_stride = args->x_stride,
        .w_stride = args->w_stride,
        .round = args->round,
        .preshift = args->preshift,
        .shift = args->shift,
    };
    int8_t *y = (int8_t *)args->y;
    for (int32_t r = 0; r < args->m; r++) {
        for (int32_t c = 0; c < args->n; c++) {
            const int32_t sum = output(&linear, r, c) * args->mult_y + args->r[r * args->r_stride + c] * args->mult_r;
            y[r * args->y_stride + c] = tlf_sat8((sum + args->add_round) >> args->add_shift);
        }
    }
}
