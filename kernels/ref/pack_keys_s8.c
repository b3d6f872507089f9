/* pack_keys: rows to columns, -128 clamped to -127. Contract: tileformer.h. */
#include "tileformer.h"
#include "tlf_math.h"

void tlf_pack_keys_ref(const tlf_pack_args *args) {
    for (int32_t r = 0; r < args->m; r++) {
        for (int32_t d = 0; d < args->k; d++) {
            args->y[r * args->y_stride + d] = tlf_right(args->x[r * args->x_stride + d]);
        }
    }
}
