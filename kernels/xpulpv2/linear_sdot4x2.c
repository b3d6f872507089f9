/* linear on XpulpV2, in tiles of 4 rows by 2 columns. Contract: tileformer.h. Reads rows and columns; channel records. */
#include "sdot4x2.h"
#include "tileformer.h"

typedef enum { ROWS, KEYS, VALUES } operand;

static inline __attribute__((always_inline)) void linear(const tlf_linear_args *a, operand place) {
    for (int32_t c = 0; c < a->n; c += 2) {
        for (int32_t r = 0; r < a->m; r += 4) {
            const tlf_tile tile = tlf_tile_at(r, c, a->m, a->n);
            int32_t acc[8];
            tlf_products_s8(acc, &tile, a->x, a->x_stride, a->w, a->w_stride, a->k);
            for (int32_t i = 0; i < 2 * tile.rows; i++) {
                const int32_t row = r + i / 2, column = tile.column[i % 2];
                const int32_t *channel = a->channel + 2 * column;
                const int32_t sum = ((acc[i] + channel[0]) >> a->preshift) * channel[1] + a->round;
                const int8_t v = tlf_clip8(sum >> a->shift);
                int8_t *y = (int8_t *)a->y + (place == VALUES ? column : row) * a->y_stride;
                y[place == VALUES ? row : column] = place == ROWS ? v : (int8_t)tlf_max(v, -127);
            }
        }
    }
}

void tlf_linear_rows_sdot4x2(const tlf_linear_args *args) { linear(args, ROWS); }

void tlf_linear_keys_sdot4x2(const tlf_linear_args *args) { linear(args, KEYS); }

void tlf_linear_values_sdot4x2(const tlf_linear_args *args) { linear(args, VALUES); }

void tlf_linear_add_sdot4x2(const tlf_linear_args *args) {
    for (int32_t c = 0; c < args->n; c += 2) {
        for (int32_t r = 0; r < args->m; r += 4) {
            const tlf_tile tile = tlf_tile_at(r, c, args->m, args->n);
            int32_t acc[8];
            tlf_products_s8(acc, &tile, args->x, args->x_stride, args->w, args->w_stride, args->k);
            for (int32_t i = 0; i < tile.rows; i++) {
                int32_t *y = (int32_t *)(void *)((uint8_t *)args->y + (r + i) * args->y_stride) + c;
                y[0] += acc[2 * i];
                if (tile.columns == 2) {
                    y[1] += acc[2 * i + 1];
                }
            }
        }
    }
}
