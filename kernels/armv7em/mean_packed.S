// tlf_mean_packed (contract: tileformer.h): four columns at a time, 1.1 cycles an element. Column sums are 16-bit lanes
// for up to 252 rows, then go to 32 bits. The last group ends at column n, so it may do columns a second time.

#include "function.inc"

        .set    MEAN_BLOCK, 252             // rows: 252 * 128 < 2^15, and a multiple of 4

#define MEAN_ARGS  0
#define MEAN_FROM  4    /* first column of the group */
#define MEAN_ROWS  8    /* rows left after this block */

        TLF_FUNCTION tlf_mean_packed
        push    {r4-r11, lr}
        sub     sp, sp, #12
        str     r0, [sp, #MEAN_ARGS]
        movs    r5, #0
        ldr     r6, [r0, #12]               // n
        cmp     r6, #4
        blt     9f

1:      ldr     r4, [sp, #MEAN_ARGS]        // r5: first column of the group
        str     r5, [sp, #MEAN_FROM]
        ldr     r0, [r4]
        ldr     r1, [r4, #16]               // x_stride
        ldr     r3, [r4, #8]                // m
        add     r0, r0, r5
        add     r2, r1, r1, lsl #1
        mov     r10, #0
        mov     r11, #0
        mov     r12, #0
        mov     lr, #0
2:      subs    r7, r3, #MEAN_BLOCK
        itt     gt
        movgt   r3, #MEAN_BLOCK
        strgt   r7, [sp, #MEAN_ROWS]
        itt     le
        movle   r7, #0
        strle   r7, [sp, #MEAN_ROWS]
        mov     r8, #0
        mov     r9, #0
        subs    r3, r3, #4
        blt     4f
3:      ldr     r4, [r0]
        ldr     r5, [r0, r1]
        ldr     r6, [r0, r1, lsl #1]
        ldr     r7, [r0, r2]
        add     r0, r0, r1, lsl #2
        .irp    w, 4,5,6,7
        sxtab16 r8, r8, r\w
        sxtab16 r9, r9, r\w, ror #8
        .endr
        subs    r3, r3, #4
        bge     3b
4:      adds    r3, r3, #4
        beq     6f
5:      ldr     r4, [r0]
        add     r0, r0, r1
        sxtab16 r8, r8, r4
        sxtab16 r9, r9, r4, ror #8
        subs    r3, r3, #1
        bne     5b
6:      ldr     r3, [sp, #MEAN_ROWS]
        sxtah   r10, r10, r8
        sxtah   r11, r11, r9
        add     r12, r12, r8, asr #16
        add     lr, lr, r9, asr #16
        cmp     r3, #0
        bgt     2b

        ldr     r4, [sp, #MEAN_ARGS]
        ldr     r5, [sp, #MEAN_FROM]
        ldr     r0, [r4, #4]                // y
        ldr     r1, [r4, #20]               // mult
        ldr     r2, [r4, #24]               // round
        ldr     r3, [r4, #28]               // shift
        ldr     r6, [r4, #12]               // n
        add     r0, r0, r5
        .irp    v, 10,11,12,14
        mla     r\v, r\v, r1, r2
        .endr
        .irp    v, 10,11,12,14
        asr     r\v, r\v, r3
        .endr
        .irp    v, 10,11,12,14
        ssat    r\v, #8, r\v
        .endr
        .irp    v, 10,11,12,14
        strb    r\v, [r0], #1
        .endr
        adds    r5, r5, #4
        cmp     r5, r6
        bge     8f
        subs    r6, r6, #4
        cmp     r5, r6
        it      gt
        movgt   r5, r6
        b       1b
8:      add     sp, sp, #12
        pop     {r4-r11, pc}

9:      ldr     r4, [sp, #MEAN_ARGS]        // n < 4: a column at a time; r5 the column, r6 n
        ldr     r7, [r4]
        ldr     r8, [r4, #4]
        ldr     r1, [r4, #16]
        ldr     r9, [r4, #20]
        ldr     r10, [r4, #24]
        ldr     r11, [r4, #28]
10:     ldr     r3, [r4, #8]
        add     r0, r7, r5
        movs    r2, #0
11:     ldrsb   r12, [r0]
        add     r0, r0, r1
        add     r2, r2, r12
        subs    r3, r3, #1
        bne     11b
        mla     r2, r2, r9, r10
        asr     r2, r2, r11
        ssat    r2, #8, r2
        strb    r2, [r8], #1
        adds    r5, r5, #1
        cmp     r5, r6
        blt     10b
        b       8b
        TLF_END tlf_mean_packed
