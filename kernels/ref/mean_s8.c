/* mean: the average of each column, requantised. Contract: tileformer.h. */
#include "tileformer.h"
#include "tlf_math.h"

void tlf_mean_ref(const tlf_mean_args *args) {
    for (int32_t c = 0; c < args->n; c++) {
        int32_t sum = 0;
        for (int32_t r = 0; r < args->m; r++) {
            sum += args->x[r * args->x_stride + c];
        }
        args->y[c] = tlf_sat8((sum * args->mult + args->round) >> args->shift);
    }
}
