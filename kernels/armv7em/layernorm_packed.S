// tlf_layernorm_packed (contract: tileformer.h): 12 cycles an element and 120 a row.
//
// First pass: SMLAD sums of x and x^2 from packed words. Root: two Newton steps from a line that is within 3.4 % of the
// root; from above they never fall below it, so one correction downwards makes it exact. Second pass, with
// A = ((n * x - S) << t) + half and the low `guard` bits cleared, h = round(A * (recip << 15) / 2^32): one SMMULR.
// When t >= guard those bits are zero without half, and A needs no masking.

#include "function.inc"

#define LN_ARGS 0
#define LN_X    4
#define LN_Y    8
#define LN_ROWS 12

// The words r4.. of a row: sum into r2, squares into r3. Clobbers r8. r12 = 1 in both halves.
.macro SUMS w
        sxtb16  r8, \w
        sxtb16  \w, \w, ror #8
        smlad   r2, r8, r12, r2
        smlad   r3, r8, r8, r3
        smlad   r2, \w, r12, r2
        smlad   r3, \w, \w, r3
.endm

// r0 x, r1 channel, r2 y, r3 n << t, r4 -(S << t) + half, r5 recip << 15, r6 mask, r7 columns left << 8 | shift.
.macro NORMALISE2 masked
        ldrsb   r8, [r0], #1
        ldrsb   r9, [r0], #1
        ldr     r10, [r1], #4
        ldr     r11, [r1], #4
        ldr     r12, [r1], #4
        ldr     lr, [r1], #4
        mla     r8, r8, r3, r4
        mla     r9, r9, r3, r4
    .if \masked
        bic     r8, r8, r6
        bic     r9, r9, r6
    .endif
        smmulr  r8, r8, r5
        smmulr  r9, r9, r5
        mla     r8, r8, r10, r11
        mla     r9, r9, r12, lr
        asr     r8, r8, r7
        asr     r9, r9, r7
        ssat    r8, #8, r8
        ssat    r9, #8, r9
        strb    r8, [r2], #1
        strb    r9, [r2], #1
.endm

.macro NORMALISE_ROW masked
        subs    r7, r7, #0x800
        blo     2f
1:
        .rept   4
        NORMALISE2 \masked
        .endr
        subs    r7, r7, #0x800
        bhs     1b
2:      add     r7, r7, #0x800
.endm

        TLF_FUNCTION tlf_layernorm_packed
        push    {r4-r11, lr}
        sub     sp, sp, #20
        ldmia   r0, {r1-r4}                 // x, channel, y, m
        str     r0, [sp, #LN_ARGS]
        str     r1, [sp, #LN_X]
        str     r3, [sp, #LN_Y]
        str     r4, [sp, #LN_ROWS]

.Llayernorm_row:
        ldr     r11, [sp, #LN_ARGS]
        ldr     r0, [sp, #LN_X]
        ldr     r10, [r11, #16]             // n
        movs    r2, #0
        movs    r3, #0
        mov     r12, #0x00010001
        subs    r1, r10, #16
        blt     2f
1:      ldr     r4, [r0], #4
        ldr     r5, [r0], #4
        ldr     r6, [r0], #4
        ldr     r7, [r0], #4
        SUMS    r4
        SUMS    r5
        SUMS    r6
        SUMS    r7
        subs    r1, r1, #16
        bge     1b
2:      adds    r1, r1, #12
        blt     4f
3:      ldr     r4, [r0], #4
        SUMS    r4
        subs    r1, r1, #4
        bge     3b
4:      adds    r1, r1, #4
        beq     6f
5:      ldrsb   r4, [r0], #1
        add     r2, r2, r4
        mla     r3, r4, r4, r3
        subs    r1, r1, #1
        bne     5b

        // r2 = S, r3 = sum of squares, r10 = n -> r4 = t, r5 = V * 4^t
6:      ldr     r5, [r11, #28]              // epsilon
        ldr     r8, [r11, #32]              // guard
        ldr     r7, [r11, #36]              // shift
        mla     r5, r3, r10, r5
        mls     r5, r2, r2, r5
        clz     r4, r5
        sub     r4, r4, #2
        bic     r6, r4, #1
        lsr     r4, r4, #1
        lsl     r5, r5, r6

        // r6 = floor(sqrt(r5)): the line 0.7031 * 2^14 + r5 * (2^18 / 3) / 2^32, then Newton
        movw    r6, #0x5555
        movt    r6, #1
        smmul   r6, r5, r6
        add     r6, r6, #0x2d00
        udiv    r9, r5, r6
        add     r6, r6, r9
        lsr     r6, r6, #1
        udiv    r9, r5, r6
        add     r6, r6, r9
        lsr     r6, r6, #1
        mul     r9, r6, r6
        cmp     r9, r5
        it      hi
        subhi   r6, r6, #1

        mov     r9, #0x20000000
        add     r9, r9, r6, lsr #1
        udiv    r5, r9, r6
        lsl     r5, r5, #15
        orr     r7, r7, r10, lsl #8
        lsl     r3, r10, r4
        lsl     r2, r2, r4
        subs    r4, r4, r8                  // the flags hold t - guard
        mov     r6, #1
        lsl     r6, r6, r8
        lsr     r8, r6, #1
        sub     r6, r6, #1
        it      ge
        movge   r8, #0
        sub     r4, r8, r2
        ldr     r0, [sp, #LN_X]
        ldr     r2, [sp, #LN_Y]
        ldr     r1, [r11, #4]
        blt     .Llayernorm_masked
        NORMALISE_ROW 0
        mov     r6, #0
        b       .Llayernorm_rest
.Llayernorm_masked:
        NORMALISE_ROW 1
.Llayernorm_rest:
1:      subs    r7, r7, #0x100
        blo     2f
        ldrsb   r8, [r0], #1
        ldr     r10, [r1], #4
        ldr     r11, [r1], #4
        mla     r8, r8, r3, r4
        bic     r8, r8, r6
        smmulr  r8, r8, r5
        mla     r8, r8, r10, r11
        asr     r8, r8, r7
        ssat    r8, #8, r8
        strb    r8, [r2], #1
        b       1b
2:      ldr     r11, [sp, #LN_ARGS]
        ldr     r0, [sp, #LN_X]
        ldr     r1, [sp, #LN_Y]
        ldr     r2, [sp, #LN_ROWS]
        ldr     r3, [r11, #20]
        ldr     r4, [r11, #24]
        add     r0, r0, r3
        add     r1, r1, r4
        str     r0, [sp, #LN_X]
        str     r1, [sp, #LN_Y]
        subs    r2, r2, #1
        str     r2, [sp, #LN_ROWS]
        bne     .Llayernorm_row
        add     sp, sp, #20
        pop     {r4-r11, pc}
        TLF_END tlf_layernorm_packed
