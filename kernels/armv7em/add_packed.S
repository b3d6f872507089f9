// tlf_add_packed (contract: tileformer.h): 5.3 cycles an element when shift = 14 and both multipliers fit 16 bits, which
// is what dse/ptq.py emits; 8.3 otherwise.
//
// Short form: a word of each operand is regrouped to bytes a0 a1 b0 b1, so that one SXTB16 gives the halfwords (a0, b0)
// and one SMLAD with the halfwords (mult_a, mult_b) the whole sum; SSAT shifts and saturates.

#include "function.inc"

// Four sums from the word \a of a and \b of b, stored at y. Clobbers \a, \b, r10, r11.
.macro SUM4 a, b
        pkhbt   r10, \a, \b, lsl #16        // bytes a0 a1 b0 b1
        pkhtb   r11, \b, \a, asr #16        // bytes a2 a3 b2 b3
        sxtb16  \a, r10
        sxtb16  r10, r10, ror #8
        sxtb16  \b, r11
        sxtb16  r11, r11, ror #8
        smlad   \a, \a, r4, r6
        smlad   r10, r10, r4, r6
        smlad   \b, \b, r4, r6
        smlad   r11, r11, r4, r6
        ssat    \a, #8, \a, asr #14
        ssat    r10, #8, r10, asr #14
        ssat    \b, #8, \b, asr #14
        ssat    r11, #8, r11, asr #14
        strb    \a, [r2], #1
        strb    r10, [r2], #1
        strb    \b, [r2], #1
        strb    r11, [r2], #1
.endm

.macro SUM8
        ldr     r8, [r0], #4
        ldr     r12, [r0], #4
        ldr     r9, [r1], #4
        ldr     lr, [r1], #4
        SUM4    r8, r9
        SUM4    r12, lr
.endm

// Two sums by 32-bit multipliers.
.macro LONG2
        ldrsb   r8, [r0], #1
        ldrsb   r9, [r1], #1
        ldrsb   r10, [r0], #1
        ldrsb   r11, [r1], #1
        mla     r8, r8, r4, r6
        mla     r10, r10, r4, r6
        mla     r8, r9, r5, r8
        mla     r10, r11, r5, r10
        asr     r8, r8, r7
        asr     r10, r10, r7
        ssat    r8, #8, r8
        ssat    r10, #8, r10
        strb    r8, [r2], #1
        strb    r10, [r2], #1
.endm

        TLF_FUNCTION tlf_add_packed
        push    {r4-r11, lr}
        ldmia   r0, {r0-r7}                 // a, b, y, n, mult_a, mult_b, round, shift
        cmp     r7, #14
        bne     4f
        sxth    r8, r4
        sxth    r9, r5
        cmp     r8, r4
        it      eq
        cmpeq   r9, r5
        bne     4f
        pkhbt   r4, r4, r5, lsl #16
        subs    r3, r3, #16
        blt     2f
1:      SUM8
        SUM8
        subs    r3, r3, #16
        bge     1b
2:      adds    r3, r3, #12
        blt     6f
3:      ldr     r8, [r0], #4
        ldr     r9, [r1], #4
        SUM4    r8, r9
        subs    r3, r3, #4
        bge     3b
6:      sxth    r4, r4
        b       7f

4:      subs    r3, r3, #4
        blt     7f
5:      LONG2
        LONG2
        subs    r3, r3, #4
        bge     5b

7:      adds    r3, r3, #4
        beq     9f
8:      ldrsb   r8, [r0], #1
        ldrsb   r9, [r1], #1
        mla     r8, r8, r4, r6
        mla     r8, r9, r5, r8
        asr     r8, r8, r7
        ssat    r8, #8, r8
        strb    r8, [r2], #1
        subs    r3, r3, #1
        bne     8b
9:      pop     {r4-r11, pc}
        TLF_END tlf_add_packed
