// tlf_attend_{rows,panels,add}_smlad2x4 (contract: tileformer.h).
//
// Two rows at a time go over all columns, then the last row of an odd m. A last group of 1 or 2 columns is a tile of its
// own (it reads only the first word of each pair), one of 3 columns goes through the frame.

// ---- frame, in bytes from sp: first the argument record, copied -----------------------------------------------------------
#define F_X       0     /* the next rows */
#define F_W       4
#define F_SUM     8     /* of the next row */
#define F_SCALE  12
#define F_Y0     16     /* output of the next rows */
#define F_SCR    20
#define F_M      24     /* rows left */
#define F_N      28
#define F_K      32
#define F_XS     36
#define F_WS     40
#define F_YS     44
#define F_ROUND  48
#define F_PRE    52
#define F_SHIFT  56
#define F_PANEL  60     /* e is panels */
#define F_NP8    64     /* 8 * depth pairs */
#define F_LIMIT  68     /* end of the panel of these rows */
#define F_E24    72     /* where a tile enters the chain */
#define F_E14    76
#define F_E22    80
#define F_E12    84
#define F_A      88     /* panel of these rows */
#define F_WD     92     /* from the end of four columns to the next */
#define F_WEND   96     /* end of the last group of this pass */
#define F_WEND0 100     /* end of the last full group */
#define F_Y     104     /* output of this tile */
#define F_OFF   108     /* output offset of the high-word requantisation */
#define F_F     112     /* 2 factors */
#define F_FH    120     /* the same << F_T, the first 0: general requantisation */
#define F_HALF  128     /* (1 << preshift) >> 1, and 257 times that: even and odd accumulators start there */
#define F_T     136     /* 32 - shift, or 0 */
#define F_HOME  140     /* 0, or where the three columns in F_TMP belong */
#define F_TMP   144     /* 8 words */
#define F_LR    176
#define F_SIZE  180     /* with nine saved registers a multiple of 8 */

#define ROWS 0
#define ADD 3
#define PANELS 4

#include "gemm_smlad2x4.inc"
#include "unpack_smlad2x4.inc"

        .set    ENTRY24, F_E24              // for names that macros build
        .set    ENTRY14, F_E14
        .set    ENTRY22, F_E22
        .set    ENTRY12, F_E12

        UNPACK  attend_unpack_smlad2x4, u, ldrb

// r0 = args, r10 = added to the offset: fill the frame. Leaves r2 = depth pairs.
        TLF_LOCAL attend_begin_smlad2x4
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
        sub     r0, r3, r1
        str     r1, [sp, #F_NP8]
        str     r0, [sp, #F_WD]
        ldr     r0, [sp, #F_W]
        asr     r8, r8, #2
        sub     r8, r8, #1
        mla     r8, r8, r3, r0
        add     r8, r8, r1
        str     r8, [sp, #F_WEND0]
        movs    r3, #1
        lsl     r3, r3, r6
        lsr     r3, r3, #1
        add     r4, r3, r3, lsl #8
        str     r3, [sp, #F_HALF]
        str     r4, [sp, #F_HALF + 4]
        movs    r4, #0
        rsb     r3, r7, #32                 // SMMLAR: the packed outputs must fit 16 bits, and a whole offset
        cmp     r7, #17
        blt     1f
        lsl     r1, r5, r3
        cmp     r1, #0x80000000
        bne     1f
        mov     r4, r3
1:      str     r4, [sp, #F_T]
        asr     r5, r5, r7
        add     r5, r5, r10
        str     r5, [sp, #F_OFF]
        bx      lr
        TLF_END attend_begin_smlad2x4

// The panel, the factors and the outputs of the next r10 rows; r1 = the first columns. The flags tell whether n < 4.
        TLF_LOCAL attend_group_smlad2x4
        str     lr, [sp, #F_LR]
        ldr     r11, [sp, #F_X]
        ldr     r4, [sp, #F_XS]
        ldr     r5, [sp, #F_PANEL]
        cbz     r5, 1f
        mov     r0, r11
        add     r11, r11, r4
        b       3f
1:      mov     r1, r11
        ldr     r0, [sp, #F_SCR]
        ldr     r3, [sp, #F_K]
        add     r2, r1, r4
        add     r11, r11, r4, lsl #1
        cmp     r10, #2
        blt     2f
        bl      attend_unpack_smlad2x4
        b       4f
2:      bl      attend_unpack_smlad2x4_1
4:      ldr     r0, [sp, #F_SCR]
3:      str     r11, [sp, #F_X]
        ldr     r1, [sp, #F_NP8]
        str     r0, [sp, #F_A]
        add     r0, r0, r1
        str     r0, [sp, #F_LIMIT]
        ldr     r0, [sp, #F_SUM]
        ldr     r1, [sp, #F_SCALE]
        ldr     r2, [r0], #4
        add     r3, r1, r2, asr #1
        udiv    r3, r3, r2
        mov     r5, r3
        cmp     r10, #2
        blt     5f
        ldr     r2, [r0], #4
        add     r5, r1, r2, asr #1
        udiv    r5, r5, r2
5:      str     r0, [sp, #F_SUM]
        str     r3, [sp, #F_F]
        str     r5, [sp, #F_F + 4]
        ldr     r2, [sp, #F_T]
        ldr     r1, [sp, #F_SHIFT]
        cbz     r2, 6f
        lsls    r3, r3, r2
        lsl     r4, r5, r2
        subs    r1, r1, #1
        ldr     r0, [sp, #F_F]
        orr     r0, r0, r5
        lsrs    r0, r0, r1
        bne     6f
        cmp     r3, #0                      // zero selects the general form; 1 rounds to the same zero
        it      eq
        moveq   r3, #1
        b       7f
6:      movs    r3, #0
7:      str     r3, [sp, #F_FH]
        str     r4, [sp, #F_FH + 4]
        ldr     r0, [sp, #F_Y0]
        ldr     r1, [sp, #F_WEND0]
        ldr     r2, [sp, #F_N]
        str     r0, [sp, #F_Y]
        str     r1, [sp, #F_WEND]
        movs    r0, #0
        str     r0, [sp, #F_HOME]
        ldr     r1, [sp, #F_W]
        cmp     r2, #4
        ldr     pc, [sp, #F_LR]
        TLF_END attend_group_smlad2x4

.macro ATTEND_SHIFT rows, columns
        TLF_SPLIT \rows, \columns
        ldr     r2, [sp, #F_PRE]
        add     r3, r2, #8
        asr     r4, r4, r2
        asr     r5, r5, r3
    .if \columns == 4
        asr     r6, r6, r2
        asr     r7, r7, r3
    .endif
    .if \rows == 2
        asr     r8, r8, r2
        asr     r9, r9, r3
      .if \columns == 4
        asr     r10, r10, r2
        asr     r11, r11, r3
      .endif
    .endif
.endm

// (acc * factor + round) >> shift, saturated, plus an offset; two rows, four columns.
.macro ATTEND_GENERAL fn, rows, offset
.L\fn\()_general\rows:
        ldr     r12, [sp, #F_ROUND]
        ldr     r2, [sp, #F_F]
        ldr     r3, [sp, #F_F + 4]
        ldr     r0, [sp, #F_SHIFT]
    .irp    acc, 4,5,6,7,8,9,10,11
      .if \acc < 8
        mla     r\acc, r\acc, r2, r12
        asr     r\acc, r\acc, r0
      .elseif \rows == 2
        mla     r\acc, r\acc, r3, r12
        asr     r\acc, r\acc, r0
      .endif
    .endr
        TLF_SATURATE \rows, \offset
        b       .L\fn\()_requantised\rows
.endm

.macro ATTEND_TILE fn, kind, rows
        ldr     r0, [sp, #F_A]
        ldr.w   r8, [sp, #F_HALF]
        ldr.w   r9, [sp, #F_HALF + 4]
        TLF_DEPTH \fn, \rows, 4, 3, ENTRY\rows\()4, r0, F_LIMIT
        ATTEND_SHIFT \rows, 4
    .if \kind == ADD
        ldr     r0, [sp, #F_Y]
        ldr     r2, [sp, #F_F]
        ldr     r3, [sp, #F_YS]
        ATTEND_ADD_ROW r4, r5, r6, r7
      .if \rows == 2
        add     lr, r0, #16
        str     lr, [sp, #F_Y]
        ldr     r2, [sp, #F_F + 4]
        add     r0, r0, r3
        ATTEND_ADD_ROW r8, r9, r10, r11
      .else
        adds    r0, r0, #16
        str     r0, [sp, #F_Y]
      .endif
        ldr     r2, [sp, #F_WEND]
        ldr     r3, [sp, #F_WD]
    .else
        ldr     r2, [sp, #F_FH]
        ldr     r3, [sp, #F_FH + 4]
        ldr     r0, [sp, #F_OFF]
        cmp     r2, #0
        beq.w   .L\fn\()_general\rows
      .irp    acc, 4,5,6,7,8,9,10,11
        .if \acc < 8
        smmlar  r\acc, r\acc, r2, r0
        .elseif \rows == 2
        smmlar  r\acc, r\acc, r3, r0
        .endif
      .endr
.L\fn\()_requantised\rows:
      .if \kind == ROWS
        TLF_PACK_ROWS \rows
      .else
        TLF_PACK_PANELS \rows
      .endif
        ldr     r0, [sp, #F_Y]
        ldr     r2, [sp, #F_WEND]
        ldr     r3, [sp, #F_WD]
      .if \kind == ROWS
        .if \rows == 2
        ldr     lr, [sp, #F_YS]
        str     r8, [r0, lr]
        .endif
        str     r4, [r0], #4
      .else
        .if \rows == 2
        str     r8, [r0, #4]
        str     r10, [r0, #12]
        .endif
        str     r6, [r0, #8]
        str     r4, [r0], #16
      .endif
        str     r0, [sp, #F_Y]
    .endif
        cmp     r1, r2
        add     r1, r1, r3
        bne.w   .L\fn\()_tile\rows
.endm

// y += factor * acc: r0 the row of y, r2 the factor. Clobbers r12, lr; r0 is kept.
.macro ATTEND_ADD_ROW v0, v1, v2, v3
        ldr     r12, [r0]
        ldr     lr, [r0, #4]
        mla     \v0, \v0, r2, r12
        mla     \v1, \v1, r2, lr
        ldr     r12, [r0, #8]
        ldr     lr, [r0, #12]
        mla     \v2, \v2, r2, r12
        mla     \v3, \v3, r2, lr
        stmia   r0, {\v0, \v1, \v2, \v3}
.endm

// The last 1 or 2 columns.
.macro ATTEND_NARROW fn, kind, rows
        ldr     r0, [sp, #F_A]
        ldr.w   r8, [sp, #F_HALF]
        ldr.w   r9, [sp, #F_HALF + 4]
        TLF_DEPTH \fn, \rows, 2, 3, ENTRY\rows\()2, r0, F_LIMIT
        ATTEND_SHIFT \rows, 2
        ldr     r0, [sp, #F_Y]
        ldr     r2, [sp, #F_F]
        ldr     r3, [sp, #F_F + 4]
    .if \kind == ADD
        ldr     r7, [sp, #F_N]
        ldr     r6, [sp, #F_YS]
        NARROW_ADD_ROW r4, r5, r2
      .if \rows == 2
        add     r0, r0, r6
        NARROW_ADD_ROW r8, r9, r3
      .endif
    .else
        ldr     r12, [sp, #F_ROUND]
        ldr     r6, [sp, #F_SHIFT]
        mla     r4, r4, r2, r12
        mla     r5, r5, r2, r12
        asr     r4, r4, r6
        asr     r5, r5, r6
        ssat    r4, #8, r4
        ssat    r5, #8, r5
      .if \rows == 2
        mla     r8, r8, r3, r12
        mla     r9, r9, r3, r12
        asr     r8, r8, r6
        asr     r9, r9, r6
        ssat    r8, #8, r8
        ssat    r9, #8, r9
      .endif
      .if \kind == PANELS
        pkhbt   r4, r4, r5, lsl #16
        str     r4, [r0]
        .if \rows == 2
        pkhbt   r8, r8, r9, lsl #16
        str     r8, [r0, #4]
        .endif
      .else
        ldr     r7, [sp, #F_N]
        ldr     r6, [sp, #F_YS]
        tst     r7, #1
        strb    r4, [r0]
        it      eq
        strbeq  r5, [r0, #1]
        .if \rows == 2
        add     r0, r0, r6
        tst     r7, #1
        strb    r8, [r0]
        it      eq
        strbeq  r9, [r0, #1]
        .endif
      .endif
    .endif
.endm

.macro NARROW_ADD_ROW v0, v1, factor
        ldr     r12, [r0]
        mla     \v0, \v0, \factor, r12
        str     \v0, [r0]
        tst     r7, #1
        bne     1f
        ldr     r12, [r0, #4]
        mla     \v1, \v1, \factor, r12
        str     \v1, [r0, #4]
1:
.endm

// Three columns from F_TMP to where they belong.
.macro ATTEND_HOME kind, rows
        ldr     r1, [sp, #F_YS]
      .set i, 0
      .rept \rows
    .if \kind == ROWS
        ldr     r2, [sp, #F_TMP + 4 * i]
        strh    r2, [r0]
        lsr     r2, r2, #16
        strb    r2, [r0, #2]
    .else
        ldr     r2, [sp, #F_TMP + 16 * i]
        ldr     r3, [sp, #F_TMP + 16 * i + 4]
        ldr     r4, [sp, #F_TMP + 16 * i + 8]
        ldr     r5, [r0]
        ldr     r6, [r0, #4]
        ldr     r7, [r0, #8]
        add     r2, r2, r5
        add     r3, r3, r6
        add     r4, r4, r7
        str     r2, [r0]
        str     r3, [r0, #4]
        str     r4, [r0, #8]
    .endif
        add     r0, r0, r1
      .set i, i + 1
      .endr
.endm

// The groups of two rows, or the single one.
.macro ATTEND_GROUPS fn, kind, rows
.L\fn\()_group\rows:
        mov     r10, #\rows
        bl      attend_group_smlad2x4
        blt.w   .L\fn\()_few\rows
.L\fn\()_tile\rows:
        ATTEND_TILE \fn, \kind, \rows
        ldr     r0, [sp, #F_HOME]
        cmp     r0, #0
        bne     .L\fn\()_home\rows
.L\fn\()_few\rows:
        ldr     r2, [sp, #F_N]
        ands    r2, r2, #3
        beq.w   .L\fn\()_next\rows
        cmp     r2, #3
        beq     .L\fn\()_three\rows
        ATTEND_NARROW \fn, \kind, \rows
        b       .L\fn\()_next\rows
.L\fn\()_three\rows:
    .if \kind != PANELS
        ldr     r2, [sp, #F_Y]
        ldr     r3, [sp, #F_NP8]
        ldr     r4, [sp, #F_YS]
        str     r2, [sp, #F_HOME]
        add     r3, r3, r1
        str     r3, [sp, #F_WEND]
        add     r2, sp, #F_TMP
        str     r2, [sp, #F_Y]
        str     r4, [sp, #F_LR]
      .if \kind == ADD
        movs    r3, #0
        .irp i, 0,4,8,12,16,20,24,28
        str     r3, [sp, #F_TMP + \i]
        .endr
        movs    r3, #16
      .else
        movs    r3, #4
      .endif
        str     r3, [sp, #F_YS]
        b.w     .L\fn\()_tile\rows
    .endif
.L\fn\()_home\rows:
    .if \kind != PANELS
        ldr     r1, [sp, #F_LR]
        str     r1, [sp, #F_YS]
        ATTEND_HOME \kind, \rows
    .endif
.L\fn\()_next\rows:
    .if \rows == 2
        ldr     r0, [sp, #F_Y0]
        ldr     r1, [sp, #F_YS]
        ldr     r2, [sp, #F_M]
      .if \kind == PANELS
        add     r0, r0, r1
      .else
        add     r0, r0, r1, lsl #1
      .endif
        str     r0, [sp, #F_Y0]
        subs    r2, r2, #2
        str     r2, [sp, #F_M]
        cmp     r2, #2
        bge.w   .L\fn\()_group2
        cmp     r2, #0
        beq.w   .L\fn\()_leave
    .endif
.endm

.macro ATTEND name, fn, kind, offset
        TLF_FUNCTION \name
        TLF_ENTER
        mov     r10, #\offset
        bl      attend_begin_smlad2x4
        TLF_DEPTH_ENTRY \fn, 2, 4, F_E24
        TLF_DEPTH_ENTRY \fn, 1, 4, F_E14
        TLF_DEPTH_ENTRY \fn, 2, 2, F_E22
        TLF_DEPTH_ENTRY \fn, 1, 2, F_E12
        ldr     r0, [sp, #F_M]
        cmp     r0, #2
        blt.w   .L\fn\()_group1
        ATTEND_GROUPS \fn, \kind, 2
        ATTEND_GROUPS \fn, \kind, 1
.L\fn\()_leave:
        TLF_LEAVE
    .if \kind != ADD
        ATTEND_GENERAL \fn, 2, \offset
        ATTEND_GENERAL \fn, 1, \offset
    .endif
        TLF_END \name
.endm

        ATTEND  tlf_attend_rows_smlad2x4, attend_rows, ROWS, 128
        ATTEND  tlf_attend_panels_smlad2x4, attend_panels, PANELS, 0
        ATTEND  tlf_attend_add_smlad2x4, attend_add, ADD, 0
