/* attend: softmax . V with the division in the requantisation. Contract: tileformer.h. */
#include "tileformer.h"
#include "tlf_math.h"

static int32_t probability(const tlf_attend_args *a, int32_t row, int32_t token, int panels) {
    if (!panels) {
        return ((const uint8_t *)a->e)[row * a->e_stride + token];
    }
    const int32_t first = row - row % 4;
    const int32_t height = a->m - first < 4 ? a->m - first : 4;
    const int16_t *panel = (const int16_t *)a->e + first * (a->k + a->k % 2);
    return panel[((token / 2) * height + row - first) * 2 + token % 2];
}

static int32_t product(const tlf_attend_args *a, int32_t row, int32_t column, int panels) {
    const int8_t *v = a->values + (column / 2) * a->values_stride + column % 2;
    int32_t acc = 0;
    for (int32_t j = 0; j < a->k; j++) {
        acc += probability(a, row, j, panels) * v[2 * j];
    }
    const int32_t factor = (a->scale[0] + a->sum[row] / 2) / a->sum[row];
    return ((acc + ((1 << a->preshift) >> 1)) >> a->preshift) * factor;
}

static void attend_rows(const tlf_attend_args *a, int panels) {
    int8_t *y = (int8_t *)a->y;
    for (int32_t r = 0; r < a->m; r++) {
        for (int32_t c = 0; c < a->n; c++) {
            y[r * a->y_stride + c] = tlf_sat8((product(a, r, c, panels) + a->round) >> a->shift);
        }
    }
}

static void attend_add(const tlf_attend_args *a, int panels) {
    for (int32_t r = 0; r < a->m; r++) {
        int32_t *y = (int32_t *)(void *)((uint8_t *)a->y + r * a->y_stride);
        for (int32_t c = 0; c < a->n; c++) {
            y[c] += product(a, r, c, panels);
        }
    }
}

void tlf_attend_rows_ref(const tlf_attend_args *args) { attend_rows(args, 0); }

void tlf_attend_rows_panels_ref(const tlf_attend_args *args) { attend_rows(args, 1); }

void tlf_attend_add_ref(const tlf_attend_args *args) { attend_add(args, 0); }

void tlf_attend_add_panels_ref(const tlf_attend_args *args) { attend_add(args, 1); }
