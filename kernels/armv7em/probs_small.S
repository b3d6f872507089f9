// tlf_probs_{rows,panels}_small (contract: tileformer.h): heads of 3 to 8 features.
//
// The words of two rows stay in registers, for every key. A key is split once a call into int16 words, behind the place of
// its steps in two rows (halfwords): 20 bytes a key whatever the depth, so that one pointer serves both. Two passes over two
// rows: the first leaves the steps and the least of them (as in probs_smlad2x4.inc, with 2^15), the second looks up both
// rows at once. A last row of an odd m has garbage beside it, which the second pass leaves alone. An odd last key counts
// twice in the least. Sums of panels are kept as two halfwords: n <= 512.

#include "function.inc"

// ---- frame, in bytes from sp: first the argument record, copied -----------------------------------------------------------
#define F_X       0     /* the next rows */
#define F_W       4
#define F_TABLE  12
#define F_E      16     /* output of these rows */
#define F_SUM    20     /* of these rows */
#define F_KEYS   24     /* scratch */
#define F_M      28     /* rows left */
#define F_N      32
#define F_K      36
#define F_XS     40
#define F_ES     48
#define F_PANEL  56     /* q is panels */
#define F_MULT   60     /* -(mult << (32 - shift)) */
#define F_END    64     /* end of the pairs of keys */
#define F_END4   68     /* end of the whole groups of four */
#define F_DEPTH  72     /* the first pass of this depth */
#define F_ENTRY  76     /* where it enters its turn of keys */
#define F_LR     80
#define F_Q      84     /* two rows as a panel */
#define F_SIZE  116     /* with nine saved registers a multiple of 8 */

#define KEY      20     /* bytes of a key */

        .set    UNROLL, 4                   // pairs of keys a turn, and the code of one
        .set    BLOCK2, 96
        .set    BLOCK3, 120
        .set    BLOCK4, 160

#define ROWS 0
#define PANELS 4

// A depth pair of four keys: r1 keys, r7 their place.
.macro SPLIT pair
        ldr     r2, [r1, #8 * \pair]
        ldr     r3, [r1, #8 * \pair + 4]
        sxtb16  r4, r2
        sxtb16  r5, r3
        ssub16  r2, r2, r4
        ssub16  r3, r3, r5
        sxtb16  r2, r2, ror #8
        sxtb16  r3, r3, ror #8
        str.w   r4, [r7, #4 + 4 * \pair]
        str.w   r2, [r7, #4 + 4 * \pair + KEY]
        str.w   r5, [r7, #4 + 4 * \pair + 2 * KEY]
        str.w   r3, [r7, #4 + 4 * \pair + 3 * KEY]
.endm

// r0 = args: fill the frame and split the keys.
.macro PASS pairs
        adr.w   r8, .Lsplit\pairs
        adr.w   r4, .Lrows\pairs
        adr.w   r5, .Lkeys\pairs
        mov     r3, #BLOCK\pairs
.endm

        TLF_LOCAL probs_begin_small
        ldmia   r0!, {r1-r9}                // q, keys, mult, table, e, sum, scratch, m, n
        stmia   sp, {r1-r9}
        ldr     r10, [r3]
        mov     r11, r2
        ldmia   r0, {r1, r3-r6, r8}         // k, q_stride, keys_stride, e_stride, shift, q_panels
        add     r0, sp, #F_K
        stmia   r0, {r1, r3-r6, r8}
        mov     r12, r4
        rsb     r6, r6, #32
        lsl     r10, r10, r6
        rsb     r10, r10, #0
        str     r10, [sp, #F_MULT]
        add     r2, r9, #1
        lsr     r2, r2, #1
        mov     r3, #2 * KEY
        mla     r2, r2, r3, r7
        str     r2, [sp, #F_END]
        lsr     r2, r9, #2
        mov     r3, #4 * KEY
        mla     r2, r2, r3, r7
        str     r2, [sp, #F_END4]
        add     r2, r9, #1
        lsr     r2, r2, #1
        rsb     r2, r2, #0
        and     r2, r2, #UNROLL - 1         // blocks to skip
        PASS    2
        cmp     r1, #4
        bls     1f
        PASS    3
        cmp     r1, #6
        bls     1f
        PASS    4
1:      mla     r3, r2, r3, r5
        orr     r8, r8, #1
        orr     r4, r4, #1
        orr     r3, r3, #1
        str     r3, [sp, #F_ENTRY]
        str     r4, [sp, #F_DEPTH]
        mov     r1, r11
        mov     r6, r9
2:      bx      r8
        .balign 4
.Lsplit4:
        SPLIT   3
        .balign 4
.Lsplit3:
        SPLIT   2
        .balign 4
.Lsplit2:
        SPLIT   1
        SPLIT   0
        add     r1, r1, r12
        adds    r7, r7, #4 * KEY
        subs    r6, r6, #4
        bgt     2b
        lsls    r2, r9, #31
        beq     3f
        ldr     r7, [sp, #F_END]            // an odd last key once more
        subs    r7, r7, #2 * KEY - 4
        ldmia   r7!, {r1-r4}
        adds    r7, r7, #4
        stmia   r7, {r1-r4}
3:      bx      lr

// The steps of r10 = 1 or 2 rows; leaves the least ones in r1.
        .type   probs_scores_small, %function
        .thumb_func
probs_scores_small:
        str     lr, [sp, #F_LR]
        ldr     r0, [sp, #F_X]
        ldr     r4, [sp, #F_XS]
        ldr     r5, [sp, #F_PANEL]
        ldr     r3, [sp, #F_K]
        add     r1, r0, r4
        cbnz    r5, 3f
        mov     r2, r1
        mov     r1, r0
        add     r11, r2, r4
        add     r0, sp, #F_Q
        cmp     r10, #2
        blt     1f
        bl      tlf_unpack_s8
        b       2f
1:      bl      tlf_unpack_s8_1
2:      mov     r1, r11
        add     r0, sp, #F_Q
3:      str     r1, [sp, #F_X]
        ldr     pc, [sp, #F_DEPTH]

// Two keys of two depth pairs: r0 the keys, r2 r3 and r4 r5 the rows, r6 multiplier, r7 = 2^15, r1 least.
.macro KEYS2
        ldr.w   r8, [r0, #4]
        ldr.w   r9, [r0, #8]
        ldr.w   r10, [r0, #KEY + 4]
        ldr.w   r11, [r0, #KEY + 8]
        smuad   r12, r8, r2
        smuad   r8, r8, r4
        smuad   lr, r10, r2
        smuad   r10, r10, r4
        smlad   r12, r9, r3, r12
        smlad   r8, r9, r5, r8
        smlad   lr, r11, r3, lr
        smlad   r10, r11, r5, r10
        smmlar  r12, r12, r6, r7
        smmlar  r8, r8, r6, r7
        smmlar  lr, lr, r6, r7
        smmlar  r10, r10, r6, r7
        pkhbt   r12, r12, r8, lsl #16
        pkhbt   lr, lr, r10, lsl #16
        usub16  r8, r1, r12
        sel     r1, r12, r1
        usub16  r8, r1, lr
        sel     r1, lr, r1
        str     lr, [r0, #KEY]
        str     r12, [r0], #2 * KEY
.endm

// A key of three depth pairs: r2-r4 and r5-r7 the rows, r8 multiplier, r9 = 2^15.
.macro KEY3
        ldr.w   r10, [r0, #4]
        ldr.w   r11, [r0, #8]
        ldr.w   r12, [r0, #12]
        smuad   lr, r10, r2
        smuad   r10, r10, r5
        smlad   lr, r11, r3, lr
        smlad   r10, r11, r6, r10
        smlad   lr, r12, r4, lr
        smlad   r10, r12, r7, r10
        smmlar  lr, lr, r8, r9
        smmlar  r10, r10, r8, r9
        pkhbt   lr, lr, r10, lsl #16
        usub16  r10, r1, lr
        sel     r1, lr, r1
        str     lr, [r0], #KEY
.endm

// A key of four depth pairs: r2-r5 and r6-r9 the rows. The multiplier comes with the last word of the key.
.macro KEY4
        ldr.w   r11, [r0, #4]
        ldr.w   r12, [r0, #8]
        ldr.w   lr, [r0, #12]
        smuad   r10, r11, r2
        smuad   r11, r11, r6
        smlad   r10, r12, r3, r10
        smlad   r11, r12, r7, r11
        smlad   r10, lr, r4, r10
        smlad   r11, lr, r8, r11
        ldr.w   lr, [r0, #16]
        ldr.w   r12, [sp, #F_MULT]
        smlad   r10, lr, r5, r10
        smlad   r11, lr, r9, r11
        smmulr  r10, r10, r12
        smmulr  r11, r11, r12
        pkhbt   r10, r10, r11, lsl #16
        eor     r10, r10, #0x80008000
        usub16  r11, r1, r10
        sel     r1, r10, r1
        str     r10, [r0], #KEY
.endm

.macro KEYS3
        KEY3
        KEY3
.endm

.macro KEYS4
        KEY4
        KEY4
.endm

// All keys of \pairs depth pairs; \block is two of them.
.macro KEYS pairs, block
        mov     r1, #-1
        ldr     pc, [sp, #F_ENTRY]
        .balign 4
.Lkeys\pairs:
        .rept   UNROLL
        \block
        .endr
        ldr     r12, [sp, #F_END]
        cmp     r0, r12
        bne.w   .Lkeys\pairs
        ldr     pc, [sp, #F_LR]
        .balign 4
.endm

.Lrows2:
        ldr     r2, [r0]
        ldr     r4, [r0, #4]
        ldr     r3, [r0, #8]
        ldr     r5, [r0, #12]
        ldr     r6, [sp, #F_MULT]
        ldr     r0, [sp, #F_KEYS]
        mov     r7, #0x8000
        KEYS    2, KEYS2
.Lrows3:
        ldr     r2, [r0]
        ldr     r5, [r0, #4]
        ldr     r3, [r0, #8]
        ldr     r6, [r0, #12]
        ldr     r4, [r0, #16]
        ldr     r7, [r0, #20]
        ldr     r8, [sp, #F_MULT]
        ldr     r0, [sp, #F_KEYS]
        mov     r9, #0x8000
        KEYS    3, KEYS3
.Lrows4:
        ldr     r2, [r0]
        ldr     r6, [r0, #4]
        ldr     r3, [r0, #8]
        ldr     r7, [r0, #12]
        ldr     r4, [r0, #16]
        ldr     r8, [r0, #20]
        ldr     r5, [r0, #24]
        ldr     r9, [r0, #28]
        ldr     r0, [sp, #F_KEYS]
        KEYS    4, KEYS4
        TLF_END probs_begin_small

// Four keys of \rows rows: r0 table, r1 steps, r2 the place in e, r3 addend, r12 and lr sums.
.macro FOUR kind, rows
        ldr.w   r6, [r1, #KEY]
        ldr.w   r8, [r1, #2 * KEY]
        ldr.w   r10, [r1, #3 * KEY]
        ldr.w   r4, [r1], #4 * KEY
    .irp    word, 4,6,8,10
        uqadd16 r\word, r\word, r3
    .endr
    .if \rows == 2
        ubfx    r5, r4, #16, #8
        ubfx    r7, r6, #16, #8
        ubfx    r9, r8, #16, #8
        ubfx    r11, r10, #16, #8
    .endif
    .irp    word, 4,6,8,10
        uxtb    r\word, r\word
    .endr
    .irp    value, 4,6,8,10
        ldrb    r\value, [r0, r\value]
    .endr
    .if \rows == 2
      .irp    value, 5,7,9,11
        ldrb    r\value, [r0, r\value]
      .endr
    .endif
    .if \rows == 2
        PUT_FOUR \kind, r5, r7, r9, r11, lr, 1
    .endif
        PUT_FOUR \kind, r4, r6, r8, r10, r12, 0
.endm

// Four values of row \row to their place and to its sum; row 0, the last one, goes on to the next place.
.macro PUT_FOUR kind, v0, v1, v2, v3, sum, row
    .if \kind == PANELS
        orr     \v0, \v0, \v1, lsl #16
        orr     \v2, \v2, \v3, lsl #16
        add     \sum, \sum, \v0
        add     \sum, \sum, \v2
      .if \row
        str     \v0, [r2, #4]
        str     \v2, [r2, #12]
      .else
        str     \v2, [r2, #8]
        str     \v0, [r2], #16
      .endif
    .else
        orr     \v0, \v0, \v1, lsl #8
        orr     \v0, \v0, \v2, lsl #16
        orr     \v0, \v0, \v3, lsl #24
        mov     \v1, #0
        usada8  \sum, \v0, \v1, \sum
      .if \row
        ldr     \v1, [sp, #F_ES]
        str     \v0, [r2, \v1]
      .else
        str     \v0, [r2], #4
      .endif
    .endif
.endm

// The last keys one by one: r4 the place in e of the second row; panels: their even one starts a word.
.macro ONE kind, rows, half
        ldr     r5, [r1], #KEY
        uqadd16 r5, r5, r3
        ubfx    r6, r5, #16, #8
        uxtb    r5, r5
        ldrb    r5, [r0, r5]
    .if \rows == 2
        ldrb    r6, [r0, r6]
        add     lr, lr, r6
    .endif
        add     r12, r12, r5
    .if \kind == ROWS
        strb    r5, [r2], #1
      .if \rows == 2
        strb    r6, [r4], #1
      .endif
    .elseif \half == 0
        str     r5, [r2], #8
      .if \rows == 2
        str     r6, [r2, #-4]
      .endif
    .else
        strh    r5, [r2, #-6]
      .if \rows == 2
        strh    r6, [r2, #-2]
      .endif
    .endif
.endm

// The second pass over \rows rows.
.macro TABLE fn, kind, rows
        mov     r3, #0xff00ff00
        sub     r3, r3, r1
        ldr     r0, [sp, #F_TABLE]
        ldr     r1, [sp, #F_KEYS]
        ldr     r2, [sp, #F_E]
        ldr     r5, [sp, #F_N]
        mov     r12, #0
        mov     lr, #0
        lsrs    r6, r5, #2
        beq     .L\fn\()_rest\rows
        lsls    r6, r6, #31
        bne     .L\fn\()_four\rows
.L\fn\()_eight\rows:
        FOUR    \kind, \rows
.L\fn\()_four\rows:
        FOUR    \kind, \rows
        ldr     r6, [sp, #F_END4]
        cmp     r1, r6
        bne.w   .L\fn\()_eight\rows
        ldr     r5, [sp, #F_N]
.L\fn\()_rest\rows:
        ands    r7, r5, #3
        beq     .L\fn\()_sum\rows
    .if \kind == ROWS && \rows == 2
        ldr     r4, [sp, #F_ES]
        add     r4, r4, r2
    .endif
        ONE     \kind, \rows, 0
        subs    r7, r7, #1
        beq     .L\fn\()_sum\rows
        ONE     \kind, \rows, 1
        subs    r7, r7, #1
        beq     .L\fn\()_sum\rows
        ONE     \kind, \rows, 0
.L\fn\()_sum\rows:
        ldr     r4, [sp, #F_SUM]
    .if \kind == PANELS
        uxth    r5, r12
        add     r12, r5, r12, lsr #16
      .if \rows == 2
        uxth    r5, lr
        add     lr, r5, lr, lsr #16
      .endif
    .endif
        str     r12, [r4]
    .if \rows == 2
        str     lr, [r4, #4]
    .endif
.endm

.macro PROBS name, fn, kind
        TLF_FUNCTION \name
        push    {r4-r11, lr}
        sub     sp, sp, #F_SIZE
        bl      probs_begin_small
        ldr     r2, [sp, #F_M]
        cmp     r2, #2
        blt.w   .L\fn\()_single
.L\fn\()_group:
        mov     r10, #2
        bl      probs_scores_small
        TABLE   \fn, \kind, 2
        adds    r4, r4, #8
        str     r4, [sp, #F_SUM]
        ldr     r1, [sp, #F_E]
        ldr     r0, [sp, #F_ES]
        ldr     r2, [sp, #F_M]
    .if \kind == PANELS
        add     r1, r1, r0
    .else
        add     r1, r1, r0, lsl #1
    .endif
        str     r1, [sp, #F_E]
        subs    r2, r2, #2
        str     r2, [sp, #F_M]
        cmp     r2, #2
        bge.w   .L\fn\()_group
.L\fn\()_single:
        cmp     r2, #0
        beq.w   .L\fn\()_leave
        mov     r10, #1
        bl      probs_scores_small
        TABLE   \fn, \kind, 1
.L\fn\()_leave:
        add     sp, sp, #F_SIZE
        pop     {r4-r11, pc}
        TLF_END \name
.endm

        PROBS   tlf_probs_rows_small, probs_rows, ROWS
        PROBS   tlf_probs_panels_small, probs_panels, PANELS
