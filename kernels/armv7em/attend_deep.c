/* attend over so many keys that their sums pass 23 bits, where the micro-tiles of `quads` end. Contract: tileformer.h.
 * Two rows at a time: linear_add sums up the products of at most 256 keys (256 * 255 * 127 < 2^23) at a time. */
#include "tileformer.h"
#include "tlf_math.h"

#define KEYS 256

/* Rows of e to a panel of two rows. */
static void unpack(const tlf_attend_args *a, int32_t row, int32_t rows, uint16_t *panel) {
    const uint8_t *e = (const uint8_t *)a->e + row * a->e_stride;
    for (int32_t r = 0; r < rows; r++) {
        uint16_t *word = panel + 2 * r;
        for (int32_t j = 0; j < a->k; j += 2, word += 4) {
            word[0] = e[j];
            word[1] = j + 1 < a->k ? e[j + 1] : 0;
        }
        e += a->e_stride;
    }
}

/* e . values of up to two rows: (rows, n) int32 at the start of scratch. */
static const int32_t *sums(const tlf_attend_args *a, int32_t row, int32_t rows) {
    int32_t *acc = (int32_t *)a->scratch;
    const uint8_t *panel = (const uint8_t *)a->e + row / 2 * a->e_stride;
    if (!a->e_panels) {
        unpack(a, row, rows, (uint16_t *)(void *)(acc + 2 * a->n));
        panel = (const uint8_t *)(acc + 2 * a->n);
    }
    for (int32_t i = 0; i < rows * a->n; i++) {
        acc[i] = 0;
    }
    tlf_linear_args part = {.y = acc, .m = rows, .n = a->n, .w_stride = a->values_stride, .y_stride = 4 * a->n};
    part.x_panels = 1;
    for (int32_t first = 0; first < a->k; first += KEYS) {
        part.x = panel + 4 * first;
        part.w = a->values + 4 * first;
        part.k = a->k - first < KEYS ? a->k - first : KEYS;
        tlf_linear_add_smlad2x4(&part);
    }
    return acc;
}

/* The factor of a row. */
static int32_t factor(const tlf_attend_args *a, int32_t row) {
    return (a->scale[0] + a->sum[row] / 2) / a->sum[row];
}

/* v of an accumulator. */
static int32_t scaled(const tlf_attend_args *a, int32_t acc, int32_t by) {
    return ((acc + ((1 << a->preshift) >> 1)) >> a->preshift) * by;
}

/* A row of int8 results. */
static void narrow(const tlf_attend_args *a, const int32_t *acc, int32_t row) {
    const int32_t by = factor(a, row);
    int8_t *y = (int8_t *)a->y + row * a->y_stride;
    for (int32_t c = 0; c < a->n; c++) {
        y[c] = tlf_sat8((scaled(a, acc[c], by) + a->round) >> a->shift);
    }
}

/* The same at its place in a panel. */
static void narrow_panel(const tlf_attend_args *a, const int32_t *acc, int32_t row) {
    const int32_t by = factor(a, row);
    int16_t *y = (int16_t *)(void *)((uint8_t *)a->y + row / 2 * a->y_stride) + row % 2 * 2;
    for (int32_t c = 0; c < a->n; c++) {
        y[c / 2 * 4 + c % 2] = tlf_sat8((scaled(a, acc[c], by) + a->round) >> a->shift);
    }
}

/* A row of int32 sums. */
static void add(const tlf_attend_args *a, const int32_t *acc, int32_t row) {
    const int32_t by = factor(a, row);
    int32_t *y = (int32_t *)(void *)((uint8_t *)a->y + row * a->y_stride);
    for (int32_t c = 0; c < a->n; c++) {
        y[c] += scaled(a, acc[c], by);
    }
}

static void attend(const tlf_attend_args *a, void (*put)(const tlf_attend_args *, const int32_t *, int32_t)) {
    for (int32_t row = 0; row < a->m; row += 2) {
        const int32_t rows = a->m - row < 2 ? 1 : 2;
        const int32_t *acc = sums(a, row, rows);
        for (int32_t r = 0; r < rows; r++) {
            put(a, acc + r * a->n, row + r);
        }
    }
}

void tlf_attend_rows_deep(const tlf_attend_args *args) { attend(args, narrow); }
void tlf_attend_panels_deep(const tlf_attend_args *args) { attend(args, narrow_panel); }
void tlf_attend_add_deep(const tlf_attend_args *args) { attend(args, add); }
