// tlf_attend_{rows,panels}_shallow (contract: tileformer.h): heads of 1 or 2 features. Two rows at a time, then the last row
// of an odd m; the product is the 2 x 2 micro-tile of gemm_smlad2x4.inc, and nothing is kept for wider heads.

// ---- frame, in bytes from sp: first the argument record, copied -----------------------------------------------------------
#define F_X       0     /* the next rows */
#define F_W       4
#define F_SUM     8     /* of the next row */
#define F_SCALE  12
#define F_Y      16     /* output of the next rows */
#define F_SCR    20
#define F_M      24     /* rows left */
#define F_N      28
#define F_K      32
#define F_XS     36
#define F_YS     44
#define F_ROUND  48
#define F_PRE    52
#define F_SHIFT  56
#define F_PANEL  60     /* e is panels */
#define F_NP8    64     /* 8 * depth pairs */
#define F_LIMIT  HOT(d0[0], 68) /* end of the panel of these rows */
#define F_E22    72     /* where a tile enters the chain */
#define F_E12    76
#define F_HALF   80     /* (1 << preshift) >> 1, and 257 times that: even and odd accumulators start there */
#define F_SIZE   92     /* with nine saved registers a multiple of 8 */

#define ROWS 0
#define PANELS 4

#include "gemm_smlad2x4.inc"
#include "unpack_smlad2x4.inc"

        .set    ENTRY22, F_E22              // for names that macros build
        .set    TLF_NP8, F_NP8

        UNPACK  attend_unpack_shallow, u, ldrb

// r0 = args: fill the frame. Leaves r2 = depth pairs.
        TLF_LOCAL attend_begin_shallow
        ldmia   r0!, {r1-r8}
        stmia   sp, {r1-r8}
        ldr     r4, [r4]
        str     r4, [sp, #F_SCALE]
        ldmia   r0, {r1-r7, r9}             // k, e_stride, values_stride, y_stride, round, preshift, shift, e_panels
        add     r0, sp, #F_K
        stmia   r0, {r1-r7, r9}
        adds    r1, r1, #1
        lsr     r2, r1, #1
        lsl     r1, r2, #3
        str     r1, [sp, #F_NP8]
        movs    r3, #1
        lsl     r3, r3, r6
        lsr     r3, r3, #1
        add     r4, r3, r3, lsl #8
        str     r3, [sp, #F_HALF]
        str     r4, [sp, #F_HALF + 4]
        bx      lr
        TLF_END attend_begin_shallow

// e of the next rows to the panel in scratch: r0.
.macro ATTEND_UNPACK rows
        ldr     r1, [sp, #F_X]
        ldr     r4, [sp, #F_XS]
        ldr     r0, [sp, #F_SCR]
        ldr     r3, [sp, #F_K]
        add     r2, r1, r4
        add     r4, r4, r2
        str     r4, [sp, #F_X]
    .if \rows == 2
        bl      attend_unpack_shallow
    .else
        bl      attend_unpack_shallow_1
    .endif
        ldr     r0, [sp, #F_SCR]
.endm

// (scale + sum / 2) / sum in place of the sum; r12 = scale.
.macro FACTOR sum, t
        add     \t, r12, \sum, lsr #1
        udiv    \sum, \t, \sum
.endm

// ((acc >> preshift) * factor + round) >> shift of the two columns of a row; r3 preshift, r6 that of odd columns, r7 round.
.macro REQUANT even, odd, factor
        asr     \even, \even, r3
        asr     \odd, \odd, r6
        mla     \even, \even, \factor, r7
        mla     \odd, \odd, \factor, r7
        asr     \even, \even, r11
        asr     \odd, \odd, r11
        ssat    \even, #8, \even
        ssat    \odd, #8, \odd
.endm

// A row of rows to r0; the flags tell whether it has two columns.
.macro PUT_ROW even, odd
        strb    \even, [r0]
        it      eq
        strbeq  \odd, [r0, #1]
.endm

.macro ATTEND_GROUP fn, kind, rows
.L\fn\()_group\rows:
        ldr     r2, [sp, #F_PANEL]
        ldr     r0, [sp, #F_X]
        ldr     r1, [sp, #F_XS]
        cmp     r2, #0
        beq.w   .L\fn\()_rows\rows
        add     r1, r1, r0
        str     r1, [sp, #F_X]
.L\fn\()_product\rows:
        ldr     r3, [sp, #F_NP8]
        ldr     r1, [sp, #F_W]
        ldr.w   r8, [sp, #F_HALF]
        ldr.w   r9, [sp, #F_HALF + 4]
        add     r3, r3, r0
        PUT     r3, F_LIMIT
    .if \rows == 2
        TLF_DEPTH_NARROW \fn, 3, r0
    .else
        TLF_DEPTH \fn, 1, 2, 3, F_E12, r0
    .endif
        TLF_SPLIT \rows, 2
        ldr     r0, [sp, #F_SUM]
        ldr     r12, [sp, #F_SCALE]
        ldr     r3, [sp, #F_PRE]
        ldr     r7, [sp, #F_ROUND]
        ldr.w   r11, [sp, #F_SHIFT]
        ldr     r1, [r0], #4
    .if \rows == 2
        ldr     r2, [r0], #4
    .endif
        str     r0, [sp, #F_SUM]
        add     r6, r3, #8
        FACTOR  r1, r10
    .if \rows == 2
        FACTOR  r2, r10
    .endif
        ldr     r0, [sp, #F_Y]
        ldr     r10, [sp, #F_YS]
        REQUANT r4, r5, r1
    .if \rows == 2
        REQUANT r8, r9, r2
    .endif
    .if \kind == PANELS
        pkhbt   r4, r4, r5, lsl #16
      .if \rows == 2
        pkhbt   r8, r8, r9, lsl #16
        str     r8, [r0, #4]
      .endif
        str     r4, [r0]
    .else
        ldr     r1, [sp, #F_N]
        tst     r1, #1
        PUT_ROW r4, r5
      .if \rows == 2
        add     r0, r0, r10
        PUT_ROW r8, r9
      .endif
    .endif
    .if \rows == 2
        ldr     r1, [sp, #F_M]
        add     r0, r0, r10
        str     r0, [sp, #F_Y]
        subs    r1, r1, #2
        str     r1, [sp, #F_M]
        cmp     r1, #2
        bge.w   .L\fn\()_group2
        cmp     r1, #0
        beq.w   .L\fn\()_leave
    .endif
.endm

.macro ATTEND name, fn, kind
        TLF_FUNCTION \name
        TLF_ENTER
        bl      attend_begin_shallow
        TLF_NARROW_ENTRY \fn
        TLF_DEPTH_ENTRY \fn, 1, 2, F_E12
        ldr     r0, [sp, #F_M]
        cmp     r0, #2
        blt.w   .L\fn\()_group1
        ATTEND_GROUP \fn, \kind, 2
        ATTEND_GROUP \fn, \kind, 1
.L\fn\()_leave:
        TLF_LEAVE
.L\fn\()_rows2:
        ATTEND_UNPACK 2
        b.w     .L\fn\()_product2
.L\fn\()_rows1:
        ATTEND_UNPACK 1
        b.w     .L\fn\()_product1
        TLF_END \name
.endm

        ATTEND  tlf_attend_rows_shallow, attend_rows, ROWS
        ATTEND  tlf_attend_panels_shallow, attend_panels, PANELS
