/* pack_keys: rows -> pairs with column = row, whole words, odd edges zero. Contract: tileformer.h. */
#include "tileformer.h"
#include "tlf_math.h"

void tlf_pack_keys_ref(const tlf_pack_keys_args *args) {
    const int32_t rows = args->m + args->m % 2;
    const int32_t depth = args->k + args->k % 2;
    for (int32_t r = 0; r < rows; r++) {
        const int8_t *x = args->x + r * args->x_stride;
        int8_t *y = args->y + (r / 2) * args->y_stride + r % 2;
        for (int32_t d = 0; d < depth; d++) {
            y[2 * d] = r < args->m && d < args->k ? x[d] : (int8_t)0;
        }
    }
}
