/* attend on XpulpV2, in tiles of 4 rows by 2 columns; uint8 times int8. Contract: tileformer.h. Reads rows and columns. */
#include "sdot4x2.h"
#include "tileformer.h"

static inline __attribute__((always_inline)) void attend(const tlf_attend_args *a, int32_t add) {
    const int32_t half = (1 << a->preshift) >> 1;
    for (int32_t r = 0; r < a->m; r += 4) {
        int32_t factor[4];
        for (int32_t i = 0; i < 4 && r + i < a->m; i++) {
            factor[i] = (a->scale[0] + a->sum[r + i] / 2) / a->sum[r + i];
        }
        for (int32_t c = 0; c < a->n; c += 2) {
            const tlf_tile tile = tlf_tile_at(r, c, a->m, a->n);
            int32_t acc[8];
            tlf_products_u8(acc, &tile, a->e, a->e_stride, a->values, a->values_stride, a->k);
            for (int32_t i = 0; i < 2 * tile.rows; i++) {
                if (i % 2 >= tile.columns) {
                    continue;
                }
                uint8_t *y = (uint8_t *)a->y + (r + i / 2) * a->y_stride;
                const int32_t v = ((acc[i] + half) >> a->preshift) * factor[i / 2];
                if (add) {
                    ((int32_t *)(void *)y)[c + i % 2] += v;
                } else {
                    ((int8_t *)y)[c + i % 2] = tlf_clip8((v + a->round) >> a->shift);
                }
            }
        }
    }
}

void tlf_attend_rows_sdot4x2(const tlf_attend_args *args) { attend(args, 0); }

void tlf_attend_add_sdot4x2(const tlf_attend_args *args) { attend(args, 1); }
