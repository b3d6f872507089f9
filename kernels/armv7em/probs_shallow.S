// tlf_probs_{rows,panels}_shallow (contract: tileformer.h): heads of 1 or 2 features, whose scores fit 16 bits.
//
// The keys are split once a call into words of even and of 256 * odd columns, so that a score is one SMUAD and PKHBT puts
// those of two keys into one word. Two passes over two rows at a time, then over the last row of an odd m: the first
// leaves the scores (as panels in the place of e; for rows in scratch) and keeps the largest ones, whose step is the least.
// The second goes a row at a time: one SMLAW of a score gives step - least step with 15 bits of fraction, one USAT the
// place in the table. Sums are kept as two halfwords: n <= 512.

#include "function.inc"

// ---- frame, in bytes from sp: first the argument record, copied -----------------------------------------------------------
#define F_X       0     /* the next rows */
#define F_W       4
#define F_TABLE  12
#define F_E      16     /* output of these rows */
#define F_SUM    20     /* of the next row */
#define F_SCR    24     /* the split keys: {even, 256 * odd} a pair of keys */
#define F_M      28     /* rows left */
#define F_N      32
#define F_K      36
#define F_XS     40
#define F_ES     48
#define F_PANEL  56     /* q is panels */
#define F_MULT   60     /* -(mult << (31 - shift)) */
#define F_NEXT   64     /* what the second row adds to its products, or 0 */
#define F_KEND   68     /* end of the whole pairs of split keys */
#define F_SPAN   72     /* 32 bytes of scores each 8 keys */
#define F_TAIL   76     /* 8 bytes of scores each 2 keys behind those */
#define F_S      80     /* rows: the scores */
#define F_END    84     /* rows: end of the whole blocks of scores */
#define F_SIZE   92     /* with nine saved registers a multiple of 8 */

#define ROWS 0
#define PANELS 4

// r0 = args: fill the frame and split the keys.
        TLF_LOCAL probs_begin_shallow
        ldmia   r0!, {r1-r9}                // q, keys, mult, table, e, sum, scratch, m, n
        stmia   sp, {r1-r9}
        ldr     r10, [r3]
        ldmia   r0, {r1, r3-r6, r8}         // k, q_stride, keys_stride, e_stride, shift, q_panels
        add     r0, sp, #F_K
        stmia   r0, {r1, r3-r6, r8}
        rsb     r6, r6, #31
        lsl     r10, r10, r6
        rsb     r10, r10, #0
        str     r10, [sp, #F_MULT]
        mov     r12, r2
        subs    r5, r9, #4
        blt     2f
1:      ldr     r1, [r12]
        ldr     r3, [r12, #4]
        add     r12, r12, r4
        sxtb16  r0, r1
        ssub16  r1, r1, r0
        sxtb16  r2, r3
        ssub16  r3, r3, r2
        stmia   r7!, {r0-r3}
        subs    r5, r5, #4
        bge     1b
2:      adds    r5, r5, #4
        beq     4f
3:      ldr     r1, [r12], #4
        sxtb16  r0, r1
        ssub16  r1, r1, r0
        stmia   r7!, {r0, r1}
        subs    r5, r5, #2
        bgt     3b
        beq     4f
        mov     r1, #0xff00ff00             // an odd last key counts twice in the maximum
        and     r1, r1, r0, lsl #8
        str     r1, [r7, #-4]
4:      str     r7, [sp, #F_S]
        ldr     r0, [sp, #F_SCR]
        add     r1, r9, #1
        lsr     r1, r1, #2
        add     r1, r0, r1, lsl #4
        str     r1, [sp, #F_KEND]
        lsr     r1, r9, #3
        lsl     r1, r1, #5
        str     r1, [sp, #F_SPAN]
        and     r1, r9, #6
        lsl     r1, r1, #2
        str     r1, [sp, #F_TAIL]
        bx      lr
        TLF_END probs_begin_shallow

// The row of q at r4, r5 bytes from the next, as a word.
.macro QUERY word
        ldrsb   \word, [r4]
        movs    r8, #0
        cmp     r7, #1
        it      gt
        ldrsbgt r8, [r4, #1]
        pkhbt   \word, \word, r8, lsl #16
        add     r4, r4, r5
.endm

// Scores of two keys (words \even and \odd) in the rows r0 and r2, to r3; the largest so far in r12 and lr.
.macro SCORE rows, even, odd
        smuad   r8, \even, r0
        smuad   r9, \odd, r0
        pkhbt   r8, r8, r9, lsl #8
    .if \rows == 2
        smuad   r9, \even, r2
        smuad   r11, \odd, r2
        pkhbt   r9, r9, r11, lsl #8
        str     r9, [r3, #4]
    .endif
        str     r8, [r3], #8
        ssub16  r11, r8, r12
        sel     r12, r8, r12
    .if \rows == 2
        ssub16  r11, r9, lr
        sel     lr, r9, lr
    .endif
.endm

// Largest scores of a row, two halfwords -> what its products add: 1/2 - least step, 15 bits of fraction.
.macro LEAST addend, best
        ror     r4, \best, #16
        ssub16  r5, \best, r4
        sel     \best, \best, r4
        smlawb  \addend, r2, \best, r6
        bfc     \addend, #0, #15
        sub     \addend, r6, \addend
.endm

.macro PROBS_SCORES fn, kind, rows
.L\fn\()_group\rows:
        ldr     r4, [sp, #F_X]
        ldr     r5, [sp, #F_XS]
        ldr     r6, [sp, #F_PANEL]
        cbz     r6, .L\fn\()_query\rows
        ldr     r0, [r4]
    .if \rows == 2
        ldr     r2, [r4, #4]
    .endif
        add     r4, r4, r5
        b       .L\fn\()_scores\rows
.L\fn\()_query\rows:
        ldr     r7, [sp, #F_K]
        QUERY   r0
    .if \rows == 2
        QUERY   r2
    .endif
.L\fn\()_scores\rows:
        str     r4, [sp, #F_X]
        ldr     r1, [sp, #F_SCR]
        ldr     r10, [sp, #F_KEND]
    .if \kind == PANELS
        ldr     r3, [sp, #F_E]
    .else
        ldr     r3, [sp, #F_S]
    .endif
        mov     r12, #0x80008000
        mov     lr, r12
        subs    r4, r10, r1
        beq     .L\fn\()_pair\rows
        lsls    r4, r4, #27
        bmi     .L\fn\()_half\rows
.L\fn\()_turn\rows:
        ldmia   r1!, {r4-r7}
        SCORE   \rows, r4, r5
        SCORE   \rows, r6, r7
.L\fn\()_half\rows:
        ldmia   r1!, {r4-r7}
        SCORE   \rows, r4, r5
        SCORE   \rows, r6, r7
        cmp     r1, r10
        bne     .L\fn\()_turn\rows
.L\fn\()_pair\rows:
        ldr     r4, [sp, #F_N]
        adds    r4, r4, #1
        lsls    r4, r4, #30
        bpl     .L\fn\()_least\rows
        ldr     r4, [r1]
        ldr     r5, [r1, #4]
        SCORE   \rows, r4, r5
.L\fn\()_least\rows:
        ldr     r0, [sp, #F_TABLE]
        ldr     r2, [sp, #F_MULT]
        mov     r6, #0x4000
        LEAST   r3, r12
    .if \rows == 2
        LEAST   r7, lr
    .else
        movs    r7, #0
    .endif
        str     r7, [sp, #F_NEXT]
.endm

// Eight keys of a row: r0 table, r1 scores (panels: and their place in e), r2 multiplier, r3 addend, r12 sum; rows: lr the
// place in e.
.macro EIGHT kind
        ldr     r4, [r1]
        ldr     r6, [r1, #8]
        ldr     r8, [r1, #16]
    .if \kind == PANELS
        ldr     r10, [r1, #24]
    .else
        ldr     r10, [r1, #24]
        adds    r1, r1, #32
    .endif
        smlawt  r5, r2, r4, r3
        smlawb  r4, r2, r4, r3
        smlawt  r7, r2, r6, r3
        smlawb  r6, r2, r6, r3
        smlawt  r9, r2, r8, r3
        smlawb  r8, r2, r8, r3
        smlawt  r11, r2, r10, r3
        smlawb  r10, r2, r10, r3
    .irp    value, 4,5,6,7,8,9,10,11
        usat    r\value, #8, r\value, asr #15
    .endr
    .irp    value, 4,5,6,7,8,9,10,11
        ldrb    r\value, [r0, r\value]
    .endr
    .if \kind == PANELS
        orr     r6, r6, r7, lsl #16
        orr     r8, r8, r9, lsl #16
        orr     r10, r10, r11, lsl #16
        orr     r4, r4, r5, lsl #16
        add     r12, r12, r6
        add     r12, r12, r8
        add     r12, r12, r10
        add     r12, r12, r4
        str     r6, [r1, #8]
        str     r8, [r1, #16]
        str     r10, [r1, #24]
        str     r4, [r1], #32
    .else
        orr     r4, r4, r5, lsl #8
        orr     r8, r8, r9, lsl #8
        orr     r4, r4, r6, lsl #16
        orr     r8, r8, r10, lsl #16
        orr     r4, r4, r7, lsl #24
        orr     r8, r8, r11, lsl #24
        movs    r5, #0
        usada8  r12, r4, r5, r12
        usada8  r12, r8, r5, r12
        str     r8, [lr, #4]
        str     r4, [lr], #8
    .endif
.endm

// Two keys of a row.
.macro TWO kind
        ldr     r4, [r1]
        smlawt  r5, r2, r4, r3
        smlawb  r4, r2, r4, r3
        usat    r5, #8, r5, asr #15
        usat    r4, #8, r4, asr #15
        ldrb    r5, [r0, r5]
        ldrb    r4, [r0, r4]
    .if \kind == PANELS
        orr     r4, r4, r5, lsl #16
        add     r12, r12, r4
        str     r4, [r1], #8
    .else
        adds    r1, r1, #8
        add     r12, r12, r4
        add     r12, r12, r5
        orr     r4, r4, r5, lsl #8
        strh    r4, [lr], #2
    .endif
.endm

// The second pass over one row or two.
.macro PROBS_TABLE fn, kind
    .if \kind == PANELS
        ldr     r1, [sp, #F_E]
    .else
        ldr     r1, [sp, #F_S]
        ldr     lr, [sp, #F_E]
    .endif
.L\fn\()_row:
        ldr     r4, [sp, #F_SPAN]
        movs    r12, #0
    .if \kind == PANELS
        add     lr, r1, r4
    .else
        add     r5, r1, r4
        str     r5, [sp, #F_END]
    .endif
        cmp     r4, #0
        beq.w   .L\fn\()_few
        lsls    r4, r4, #26
        bmi     .L\fn\()_eight
.L\fn\()_sixteen:
        EIGHT   \kind
.L\fn\()_eight:
        EIGHT   \kind
    .if \kind == PANELS
        cmp     r1, lr
    .else
        ldr     r4, [sp, #F_END]
        cmp     r1, r4
    .endif
        bne.w   .L\fn\()_sixteen
.L\fn\()_few:
        ldr     r10, [sp, #F_TAIL]
        cmp     r10, #0
        beq     .L\fn\()_last
        add     r10, r10, r1
.L\fn\()_two:
        TWO     \kind
        cmp     r1, r10
        bne     .L\fn\()_two
.L\fn\()_last:
        ldr     r4, [sp, #F_N]
        lsls    r4, r4, #31
        beq     .L\fn\()_sum
        ldr     r4, [r1]
        smlawb  r4, r2, r4, r3
        usat    r4, #8, r4, asr #15
        ldrb    r4, [r0, r4]
        add     r12, r12, r4
    .if \kind == PANELS
        str     r4, [r1]
    .else
        strb    r4, [lr]
    .endif
.L\fn\()_sum:
        ldr     r4, [sp, #F_SUM]
        ldr     r3, [sp, #F_NEXT]
    .if \kind == PANELS
        uxth    r5, r12
        add     r12, r5, r12, lsr #16
    .endif
        str     r12, [r4], #4
        str     r4, [sp, #F_SUM]
        cmp     r3, #0
        beq     .L\fn\()_next
        movs    r4, #0
        str     r4, [sp, #F_NEXT]
    .if \kind == PANELS
        ldr     r1, [sp, #F_E]
    .else
        ldr     r1, [sp, #F_S]
        ldr     lr, [sp, #F_E]
        ldr     r4, [sp, #F_ES]
        add     lr, lr, r4
    .endif
        adds    r1, r1, #4
        b.w     .L\fn\()_row
.L\fn\()_next:
        ldr     r1, [sp, #F_E]
        ldr     r2, [sp, #F_ES]
        ldr     r3, [sp, #F_M]
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
        cmp     r3, #1
        beq.w   .L\fn\()_group1
        add     sp, sp, #F_SIZE
        pop     {r4-r11, pc}
.endm

.macro PROBS name, fn, kind
        TLF_FUNCTION \name
        push    {r4-r11, lr}
        sub     sp, sp, #F_SIZE
        bl      probs_begin_shallow
        ldr     r0, [sp, #F_M]
        cmp     r0, #2
        blt.w   .L\fn\()_group1
        PROBS_SCORES \fn, \kind, 2
.L\fn\()_table:
        PROBS_TABLE \fn, \kind
        PROBS_SCORES \fn, \kind, 1
        b.w     .L\fn\()_table
        TLF_END \name
.endm

        PROBS   tlf_probs_rows_shallow, probs_rows, ROWS
        PROBS   tlf_probs_panels_shallow, probs_panels, PANELS
