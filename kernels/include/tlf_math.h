/* Arithmetic shared by the portable kernels. int32 only; `>>` of a negative value is arithmetic on every compiler used
 * (checked by a test), as C99 leaves it to the implementation. */
#ifndef TLF_MATH_H
#define TLF_MATH_H

#include <stdint.h>

static inline int8_t tlf_sat8(int32_t v) { return (int8_t)(v > 127 ? 127 : v < -128 ? -128 : v); }

static inline int8_t tlf_requant(int32_t acc, int32_t mult, int32_t round, int32_t preshift, int32_t shift) {
    return tlf_sat8(((acc >> preshift) * mult + round) >> shift);
}

/* The value as an element of a right-hand operand: -128 becomes -127. */
static inline int8_t tlf_right(int8_t v) { return (int8_t)(v == -128 ? -127 : v); }

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
