// tlf_probs_{rows,panels}_smlad4x2 (contract: tileformer.h).
//
// A group of rows is done in two passes. The first computes the scores of all keys into scratch, [key pair][row][2] int32,
// and the maximum of each row. The second takes a row at a time through the table. Because
// (top - score) * mult + round = (top * mult + round) - score * mult modulo 2^32, one MLS makes the index.

#include "gemm_smlad.inc"
#include "unpack_smlad.inc"

#define P_MULT   F_SCALE
#define P_TOP    F_F        /* 4 maxima */
#define P_TABLE  F_HALF
#define P_S      F_FP       /* scores */
#define P_SUM    F_CHAN0
#define P_PANELS F_PANEL
#define P_ROW    F_CHAN     /* scores of this row */
#define P_E      F_T        /* outputs of this row */
#define P_MAX    F_T0       /* address of its maximum */

        UNPACK4 probs_unpack4_smlad4x2, s, ldrsb
        UNPACK  probs_unpack_smlad4x2, s, ldrsb

// r0 = args, r12 = panels: fill the frame. Clobbers r0..r11.
        TLF_LOCAL probs_begin_smlad4x2
        ldmia   r0!, {r1-r7}                // q, keys, mult, table, e, sum, scratch
        ldr     r3, [r3]
        str     r1, [sp, #F_X]
        str     r2, [sp, #F_W]
        str     r3, [sp, #P_MULT]
        str     r4, [sp, #P_TABLE]
        str     r5, [sp, #F_Y0]
        str     r6, [sp, #P_SUM]
        str     r7, [sp, #F_A]
        str     r12, [sp, #P_PANELS]
        ldmia   r0, {r3-r6, r8-r11}         // m, n, k, q_stride, keys_stride, e_stride, round, shift
        add     r0, sp, #F_M
        stmia   r0, {r3-r6, r8-r10}
        str     r11, [sp, #F_SHIFT]
        add     r5, r5, #1
        lsr     r5, r5, #1
        str     r5, [sp, #F_NP]
        add     r7, r7, r5, lsl #4
        str     r7, [sp, #P_S]
        lsl     r5, r5, #2
        add     r2, r2, r5                  // end of the first column pair
        sub     r5, r8, r5
        str     r5, [sp, #F_WD]
        asr     r3, r4, #1
        sub     r3, r3, #1
        mla     r3, r3, r8, r2
        str     r3, [sp, #F_WEND0]
        bx      lr
        TLF_END probs_begin_smlad4x2

// r10 rows: the panel of a group and the state of its first tile: r1 column pair. The flags tell whether n > 1.
        TLF_LOCAL probs_group_smlad4x2
        str     lr, [sp, #F_LR]
        ldr     r0, [sp, #F_A]
        ldr     r1, [sp, #F_X]
        ldr     r2, [sp, #F_XS]
        ldr     r3, [sp, #F_K]
        cmp     r10, #4
        bne     1f
        bl      probs_unpack4_smlad4x2
        b       2f
1:      bl      probs_unpack_smlad4x2
2:      mov     r2, #0x80000000
        str     r2, [sp, #P_TOP]
        str     r2, [sp, #P_TOP + 4]
        str     r2, [sp, #P_TOP + 8]
        str     r2, [sp, #P_TOP + 12]
        ldr     r1, [sp, #F_W]
        ldr     r2, [sp, #P_S]
        ldr     r3, [sp, #F_WEND0]
        ldr     r12, [sp, #F_N]
        str     r2, [sp, #F_Y]
        str     r3, [sp, #F_WEND]
        and     r2, r12, #1
        str     r2, [sp, #F_ODD]
        cmp     r12, #1
        ldr     pc, [sp, #F_LR]
        TLF_END probs_group_smlad4x2

.macro MAXIMUM top, score
        cmp     \score, \top
        it      gt
        movgt   \top, \score
.endm

// Scores of a tile: store them, raise the maxima.
.macro SCORES rows
        ldr     r0, [sp, #F_Y]
        ldr     r2, [sp, #P_TOP]
    .if \rows > 1
        ldr     r3, [sp, #P_TOP + 4]
    .endif
    .if \rows > 2
        ldr     r12, [sp, #P_TOP + 8]
    .endif
    .if \rows > 3
        ldr     lr, [sp, #P_TOP + 12]
    .endif
        MAXIMUM r2, r4
        MAXIMUM r2, r5
        str     r5, [r0, #4]
        str     r2, [sp, #P_TOP]
    .if \rows > 1
        MAXIMUM r3, r6
        MAXIMUM r3, r7
        str     r6, [r0, #8]
        str     r7, [r0, #12]
        str     r3, [sp, #P_TOP + 4]
    .endif
    .if \rows > 2
        MAXIMUM r12, r8
        MAXIMUM r12, r9
        str     r8, [r0, #16]
        str     r9, [r0, #20]
        str     r12, [sp, #P_TOP + 8]
    .endif
    .if \rows > 3
        MAXIMUM lr, r10
        MAXIMUM lr, r11
        str     r10, [r0, #24]
        str     r11, [r0, #28]
        str     lr, [sp, #P_TOP + 12]
    .endif
        str     r4, [r0], #8 * \rows
        str     r0, [sp, #F_Y]
.endm

// ---- the second pass. r0 scores, r1 outputs, r2 table, r3 mult, r4 shift, r5 top * mult + round, r6 sum, r7 zero,
// r8 end of the scores, r9..r12 and lr free.

// r9..r12 = table entries of the scores in r9..r12
.macro LOOK_UP4
        mls     r9, r9, r3, r5
        mls     r10, r10, r3, r5
        mls     r11, r11, r3, r5
        mls     r12, r12, r3, r5
        asr     r9, r9, r4
        asr     r10, r10, r4
        asr     r11, r11, r4
        asr     r12, r12, r4
        usat    r9, #8, r9
        usat    r10, #8, r10
        usat    r11, #8, r11
        usat    r12, #8, r12
        ldrb    r9, [r2, r9]
        ldrb    r10, [r2, r10]
        ldrb    r11, [r2, r11]
        ldrb    r12, [r2, r12]
.endm

.macro LOOK_UP reg
        mls     \reg, \reg, r3, r5
        asr     \reg, \reg, r4
        usat    \reg, #8, \reg
        ldrb    \reg, [r2, \reg]
.endm

// Two key pairs of a row.
.macro MAP4 layout, rows
        ldr     r9, [r0], #16 * \rows
        ldr     r10, [r0, #4 - 16 * \rows]
        ldr     r11, [r0, #-8 * \rows]
        ldr     r12, [r0, #4 - 8 * \rows]
        LOOK_UP4
    .if \layout == 0
        orr     r9, r9, r10, lsl #8
        orr     r11, r11, r12, lsl #8
        orr     r9, r9, r11, lsl #16
        usada8  r6, r9, r7, r6
        str     r9, [r1], #4
    .else
        orr     r9, r9, r10, lsl #16
        orr     r11, r11, r12, lsl #16
        usada8  r6, r9, r7, r6
        usada8  r6, r11, r7, r6
        str     r9, [r1], #4 * \rows
        str     r11, [r1], #4 * \rows
    .endif
.endm

// One row of n keys: fn\()_map\rows. The loop takes 4 pairs a turn (2 when the group is a remainder), then pairs, then
// the odd key.
.macro MAP_ROW layout, rows
        ldr     r10, [sp, #F_N]
        mov     r12, #8 * \rows
        lsr     r9, r10, #1
    .if \rows == 4
        bics    r11, r9, #3
    .else
        bics    r11, r9, #1
    .endif
        mla     r8, r11, r12, r0
        mla     lr, r9, r12, r0             // end of the full pairs
        beq     2f
1:      MAP4    \layout, \rows
    .if \rows == 4
        MAP4    \layout, \rows
    .endif
        cmp     r0, r8
        bne     1b
2:      cmp     r0, lr
        beq     4f
3:      ldr     r10, [r0, #4]
        ldr     r9, [r0], #8 * \rows
        LOOK_UP r10
        LOOK_UP r9
        add     r6, r6, r9
        add     r6, r6, r10
    .if \layout == 0
        strb    r10, [r1, #1]
        strb    r9, [r1], #2
    .else
        orr     r9, r9, r10, lsl #16
        str     r9, [r1], #4 * \rows
    .endif
        cmp     r0, lr
        bne     3b
4:      ldr     r10, [sp, #F_N]
        lsls    r10, r10, #31
        beq     5f
        ldr     r9, [r0]
        LOOK_UP r9
        add     r6, r6, r9
    .if \layout == 0
        strb    r9, [r1]
    .else
        str     r9, [r1]
    .endif
5:
.endm

.macro PROBS_GROUPS rows, block
        TLF_DEPTH_SETUP probs, \rows, \block
.Lprobs_group\rows:
        mov     r10, #\rows
        bl      probs_group_smlad4x2
        beq     .Lprobs_odd\rows
.Lprobs_tile\rows:
    .if \rows < 4
        ldr     r11, [sp, #F_LIMIT]
    .endif
        ldr     r0, [sp, #F_A]
        TLF_DEPTH probs, \rows, 1
        SCORES  \rows
        ldr     r3, [sp, #F_WD]
        ldr     r12, [sp, #F_WEND]
        cmp     r1, r12
        add     r1, r1, r3
        bne     .Lprobs_tile\rows
        ldr     r2, [sp, #F_ODD]
        subs    r2, r2, #1
        blo     .Lprobs_map\rows
        bne     .Lprobs_odd_end\rows
.Lprobs_odd\rows:                           // the second column of the last pair must not touch the maxima
        mov     r2, #2
        str     r2, [sp, #F_ODD]
        ldr     r2, [sp, #F_WS]
        ldr     r3, [sp, #F_WEND]
        add     r3, r3, r2
        str     r3, [sp, #F_WEND]
        add     r2, sp, #P_TOP
        ldmia   r2, {r4-r7}
        add     r2, sp, #F_TMP
        stmia   r2, {r4-r7}
        b       .Lprobs_tile\rows
.Lprobs_odd_end\rows:
        ldr     r0, [sp, #F_Y]
        .set i, 0
        .rept   \rows
        ldr     r2, [r0, #8 * i - 8 * \rows]
        ldr     r3, [sp, #F_TMP + 4 * i]
        MAXIMUM r3, r2
        str     r3, [sp, #P_TOP + 4 * i]
        .set i, i + 1
        .endr
.Lprobs_map\rows:
        mov     r10, #\rows
        str     r10, [sp, #F_ROWS]
        ldr     r0, [sp, #P_S]
        ldr     r1, [sp, #F_Y0]
        ldr     r2, [sp, #P_TABLE]
        ldr     r3, [sp, #P_MULT]
        ldr     r4, [sp, #F_SHIFT]
        movs    r7, #0
        add     r9, sp, #P_TOP
        str     r9, [sp, #P_MAX]
.Lprobs_row\rows:                           // r0 scores, r1 outputs, r9 the address of the maximum
        ldr     r5, [r9], #4
        ldr     r12, [sp, #F_ROUND]
        ldr     r11, [sp, #P_PANELS]
        str     r0, [sp, #P_ROW]
        str     r1, [sp, #P_E]
        str     r9, [sp, #P_MAX]
        mla     r5, r5, r3, r12
        movs    r6, #0
        cmp     r11, #0
        bne     .Lprobs_panels\rows
        MAP_ROW 0, \rows
        ldr     r1, [sp, #P_E]
        ldr     r12, [sp, #F_YS]
        add     r1, r1, r12
        b       .Lprobs_next_row\rows
.Lprobs_panels\rows:
        MAP_ROW 1, \rows
        ldr     r1, [sp, #P_E]
        adds    r1, r1, #4
.Lprobs_next_row\rows:
        ldr     r12, [sp, #P_SUM]
        ldr     r0, [sp, #P_ROW]
        ldr     r9, [sp, #P_MAX]
        ldr     r10, [sp, #F_ROWS]
        adds    r0, r0, #8
        str     r6, [r12], #4
        str     r12, [sp, #P_SUM]
        subs    r10, r10, #1
        str     r10, [sp, #F_ROWS]
        bne     .Lprobs_row\rows
    .if \rows == 4
        ldr     r0, [sp, #P_PANELS]
        cbz     r0, .Lprobs_next
        ldr     r2, [sp, #F_N]              // panels: from the end of the first pair of words to the next group
        adds    r2, r2, #1
        lsrs    r2, r2, #1
        subs    r2, r2, #1
        add     r1, r1, r2, lsl #4
.Lprobs_next:
        str     r1, [sp, #F_Y0]
        ldr     r0, [sp, #F_X]
        ldr     r1, [sp, #F_XS]
        ldr     r12, [sp, #F_M]
        add     r0, r0, r1, lsl #2
        str     r0, [sp, #F_X]
        subs    r12, r12, #4
        str     r12, [sp, #F_M]
        cmp     r12, #4
        bge     .Lprobs_group4
    .else
        b       .Lprobs_leave
    .endif
.endm

        TLF_FUNCTION tlf_probs_rows_smlad4x2
        TLF_ENTER
        mov     r12, #0
        b       .Lprobs_begin
        .balign 4
        .global tlf_probs_panels_smlad4x2
        .type   tlf_probs_panels_smlad4x2, %function
        .thumb_func
tlf_probs_panels_smlad4x2:
        TLF_ENTER
        mov     r12, #1
.Lprobs_begin:
        bl      probs_begin_smlad4x2
        ldr     r12, [sp, #F_M]
        cmp     r12, #4
        blt     .Lprobs_tail
        PROBS_GROUPS 4, 60
.Lprobs_tail:
        cmp     r12, #2
        beq     .Lprobs_two
        bgt     .Lprobs_three
        cmp     r12, #0
        beq     .Lprobs_leave
        PROBS_GROUPS 1, 24
.Lprobs_two:
        PROBS_GROUPS 2, 36
.Lprobs_three:
        PROBS_GROUPS 3, 48
.Lprobs_leave:
        TLF_LEAVE
        TLF_END tlf_probs_panels_smlad4x2
        TLF_END tlf_probs_rows_smlad4x2
