/* The clamp to int8 on RV32IMC, which has no minimum and maximum. */
#ifndef TLF_CLAMP_H
#define TLF_CLAMP_H

#include <stdint.h>

/* v clamped to [low, 127]: two branches that are rarely taken. */
static inline int8_t tlf_clamp(int32_t v, int32_t low) {
    if (__builtin_expect(v > 127, 0)) {
        v = 127;
    }
    if (__builtin_expect(v < low, 0)) {
        v = low;
    }
    return (int8_t)v;
}

#endif
