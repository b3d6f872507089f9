/* Arithmetic shared by the portable kernels. int32 only; `>>` of a negative value is arithmetic on every compiler used
 * (checked by a test), as C99 leaves it to the implementation. */
#ifndef TLF_MATH_H
#define TLF_MATH_H

#include <stdint.h>

static inline int8_t tlf_sat8(int32_t v) { return (int8_t)(v > 127 ? 127 : v < -128 ? -128 : v); }

static inline int8_t tlf_requant(int32_t acc, int32_t mult, int32_t round, int32_t preshift, int32_t shift) {
    return tlf_sat8(((acc >> preshift) * mult + round) >> shift);
}

/* Element (column, depth) of a `pairs` operand. */
static inline int32_t tlf_pairs_index(int32_t column, int32_t depth, int32_t stride) {
    return (column / 2) * stride + (depth / 2) * 4 + (depth % 2) * 2 + column % 2;
}

/* floor(sqrt(v)) of v in [2^28, 2^30): the result lies in [2^14, 2^15). One bit a step. */
static inline uint32_t tlf_isqrt30(uint32_t v) {
    uint32_t root = 1u << 14;
    for (uint32_t bit = 1u << 13; bit != 0; bit >>= 1) {
        const uint32_t trial = root + bit;
        if (trial * trial <= v) {
            root = trial;
        }
    }
    return root;
}

#endif
