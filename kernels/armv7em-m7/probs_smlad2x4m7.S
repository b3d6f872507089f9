// tlf_probs_{rows,panels}_smlad2x4m7 (contract: tileformer.h), in the order of the Cortex-M7: a load or an extension beside every
// product.
//
// Two rows at a time, in two passes; then the last row of an odd m. The first pass leaves in scratch one word a key: the
// steps of both rows as halfwords, and their minima in the frame. A step is one SMMULR of the score with the negated
// multiplier. The second pass takes four keys at a time through the table.

// ---- frame, in bytes from sp: first the argument record, copied -----------------------------------------------------------
#define F_X       0     /* the next rows */
#define F_W       4
#define F_MULT    8
#define F_TABLE  12
#define F_E      16     /* output of the next rows */
#define F_SUM    20
#define F_SCR    24
#define F_M      28     /* rows left */
#define F_N      32
#define F_K      36
#define F_XS     40
#define F_WS     44
#define F_ES     48
#define F_SHIFT  52
#define F_PANEL  56     /* q is panels */
#define F_NP8    60     /* 8 * depth pairs */
#define F_LIMIT  64     /* end of the panel of these rows */
#define F_E24    68     /* where a tile enters the chain */
#define F_E14    72
#define F_E22    76
#define F_E12    80
#define F_A      84     /* panel of these rows */
#define F_WD     88     /* from the end of four columns to the next */
#define F_WEND   92     /* end of the last group of this pass */
#define F_WEND0  96     /* end of the last full group */
#define F_S     100     /* steps */
#define F_Y     104     /* steps of this tile */
#define F_ME    108     /* -(mult << (32 - shift)) */
#define F_MO    112     /* -(mult << (24 - shift)) */
#define F_MIN   116     /* minima, two halfwords */
#define F_MIN3  120     /* 0, or the address of the steps of the last three keys */
#define F_MIN0  124     /* the minima before those */
#define F_LR    128
#define F_SIZE  132     /* with nine saved registers a multiple of 8 */

#define TLF_PIPELINED
#define TLF_UNROLL 16

#define ROWS 0
#define PANELS 4

#include "../armv7em/gemm_smlad2x4.inc"

        .set    ENTRY24, F_E24              // for names that macros build
        .set    ENTRY14, F_E14
        .set    ENTRY22, F_E22
        .set    ENTRY12, F_E12
        .set    TLF_NP8, F_NP8

#include "probs_pipelined.inc"

// r0 = args: fill the frame. Leaves r2 = depth pairs.
        TLF_LOCAL probs_begin_smlad2x4
        ldmia   r0!, {r1-r9}                // q, keys, mult, table, e, sum, scratch, m, n
        stmia   sp, {r1-r9}
        ldr     r10, [r3]
        ldmia   r0, {r1, r3-r6, r8}         // k, q_stride, keys_stride, e_stride, shift, q_panels
        add     r0, sp, #F_K
        stmia   r0, {r1, r3-r6, r8}
        adds    r1, r1, #1
        lsr     r2, r1, #1
        lsl     r1, r2, #3
        str     r1, [sp, #F_NP8]
        sub     r3, r4, r1
        str     r3, [sp, #F_WD]
        ldr     r0, [sp, #F_W]
        asr     r9, r9, #2
        sub     r9, r9, #1
        mla     r9, r9, r4, r0
        add     r9, r9, r1
        str     r9, [sp, #F_WEND0]
        cmp     r8, #0
        it      eq
        addeq   r7, r7, r1
        str     r7, [sp, #F_S]
        rsb     r3, r6, #32
        lsl     r10, r10, r3
        rsb     r10, r10, #0
        str     r10, [sp, #F_ME]
        asr     r10, r10, #8
        str     r10, [sp, #F_MO]
        bx      lr
        TLF_END probs_begin_smlad2x4

// The panel of the next r10 rows and the state of the first pass; r1 = the first keys. The flags tell whether n < 4.
        TLF_LOCAL probs_group_smlad2x4
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
        bl      tlf_unpack_s8
        b       4f
2:      bl      tlf_unpack_s8_1
4:      ldr     r0, [sp, #F_SCR]
3:      str     r11, [sp, #F_X]
        ldr     r1, [sp, #F_NP8]
        ldr     r2, [sp, #F_S]
        ldr     r3, [sp, #F_WEND0]
        str     r0, [sp, #F_A]
        add     r0, r0, r1
        str     r0, [sp, #F_LIMIT]
        str     r2, [sp, #F_Y]
        str     r3, [sp, #F_WEND]
        movs    r0, #0
        str     r0, [sp, #F_MIN3]
        mvn     r0, #0x80008000             // 0x7fff7fff
        str     r0, [sp, #F_MIN]
        ldr     r1, [sp, #F_W]
        ldr     r2, [sp, #F_N]
        cmp     r2, #4
        ldr     pc, [sp, #F_LR]
        TLF_END probs_group_smlad2x4

// minimum of two packed halfwords into \least
.macro LEAST least, steps
        ssub16  r12, \least, \steps
        sel     \least, \steps, \least
.endm

// Accumulators to steps: one word a key in r4..r7. Minima in r0, the place of the steps in lr.
.macro STEPS rows, columns
        ldr     r2, [sp, #F_ME]
        ldr     r3, [sp, #F_MO]
        ldr     r0, [sp, #F_MIN]
        ldr     lr, [sp, #F_Y]
        TLF_SPLIT \rows, \columns
        smmulr  r4, r4, r2
        smmulr  r5, r5, r3
    .if \columns == 4
        smmulr  r6, r6, r2
        smmulr  r7, r7, r3
    .endif
    .if \rows == 2
        smmulr  r8, r8, r2
        smmulr  r9, r9, r3
        pkhbt   r4, r4, r8, lsl #16
        pkhbt   r5, r5, r9, lsl #16
      .if \columns == 4
        smmulr  r10, r10, r2
        smmulr  r11, r11, r3
        pkhbt   r6, r6, r10, lsl #16
        pkhbt   r7, r7, r11, lsl #16
      .endif
    .endif
.endm

.macro PROBS_TILE fn, rows
        ldr     r0, [sp, #F_A]
    .if \rows == 2
        TLF_START 2, 1
        TLF_CHAIN24 \fn, ENTRY24, r0
        PROBS_TAIL
        bne.w   .L\fn\()_tile2
        .exitm
    .endif
        TLF_DEPTH \fn, \rows, 4, 1, ENTRY\rows\()4, r0
        STEPS   \rows, 4
        LEAST   r0, r4
        LEAST   r0, r5
        LEAST   r0, r6
        LEAST   r0, r7
        stmia   lr!, {r4-r7}
        ldr     r2, [sp, #F_WEND]
        ldr     r3, [sp, #F_WD]
        str     r0, [sp, #F_MIN]
        str     lr, [sp, #F_Y]
        cmp     r1, r2
        add     r1, r1, r3
        bne.w   .L\fn\()_tile\rows
.endm

// Four, two or one keys: steps r1, minima r3, table r0, output r2, sums r12 and lr.
.macro TAKE rows, keys
    .if \keys > 1
        ldr     r6, [r1, #4]
    .endif
    .if \keys > 2
        ldr     r8, [r1, #8]
        ldr     r10, [r1, #12]
    .endif
        ldr     r4, [r1], #4 * \keys
    .irp    first, 4,6,8,10
      .if \first < 4 + 2 * \keys
        qsub16  r\first, r\first, r3
      .endif
    .endr
    .irp    first, 4,6,8,10
      .if \first < 4 + 2 * \keys
        usat16  r\first, #8, r\first
      .endif
    .endr
    .if \rows == 2
        lsr     r5, r4, #16
      .if \keys > 1
        lsr     r7, r6, #16
      .endif
      .if \keys > 2
        lsr     r9, r8, #16
        lsr     r11, r10, #16
      .endif
    .endif
    .irp    first, 4,6,8,10
      .if \first < 4 + 2 * \keys
        uxth    r\first, r\first
      .endif
    .endr
    .irp    index, 4,5,6,7,8,9,10,11
      .if \index < 4 + 2 * \keys && (\index % 2 == 0 || \rows == 2)
        ldrb    r\index, [r0, r\index]
      .endif
    .endr
.endm

// What TAKE has taken, to its place in e.
.macro GIVE kind, rows, keys
    .if \kind == PANELS
      .if \keys > 1
        orr     r4, r4, r6, lsl #16
        mov     r6, #0x00010001
        .if \rows == 2
        orr     r5, r5, r7, lsl #16
        .endif
      .else
        movs    r6, #1
      .endif
      .if \keys == 4
        orr     r8, r8, r10, lsl #16
        smlad   r12, r8, r6, r12
        str     r8, [r2, #8]
        .if \rows == 2
        orr     r9, r9, r11, lsl #16
        smlad   lr, r9, r6, lr
        str     r9, [r2, #12]
        .endif
      .endif
        smlad   r12, r4, r6, r12
      .if \rows == 2
        smlad   lr, r5, r6, lr
        str     r5, [r2, #4]
      .endif
      .if \keys == 4
        str     r4, [r2], #16
      .else
        str     r4, [r2], #8
      .endif
    .elseif \keys == 4
        orr     r4, r4, r6, lsl #8
        orr     r4, r4, r8, lsl #16
        orr     r4, r4, r10, lsl #24
      .if \rows == 2
        ldr     r8, [sp, #F_ES]
        orr     r5, r5, r7, lsl #8
        orr     r5, r5, r9, lsl #16
        orr     r5, r5, r11, lsl #24
        str     r5, [r2, r8]
      .endif
        movs    r6, #0
        usada8  r12, r4, r6, r12
      .if \rows == 2
        usada8  lr, r5, r6, lr
      .endif
        str     r4, [r2], #4
    .else                                   // one key
        add     r12, r12, r4
      .if \rows == 2
        ldr     r8, [sp, #F_ES]
        add     lr, lr, r5
        strb    r5, [r2, r8]
      .endif
        strb    r4, [r2], #1
    .endif
.endm

// The steps of \rows rows through the table. r0 table, r1 steps, r2 output, r3 minima, r4 keys, r12 and lr sums.
.macro MAP fn, kind, rows
        bic     r5, r4, #3
        add     r5, r1, r5, lsl #2
        str     r5, [sp, #F_Y]
        cmp     r4, #4
        blt.w   .L\fn\()_rest\rows
        lsls    r4, r4, #29
        bmi     .L\fn\()_half\rows
.L\fn\()_four\rows:
        TAKE    \rows, 4
        GIVE    \kind, \rows, 4
.L\fn\()_half\rows:
        TAKE    \rows, 4
        GIVE    \kind, \rows, 4
        ldr     r4, [sp, #F_Y]
        cmp     r1, r4
        bne.w   .L\fn\()_four\rows
.L\fn\()_rest\rows:
        ldr     r4, [sp, #F_N]
    .if \kind == PANELS
        lsls    r4, r4, #30
        bpl     .L\fn\()_one\rows
        TAKE    \rows, 2
        GIVE    \kind, \rows, 2
.L\fn\()_one\rows:
        ldr     r4, [sp, #F_N]
        lsls    r4, r4, #31
        beq     .L\fn\()_next\rows
        TAKE    \rows, 1
        GIVE    \kind, \rows, 1
    .else
        ands    r4, r4, #3
        beq     .L\fn\()_next\rows
        add     r4, r1, r4, lsl #2
        str     r4, [sp, #F_Y]
.L\fn\()_one\rows:
        TAKE    \rows, 1
        GIVE    \kind, \rows, 1
        ldr     r4, [sp, #F_Y]
        cmp     r1, r4
        bne     .L\fn\()_one\rows
    .endif
.endm

.macro PROBS_GROUPS fn, kind, rows
.L\fn\()_group\rows:
        mov     r10, #\rows
        bl      probs_group_smlad2x4
        blt.w   .L\fn\()_few\rows
    .if \rows == 2
        ldr     r4, [sp, #F_NP8]
        cmp     r4, #8
        bne     .L\fn\()_tile2
        ldr     r0, [sp, #F_A]
        ldr     r10, [sp, #F_Y]
        ldr     r9, [sp, #F_WEND]
        ldr     r11, [sp, #F_WS]
        ldr     r12, [r0]
        ldr     lr, [r0, #4]
        ldr     r2, [sp, #F_ME]
        ldr     r3, [sp, #F_MO]
        ldr     r0, [sp, #F_MIN]
        subs    r9, r9, #8                  // start of the last full group
        str     r9, [sp, #F_WEND]
.L\fn\()_shallow:
        SHALLOW_PIPELINED
        bne     .L\fn\()_shallow
        str     r0, [sp, #F_MIN]
        str     r10, [sp, #F_Y]
        b       .L\fn\()_few2
    .endif
.L\fn\()_tile\rows:
        PROBS_TILE \fn, \rows
        ldr     r4, [sp, #F_MIN3]
        cmp     r4, #0
        bne.w   .L\fn\()_three_end\rows
.L\fn\()_few\rows:
        ldr     r2, [sp, #F_N]
        ands    r2, r2, #3
        beq.w   .L\fn\()_map\rows
        cmp     r2, #3
        beq.w   .L\fn\()_three\rows
        ldr     r0, [sp, #F_A]
    .if \rows == 2
        TLF_DEPTH_NARROW \fn, 1, r0
    .else
        TLF_DEPTH \fn, 1, 2, 1, F_E12, r0
    .endif
        STEPS   \rows, 2
        ldr     r2, [sp, #F_N]
        str     r4, [lr]
        str     r5, [lr, #4]
        LEAST   r0, r4
        lsls    r2, r2, #31
        bne     .L\fn\()_least\rows
        LEAST   r0, r5
.L\fn\()_least\rows:
        str     r0, [sp, #F_MIN]
.L\fn\()_map\rows:
        ldr     r0, [sp, #F_TABLE]
        ldr     r1, [sp, #F_S]
        ldr     r2, [sp, #F_E]
        ldr     r3, [sp, #F_MIN]
        ldr     r4, [sp, #F_N]
        movs    r5, #0
        mov     r12, r5
        mov     lr, r5
    .if \rows == 2
        MAP_PIPELINED \fn, \kind
    .else
        MAP     \fn, \kind, 1
    .endif
.L\fn\()_next\rows:
        ldr     r0, [sp, #F_SUM]
    .if \rows == 2
        ldr     r1, [sp, #F_E]
        ldr     r2, [sp, #F_ES]
        ldr     r3, [sp, #F_M]
        str     r12, [r0], #4
        str     lr, [r0], #4
        str     r0, [sp, #F_SUM]
      .if \kind == PANELS
        add     r1, r1, r2
      .else
        add     r1, r1, r2, lsl #1
      .endif
        str     r1, [sp, #F_E]
        subs    r3, r3, #2
        str     r3, [sp, #F_M]
        cmp     r3, #2
        bge.w   .L\fn\()_group2
        cmp     r3, #0
        bne.w   .L\fn\()_group1
        TLF_LEAVE
    .else
        str     r12, [r0]
        TLF_LEAVE
    .endif

// The last three keys go as four; then the fourth is left out of the minima.
.L\fn\()_three\rows:
        ldr     r2, [sp, #F_Y]
        ldr     r3, [sp, #F_MIN]
        ldr     r4, [sp, #F_NP8]
        str     r2, [sp, #F_MIN3]
        str     r3, [sp, #F_MIN0]
        add     r4, r4, r1
        str     r4, [sp, #F_WEND]
        b.w     .L\fn\()_tile\rows
.L\fn\()_three_end\rows:
        ldr     r0, [sp, #F_MIN0]
        ldmia   r4, {r5-r7}
        LEAST   r0, r5
        LEAST   r0, r6
        LEAST   r0, r7
        str     r0, [sp, #F_MIN]
        b.w     .L\fn\()_map\rows
.endm

.macro PROBS name, fn, kind
        TLF_FUNCTION \name
        TLF_ENTER
        bl      probs_begin_smlad2x4
        TLF_DEPTH_ENTRY \fn, 2, 4, F_E24
        TLF_DEPTH_ENTRY \fn, 1, 4, F_E14
        TLF_NARROW_ENTRY \fn
        TLF_DEPTH_ENTRY \fn, 1, 2, F_E12
        ldr     r0, [sp, #F_M]
        cmp     r0, #2
        blt.w   .L\fn\()_group1
        PROBS_GROUPS \fn, \kind, 2
        PROBS_GROUPS \fn, \kind, 1
        TLF_ONLY \fn, 2, r0
        TLF_ONLY \fn, 1, r0
        TLF_END \name
.endm

        PROBS   tlf_probs_rows_smlad2x4m7, probs_rows, ROWS
        PROBS   tlf_probs_panels_smlad2x4m7, probs_panels, PANELS
