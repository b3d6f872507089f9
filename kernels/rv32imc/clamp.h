/* The clamp to int8 on RV32IMC, which has no minimum and maximum. */
#ifndef TLF_CLAMP_H
#define TLF_CLAMP_H

#include <stdint.h>

/* v clamped to [low, 127], low < 0: an addition and a branch that is rarely taken. */
static inline int8_t tlf_clamp(int32_t v, int32_t low) {
    if (__builtin_expect((uint32_t)v - (uint32_t)low > (uint32_t)(127 - low), 0)) {
        v = v < 0 ? low : 127;
    }
    return (int8_t)v;
}

#endif
