// tlf_linear_{rows,panels,keys,values,add,residual}_smlad2x4 (contract: tileformer.h).
//
// Four columns at a time go over all rows: their weights stay near (the flash cache of the device holds them) and their
// channel parameters stay in the frame. Two rows a tile, then the last row of an odd m.

// ---- frame, in bytes from sp: first the argument record, copied -----------------------------------------------------------
#define F_X       0
#define F_W       4     /* quads of these four columns */
#define F_CHAN    8
#define F_Y0     12     /* output of the first row in these four columns */
#define F_M      20
#define F_N      24     /* columns left */
#define F_K      28
#define F_XS     32
#define F_WS     36
#define F_YS     40
#define F_ROUND  44
#define F_PRE    48
#define F_SHIFT  52
#define F_HIGH   56
#define F_XP     60
#define F_R0     64     /* residual: rows r of these four columns */
#define F_RS     68
#define F_MY     72
#define F_MR     76
#define F_AROUND 80
#define F_ASHIFT 84
#define F_NP8    88     /* 8 * depth pairs */
#define F_LIMIT  92     /* end of the depth in W */
#define F_ENTRY2 96     /* where a tile of 2 rows enters the chain */
#define F_ENTRY1 100
#define F_AD     104    /* from the end of a group of rows to the next group */
#define F_AEND   108    /* end of the last group of this pass */
#define F_AEND0  112    /* end of the last full group */
#define F_Y      116    /* output of this tile */
#define F_OFF    120    /* output offset of the high-word requantisation */
#define F_BIAS   124
#define F_MULT   140    /* F_MULT[0] = 0: general requantisation, its multipliers are in F_GM */
#define F_GM     156
#define F_STEP   172    /* keys: to the next column pair */
#define F_HOME   176    /* outputs of a ragged tile go to F_TMP first and come home from there */
#define F_HSTEP  180    /* stride at home */
#define F_RAGGED 184    /* 0 or columns of the last group */
#define F_TMP    188
#define F_R      220
#define F_RHOME  224
#define F_RTMP   228
#define F_LR     236
#define F_FIRST  240    /* residual: stride of r at home */
#define F_SIZE   244    /* with nine saved registers a multiple of 8 */

#define ROWS 0
#define KEYS 1
#define VALUES 2
#define ADD 3
#define PANELS 4
#define RESIDUAL 5

#include "gemm_smlad2x4.inc"
#include "unpack_smlad2x4.inc"

        UNPACK  linear_unpack_smlad2x4, s, ldrsb

// r0 = args, r10 = added to the offset: fill the frame, unpack the rows of x into scratch. Leaves r2 = depth pairs.
        TLF_LOCAL linear_begin_smlad2x4
        str     lr, [sp, #F_LR]
        ldmia   r0!, {r1-r8}                // x, w, channel, y, scratch, m, n, k
        stmia   sp, {r1-r8}
        ldmia   r0, {r1-r4, r6-r9}          // x_stride, w_stride, y_stride, round, preshift, shift, high, x_panels
        add     r12, sp, #F_XS
        stmia   r12, {r1-r4, r6-r9}
        asr     r4, r4, r7
        add     r4, r4, r10
        str     r4, [sp, #F_OFF]
        ldr     r4, [sp, #F_K]
        adds    r4, r4, #1
        bic     r4, r4, #1
        lsls    r4, r4, #2
        str     r4, [sp, #F_NP8]
        cmp     r9, #0
        bne     3f
        ldr     r5, [sp, #F_M]              // x is rows: unpack them all
        ldr     r0, [sp, #16]
        ldr     r11, [sp, #F_X]
        str     r0, [sp, #F_X]
        mov     r10, r1
        str     r4, [sp, #F_XS]
        subs    r5, r5, #2
        blt     2f
1:      mov     r1, r11
        add     r2, r11, r10
        ldr     r3, [sp, #F_K]
        mov     r4, r0
        bl      linear_unpack_smlad2x4
        ldr     r12, [sp, #F_NP8]
        add     r0, r4, r12
        add     r11, r11, r10, lsl #1
        subs    r5, r5, #2
        bge     1b
2:      adds    r5, r5, #2
        beq     3f
        mov     r1, r11
        ldr     r3, [sp, #F_K]
        bl      linear_unpack_smlad2x4_1
3:      ldr     r2, [sp, #F_NP8]
        ldr     r1, [sp, #F_XS]
        ldr     r0, [sp, #F_X]
        ldr     r3, [sp, #F_M]
        sub     r12, r1, r2
        str     r12, [sp, #F_AD]
        lsr     r3, r3, #1
        add     r0, r0, r12
        mla     r0, r3, r1, r0
        sub     r0, r0, r1
        add     r0, r0, r2
        sub     r0, r0, r12
        str     r0, [sp, #F_AEND0]
        lsr     r2, r2, #3
        ldr     pc, [sp, #F_LR]
        TLF_END linear_begin_smlad2x4

// The state of the next four columns. r0 = the first group of rows, the flags tell whether m < 2. Clobbers r1..r9.
        TLF_LOCAL linear_quad_smlad2x4
        ldr     r0, [sp, #F_CHAN]
        ldmia   r0!, {r1-r8}
        str     r0, [sp, #F_CHAN]
        add     r0, sp, #F_BIAS
        stmia   r0!, {r1-r4}
        ldr     r1, [sp, #F_HIGH]
        cbz     r1, 1f
        cmp     r5, #0                      // zero selects the general form; 1 rounds to the same zero
        it      eq
        moveq   r5, #1
        stmia   r0, {r5-r8}
        b       linear_place_smlad2x4
1:      str     r1, [r0]
        add     r0, sp, #F_GM
        stmia   r0, {r5-r8}
linear_place_smlad2x4:
        ldr     r0, [sp, #F_W]
        ldr     r1, [sp, #F_NP8]
        ldr     r2, [sp, #F_Y0]
        ldr     r3, [sp, #F_AEND0]
        ldr     r4, [sp, #F_N]
        ldr     r5, [sp, #F_M]
        add     r0, r0, r1
        str     r0, [sp, #F_LIMIT]
        str     r2, [sp, #F_Y]
        str     r3, [sp, #F_AEND]
        movs    r0, #4
        str     r0, [sp, #F_STEP]
        movs    r0, #0
        cmp     r4, #4
        bge     2f
        str     r2, [sp, #F_HOME]
        ldr     r0, [sp, #F_X]
        add     r0, r0, r1
        str     r0, [sp, #F_AEND]
        mov     r0, r4
        add     r2, sp, #F_TMP
        str     r2, [sp, #F_Y]
2:      str     r0, [sp, #F_RAGGED]
        ldr     r0, [sp, #F_X]
        cmp     r5, #2
        bx      lr
        TLF_END linear_quad_smlad2x4

// Accumulators to outputs, unsaturated: one instruction each. r2 = 0 leaves for the general form.
.macro LINEAR_REQUANT fn, kind, rows
        ldr     r2, [sp, #F_MULT]
        ldr     r3, [sp, #F_MULT + 4]
        ldr     r12, [sp, #F_MULT + 8]
        ldr     lr, [sp, #F_MULT + 12]
        ldr     r1, [sp, #F_OFF]
        TLF_SPLIT \rows, 4
    .if \kind == ROWS || \kind == PANELS
        cbz     r2, .L\fn\()_leap\rows
    .else                                   // too far for that
        cmp     r2, #0
        beq.w   .L\fn\()_general\rows
    .endif
        TLF_EACH \rows, smmlar, r2, r3, r12, lr, , r1
.L\fn\()_requantised\rows:
.endm

// The contract's form, saturated, plus the offset that the packing expects.
.macro LINEAR_GENERAL fn, kind, rows, offset
.L\fn\()_general\rows:
        ldr     r2, [sp, #F_PRE]
        ldr     r1, [sp, #F_ROUND]
        add     r3, r2, #8
        TLF_EACH \rows, asr, r2, r3, r2, r3
        ldr     r2, [sp, #F_SHIFT]
    .irp    column, 0,1,2,3
        ldr     r3, [sp, #F_GM + 4 * \column]
      .if \column == 0
        LINEAR_GENERAL_COLUMN \rows, r4, r8
      .elseif \column == 1
        LINEAR_GENERAL_COLUMN \rows, r5, r9
      .elseif \column == 2
        LINEAR_GENERAL_COLUMN \rows, r6, r10
      .else
        LINEAR_GENERAL_COLUMN \rows, r7, r11
      .endif
    .endr
        TLF_SATURATE \rows, \offset
        b.w     .L\fn\()_requantised\rows
.endm

.macro LINEAR_GENERAL_COLUMN rows, first, second
        mla     \first, \first, r3, r1
        asr     \first, \first, r2
    .if \rows == 2
        mla     \second, \second, r3, r1
        asr     \second, \second, r2
    .endif
.endm

// Outputs to what is stored.
.macro LINEAR_PACK kind, rows
    .if \kind == ROWS
        TLF_PACK_ROWS \rows
    .elseif \kind == PANELS
        TLF_PACK_PANELS \rows
    .elseif \kind == KEYS
        pkhbt   r4, r4, r5, lsl #16
        pkhbt   r6, r6, r7, lsl #16
      .if \rows == 2
        pkhbt   r8, r8, r9, lsl #16
        pkhbt   r10, r10, r11, lsl #16
      .else
        mov     r8, #0x00800080
        mov     r10, #0x00800080
      .endif
        mov     r2, #0x01010101
        mov     r3, #0x7f7f7f7f
        TLF_PACK_QUAD r4, r8
        TLF_PACK_QUAD r6, r10
    .elseif \kind == VALUES
      .if \rows == 1
        mov     r8, #128
        pkhbt   r4, r4, r8, lsl #16
        pkhbt   r5, r5, r8, lsl #16
        pkhbt   r6, r6, r8, lsl #16
        pkhbt   r7, r7, r8, lsl #16
      .else
        pkhbt   r4, r4, r8, lsl #16
        pkhbt   r5, r5, r9, lsl #16
        pkhbt   r6, r6, r10, lsl #16
        pkhbt   r7, r7, r11, lsl #16
      .endif
        mov     r2, #0x01010101
        mov     r3, #0x7f7f7f7f
        TLF_PACK_QUAD r4, r5
        TLF_PACK_QUAD r6, r7
    .elseif \kind == RESIDUAL
        TLF_SATURATE \rows, 0
        ldr     r2, [sp, #F_R]
        ldr     r3, [sp, #F_RS]
        ldr     r1, [r2]
      .if \rows == 2
        ldr     lr, [r2, r3]
        add     r2, r2, r3, lsl #1
        str     lr, [sp, #F_RTMP + 4]
      .endif
        str     r2, [sp, #F_R]
        RESIDUAL_ROW r4, r5, r6, r7
      .if \rows == 2
        ldr     r1, [sp, #F_RTMP + 4]
        RESIDUAL_ROW r8, r9, r10, r11
      .endif
    .endif
.endm

// One row of outputs and the bytes of r in r1 to a word in \y0.
.macro RESIDUAL_ROW y0, y1, y2, y3
        ldr     r2, [sp, #F_MY]
        ldr     r3, [sp, #F_MR]
        ldr     r12, [sp, #F_AROUND]
        sxtb    lr, r1
        mla     lr, lr, r3, r12
        mla     \y0, \y0, r2, lr
        sxtb    lr, r1, ror #8
        mla     lr, lr, r3, r12
        mla     \y1, \y1, r2, lr
        sxtb    lr, r1, ror #16
        mla     lr, lr, r3, r12
        mla     \y2, \y2, r2, lr
        asr     lr, r1, #24
        mla     lr, lr, r3, r12
        mla     \y3, \y3, r2, lr
        ldr     lr, [sp, #F_ASHIFT]
    .irp    y, \y0, \y1, \y2, \y3
        asr     \y, \y, lr
        ssat    \y, #8, \y
    .endr
        pkhbt   \y0, \y0, \y2, lsl #16
        pkhbt   \y1, \y1, \y3, lsl #16
        uxtb16  \y0, \y0
        uxtb16  \y1, \y1
        orr     \y0, \y0, \y1, lsl #8
.endm

// Stores a tile, moves F_Y on. At 2 rows also r0 to the next group of rows; the flags tell whether it was the last one.
.macro LINEAR_STORE kind, rows
        ldr     r1, [sp, #F_Y]
    .if \kind != VALUES
        ldr     r2, [sp, #F_YS]
    .endif
    .if \kind == KEYS
        ldr     lr, [sp, #F_STEP]
    .endif
    .if \rows == 2
        ldr     r3, [sp, #F_AEND]
        ldr     r12, [sp, #F_AD]
    .endif
    .if \kind == ROWS || \kind == RESIDUAL
        str     r4, [r1]
      .if \rows == 2
        str     r8, [r1, r2]
      .endif
        add     r1, r1, r2, lsl #1
    .elseif \kind == PANELS
        str     r4, [r1]
        str     r6, [r1, #8]
      .if \rows == 2
        str     r8, [r1, #4]
        str     r10, [r1, #12]
      .endif
        add     r1, r1, r2
    .elseif \kind == KEYS
        str     r4, [r1]
        str     r6, [r1, #8]
        sub     r2, r2, lr
        add     r1, r1, lr
        str     r2, [sp, #F_STEP]
    .elseif \kind == VALUES
        str     r6, [r1, #4]
        str     r4, [r1], #8
    .endif
    .if \rows == 2
        cmp     r0, r3
        add     r0, r0, r12
    .endif
        str     r1, [sp, #F_Y]
.endm

// y += the accumulators.
.macro ADD_STORE rows
        ldr     r1, [sp, #F_Y]
        TLF_SPLIT \rows, 4
        ldr     r2, [r1]
        ldr     r3, [r1, #4]
        ldr     r12, [r1, #8]
        ldr     lr, [r1, #12]
        add     r4, r4, r2
        add     r5, r3, r5, asr #8
        add     r6, r6, r12
        add     r7, lr, r7, asr #8
        ldr     r2, [sp, #F_YS]
    .if \rows == 2
        ldr     r3, [sp, #F_AEND]
    .endif
        stmia   r1, {r4-r7}
        add     r1, r1, r2
    .if \rows == 2
        ldr     r12, [sp, #F_AD]
        ldr     r4, [r1]
        ldr     r5, [r1, #4]
        ldr     r6, [r1, #8]
        ldr     r7, [r1, #12]
        add     r8, r8, r4
        add     r9, r5, r9, asr #8
        add     r10, r10, r6
        add     r11, r7, r11, asr #8
        stmia   r1, {r8-r11}
        add     r1, r1, r2
        cmp     r0, r3
        add     r0, r0, r12
    .endif
        str     r1, [sp, #F_Y]
.endm

// Before a ragged tile: where it writes, and what it reads there. r0 is kept.
.macro RAGGED_BEGIN fn, kind, rows
        add     r1, sp, #F_TMP
        str     r1, [sp, #F_Y]
    .if \kind == ADD
        movs    r2, #0
      .set i, 0
      .rept 8
        str     r2, [r1, #i]
        .set i, i + 4
      .endr
    .elseif \kind == RESIDUAL
        add     r2, sp, #F_RTMP
        str     r2, [sp, #F_R]
        ldr     r1, [sp, #F_RHOME]
        mov     r4, #\rows
.L\fn\()_fetch\rows:
        ldr     r3, [sp, #F_RAGGED]
        mov     r5, r1
1:      ldrb    r6, [r5], #1
        strb    r6, [r2], #1
        subs    r3, r3, #1
        bne     1b
        add     r2, sp, #F_RTMP + 4
        ldr     r3, [sp, #F_FIRST]
        add     r1, r1, r3
        subs    r4, r4, #1
        bne     .L\fn\()_fetch\rows
        str     r1, [sp, #F_RHOME]
    .endif
.endm

// After it: the columns there are come home. r0 is kept.
.macro RAGGED_END fn, kind, rows
        ldr     r1, [sp, #F_HOME]
        ldr     r2, [sp, #F_HSTEP]
        ldr     r3, [sp, #F_RAGGED]
        add     r4, sp, #F_TMP
    .if \kind == PANELS
        ldr     r5, [r4]
        str     r5, [r1]
      .if \rows == 2
        ldr     r5, [r4, #4]
        str     r5, [r1, #4]
      .endif
        add     r1, r1, r2
    .elseif \kind == KEYS
        ldr     r5, [r4]
        ldr     r6, [sp, #F_YS]
        str     r5, [r1]
        add     r1, r1, r2
        sub     r2, r6, r2
        str     r2, [sp, #F_HSTEP]
    .elseif \kind == VALUES
        ldr     r5, [r4]
        ldr     r6, [r4, #4]
        cmp     r3, #2
        it      lt
        sxtb16lt r5, r5
        it      gt
        sxtb16gt r6, r6
        str     r5, [r1]
        it      gt
        strgt   r6, [r1, #4]
        adds    r1, r1, #8
    .else
      .set i, 0
      .rept \rows
        RAGGED_ROW \kind
        .set i, i + 1
      .endr
    .endif
        str     r1, [sp, #F_HOME]
.endm

// One row of bytes, or of words that are added. r1 home, r2 stride, r3 columns, r4 source.
.macro RAGGED_ROW kind
        mov     r5, r1
        mov     r6, r3
        mov     r7, r4
    .if \kind == ADD
1:      ldr     r8, [r7], #4
        ldr     r9, [r5]
        add     r8, r8, r9
        str     r8, [r5], #4
    .else
1:      ldrb    r8, [r7], #1
        strb    r8, [r5], #1
    .endif
        subs    r6, r6, #1
        bne     1b
        add     r1, r1, r2
    .if \kind == ADD
        add     r4, sp, #F_TMP + 16
    .else
        add     r4, sp, #F_TMP + 4
    .endif
.endm

.macro LINEAR_TILE fn, kind, rows, entry
        ldr     r1, [sp, #F_W]
    .if \kind == ADD
        TLF_DEPTH \fn, \rows, 4, 1, \entry, r1, F_LIMIT
    .else
        ldr.w   r8, [sp, #F_BIAS]
        ldr.w   r9, [sp, #F_BIAS + 4]
        ldr.w   r10, [sp, #F_BIAS + 8]
        ldr.w   r11, [sp, #F_BIAS + 12]
        TLF_DEPTH \fn, \rows, 4, 2, \entry, r1, F_LIMIT
    .endif
    .if \kind == ADD
        ADD_STORE \rows
    .else
        LINEAR_REQUANT \fn, \kind, \rows
        LINEAR_PACK \kind, \rows
        LINEAR_STORE \kind, \rows
    .endif
.endm

.macro LINEAR name, fn, kind, offset
        TLF_FUNCTION \name
        TLF_ENTER
    .if \kind == RESIDUAL
        add     r1, r0, #F_R0
        ldmia   r1, {r2-r7}
        add     r1, sp, #F_R0
        stmia   r1, {r2-r7}
    .endif
        mov     r10, #\offset
        bl      linear_begin_smlad2x4
        TLF_DEPTH_ENTRY \fn, 2, 4, F_ENTRY2
        TLF_DEPTH_ENTRY \fn, 1, 4, F_ENTRY1
.L\fn\()_quad:
    .if \kind == RESIDUAL
        ldr     r0, [sp, #F_R0]
        str     r0, [sp, #F_R]
    .endif
    .if \kind == ADD
        bl      linear_place_smlad2x4
    .else
        bl      linear_quad_smlad2x4
    .endif
        ldr     r1, [sp, #F_RAGGED]
        cmp     r1, #0
        bne.w   .L\fn\()_ragged
        cmp     r5, #2
        blt.w   .L\fn\()_single
.L\fn\()_tile2:
        LINEAR_TILE \fn, \kind, 2, F_ENTRY2
        bne.w   .L\fn\()_tile2
    .if \kind == ROWS || \kind == PANELS
        b       .L\fn\()_end2
.L\fn\()_leap2:
        b.w     .L\fn\()_general2
    .endif
.L\fn\()_end2:
        ldr     r1, [sp, #F_RAGGED]
        cmp     r1, #0
        bne.w   .L\fn\()_ragged_end2
.L\fn\()_single:
        ldr     r1, [sp, #F_M]
        lsls    r1, r1, #31
        beq.w   .L\fn\()_next
.L\fn\()_tile1:
        LINEAR_TILE \fn, \kind, 1, F_ENTRY1
    .if \kind == ROWS || \kind == PANELS
        b       .L\fn\()_end1
.L\fn\()_leap1:
        b.w     .L\fn\()_general1
    .endif
.L\fn\()_end1:
        ldr     r1, [sp, #F_RAGGED]
        cbz     r1, .L\fn\()_next
        RAGGED_END \fn, \kind, 1
        TLF_LEAVE
.L\fn\()_next:
        ldr     r0, [sp, #F_W]
        ldr     r1, [sp, #F_WS]
        ldr     r2, [sp, #F_Y0]
        ldr     r3, [sp, #F_N]
    .if \kind == VALUES
        ldr     r4, [sp, #F_YS]
    .elseif \kind == RESIDUAL
        ldr     r4, [sp, #F_R0]
    .endif
        add     r0, r0, r1
        str     r0, [sp, #F_W]
    .if \kind == VALUES
        add     r2, r2, r4
    .elseif \kind == ROWS || \kind == RESIDUAL
        adds    r2, r2, #4
    .else
        adds    r2, r2, #16
    .endif
        str     r2, [sp, #F_Y0]
    .if \kind == RESIDUAL
        adds    r4, r4, #4
        str     r4, [sp, #F_R0]
    .endif
        subs    r3, r3, #4
        str     r3, [sp, #F_N]
        bgt.w   .L\fn\()_quad
.L\fn\()_leave:
        TLF_LEAVE

    .if \kind != ADD
        LINEAR_GENERAL \fn, \kind, 2, \offset
        LINEAR_GENERAL \fn, \kind, 1, \offset
    .endif
.L\fn\()_ragged:
        ldr     r2, [sp, #F_YS]
    .if \kind == KEYS
        mov     r2, #4
    .endif
        str     r2, [sp, #F_HSTEP]
    .if \kind == ROWS || \kind == RESIDUAL
        mov     r2, #4
        str     r2, [sp, #F_YS]
    .elseif \kind == ADD
        mov     r2, #16
        str     r2, [sp, #F_YS]
    .endif
    .if \kind == RESIDUAL
        ldr     r1, [sp, #F_RS]
        str     r1, [sp, #F_FIRST]
        str     r2, [sp, #F_RS]
        ldr     r1, [sp, #F_R0]
        str     r1, [sp, #F_RHOME]
    .endif
        cmp     r5, #2
        blt     .L\fn\()_ragged1
.L\fn\()_ragged2:
        RAGGED_BEGIN \fn, \kind, 2
        b.w     .L\fn\()_tile2
.L\fn\()_ragged_end2:
        RAGGED_END \fn, \kind, 2
        ldr     r1, [sp, #F_AEND]
        ldr     r2, [sp, #F_AEND0]
        ldr     r3, [sp, #F_XS]
        cmp     r1, r2
        add     r1, r1, r3
        str     r1, [sp, #F_AEND]
        bne     .L\fn\()_ragged2
        ldr     r1, [sp, #F_M]
        lsls    r1, r1, #31
        beq     .L\fn\()_leave
.L\fn\()_ragged1:
        RAGGED_BEGIN \fn, \kind, 1
        b.w     .L\fn\()_tile1
        TLF_END \name
.endm

        LINEAR  tlf_linear_rows_smlad2x4, linear_rows, ROWS, 128
        LINEAR  tlf_linear_panels_smlad2x4, linear_panels, PANELS, 0
        LINEAR  tlf_linear_keys_smlad2x4, linear_keys, KEYS, 128
        LINEAR  tlf_linear_values_smlad2x4, linear_values, VALUES, 128
        LINEAR  tlf_linear_add_smlad2x4, linear_add, ADD, 0
        LINEAR  tlf_linear_residual_smlad2x4, linear_residual, RESIDUAL, 0
