// tlf_attend_{rows,add}{,_panels}_smlad4x2 (contract: tileformer.h). The panel variants share the code of the others.

#include "gemm_smlad.inc"
#include "unpack_smlad.inc"

        UNPACK4 attend_unpack4_smlad4x2, u, ldrb
        UNPACK  attend_unpack_smlad4x2, u, ldrb

// r0 = args, r12 = e is panels: fill the frame. Clobbers r0..r11.
        TLF_LOCAL attend_begin_smlad4x2
        ldmia   r0!, {r1-r4}                // e, values, sum, scale
        stmia   sp, {r1-r3}
        ldr     r4, [r4]
        str     r4, [sp, #F_SCALE]
        str     r12, [sp, #F_PANEL]
        mov     r12, r2
        ldmia   r0, {r1-r11}                // y, scratch, m, n, k, e_stride, values_stride, y_stride, round, ...
        add     r0, sp, #F_Y0
        stmia   r0, {r1-r11}
        ldr     r0, [sp, #F_PANEL]
        cbz     r0, 1f
        ldr     r0, [sp, #F_X]
        str     r0, [sp, #F_A]
1:      add     r5, r5, #1
        lsr     r5, r5, #1
        str     r5, [sp, #F_NP]
        lsl     r5, r5, #2
        add     r12, r12, r5                // end of the first column pair
        sub     r5, r7, r5
        str     r5, [sp, #F_WD]
        asr     r3, r4, #1
        sub     r3, r3, #1
        mla     r3, r3, r7, r12
        str     r3, [sp, #F_WEND0]
        mov     r1, #1
        lsl     r1, r1, r10
        lsr     r1, r1, #1
        str     r1, [sp, #F_HALF]
        movs    r2, #0                      // see linear_smlad4x2.S for the two forms of requantisation
        cmp     r11, #1
        blt     2f
        rsb     r1, r11, #32
        lsl     r3, r9, r1
        cmp     r3, #0x80000000
        bne     2f
        asr     r9, r9, r11
        str     r9, [sp, #F_OFF]
        mov     r2, r1
2:      str     r2, [sp, #F_T0]
        bx      lr
        TLF_END attend_begin_smlad4x2

// r10 rows: the panel and the factors of a group, and the state of its first tile: r1 column pair. The flags tell
// whether n > 1.
        TLF_LOCAL attend_group_smlad4x2
        str     lr, [sp, #F_LR]
        str     r10, [sp, #F_ROWS]
        ldr     r0, [sp, #F_PANEL]
        cbnz    r0, 2f
        ldr     r0, [sp, #F_A]
        ldr     r1, [sp, #F_X]
        ldr     r2, [sp, #F_XS]
        ldr     r3, [sp, #F_K]
        cmp     r10, #4
        bne     1f
        bl      attend_unpack4_smlad4x2
        b       2f
1:      bl      attend_unpack_smlad4x2
2:      ldr     r10, [sp, #F_ROWS]
        ldr     r0, [sp, #F_CHAN0]
        ldr     r1, [sp, #F_SCALE]
        add     r2, sp, #F_F
        movs    r5, #0
3:      ldr     r3, [r0], #4
        add     r4, r1, r3, asr #1
        udiv    r4, r4, r3
        orr     r5, r5, r4
        str     r4, [r2], #4
        subs    r10, r10, #1
        bne     3b
        str     r0, [sp, #F_CHAN0]
        movs    r0, #0
        ldr     r1, [sp, #F_T0]
        cbz     r1, 4f
        ldr     r2, [sp, #F_SHIFT]
        subs    r2, r2, #1
        lsr     r2, r5, r2
        cbnz    r2, 4f
        mov     r0, r1
        add     r2, sp, #F_F
        ldmia   r2, {r4-r7}
        lsl     r4, r4, r1
        lsl     r5, r5, r1
        lsl     r6, r6, r1
        lsl     r7, r7, r1
        add     r2, sp, #F_FP
        stmia   r2, {r4-r7}
4:      str     r0, [sp, #F_T]
        cbz     r0, 5f
        ldr     r1, [sp, #F_PRE]
        movs    r0, #0
        cbnz    r1, 5f
        mov     r0, r4
5:      str     r0, [sp, #F_F0]
        ldr     r1, [sp, #F_W]
        ldr     r2, [sp, #F_Y0]
        ldr     r3, [sp, #F_WEND0]
        ldr     r12, [sp, #F_N]
        str     r2, [sp, #F_Y]
        str     r3, [sp, #F_WEND]
        and     r2, r12, #1
        str     r2, [sp, #F_ODD]
        cmp     r12, #1
        ldr     pc, [sp, #F_LR]
        TLF_END attend_group_smlad4x2

// acc = acc >> preshift
.macro PRESHIFT rows
        .irp    acc, 4,5,6,7,8,9,10,11
    .if \acc < 4 + 2 * \rows
        asr     r\acc, r\acc, r2
    .endif
        .endr
.endm

// rows: acc = ((acc >> preshift) * factor + round) >> shift
.macro REQUANT_GENERAL rows
        ldr     r2, [sp, #F_PRE]
        PRESHIFT \rows
        ldr     r2, [sp, #F_F]
        ldr     r3, [sp, #F_F + 4]
        ldr     r12, [sp, #F_F + 8]
        ldr     lr, [sp, #F_F + 12]
        ldr     r0, [sp, #F_ROUND]
        mla     r4, r4, r2, r0
        mla     r5, r5, r2, r0
    .if \rows > 1
        mla     r6, r6, r3, r0
        mla     r7, r7, r3, r0
    .endif
    .if \rows > 2
        mla     r8, r8, r12, r0
        mla     r9, r9, r12, r0
    .endif
    .if \rows > 3
        mla     r10, r10, lr, r0
        mla     r11, r11, lr, r0
    .endif
        ldr     r2, [sp, #F_SHIFT]
        PRESHIFT \rows
.endm

// add: row \row of the int32 output += acc * factor. r0 its address, r3 the stride.
.macro ADD_ROW row, first, second
        ldr     r2, [sp, #F_F + 4 * \row]
        ldr     r12, [r0]
        ldr     lr, [r0, #4]
        mla     r12, \first, r2, r12
        mla     lr, \second, r2, lr
        str     r12, [r0]
        str     lr, [r0, #4]
.endm

.macro ATTEND_GROUPS fn, kind, rows, block
        TLF_DEPTH_SETUP \fn, \rows, \block
.L\fn\()_group\rows:
        mov     r10, #\rows
        bl      attend_group_smlad4x2
        beq     .L\fn\()_odd\rows
.L\fn\()_tile\rows:
    .if \rows == 4
        ldr     r10, [sp, #F_HALF]
        ldr     r11, [sp, #F_HALF]
    .elseif \rows == 3
        ldr     r8, [sp, #F_HALF]
        ldr     r9, [sp, #F_HALF]
    .elseif \rows == 2
        ldr     r6, [sp, #F_HALF]
        ldr     r7, [sp, #F_HALF]
    .else
        ldr     r4, [sp, #F_HALF]
        ldr     r5, [sp, #F_HALF]
    .endif
    .if \rows < 4
        ldr     r11, [sp, #F_LIMIT]
    .endif
        ldr     r0, [sp, #F_A]
        TLF_DEPTH \fn, \rows, 2
    .if \kind == 0
      .if \rows == 4
        ldr     r0, [sp, #F_F0]
        ldr     r2, [sp, #F_FP + 4]
        ldr     r3, [sp, #F_FP + 8]
        ldr     r12, [sp, #F_FP + 12]
        ldr     lr, [sp, #F_OFF]
        cmp     r0, #0
        beq     .L\fn\()_other
.L\fn\()_high:
        smmlar  r4, r4, r0, lr
        smmlar  r5, r5, r0, lr
        smmlar  r6, r6, r2, lr
        smmlar  r7, r7, r2, lr
        smmlar  r8, r8, r3, lr
        smmlar  r9, r9, r3, lr
        smmlar  r10, r10, r12, lr
        smmlar  r11, r11, r12, lr
.L\fn\()_store:
      .else
        REQUANT_GENERAL \rows
      .endif
        SATURATE \rows
        STORE_BYTES \rows
        str     r2, [sp, #F_Y]
    .else
        ldr     r0, [sp, #F_Y]
        ldr     r3, [sp, #F_YS]
        ldr     r2, [sp, #F_PRE]
        add     r12, r0, #8
        str     r12, [sp, #F_Y]
        PRESHIFT \rows
        ADD_ROW 0, r4, r5
      .if \rows > 1
        add     r0, r0, r3
        ADD_ROW 1, r6, r7
      .endif
      .if \rows > 2
        add     r0, r0, r3
        ADD_ROW 2, r8, r9
      .endif
      .if \rows > 3
        add     r0, r0, r3
        ADD_ROW 3, r10, r11
      .endif
    .endif
        ldr     r3, [sp, #F_WD]
        ldr     r12, [sp, #F_WEND]
        cmp     r1, r12
        add     r1, r1, r3
        bne     .L\fn\()_tile\rows
        ldr     r2, [sp, #F_ODD]
        subs    r2, r2, #1
        blo     .L\fn\()_next\rows
        bne     .L\fn\()_odd_end\rows
.L\fn\()_odd\rows:
        ODD_BEGIN \rows, \kind
        b       .L\fn\()_tile\rows
.L\fn\()_odd_end\rows:
        ODD_END \rows, \kind
.L\fn\()_next\rows:
    .if \rows == 4
        ldr     r2, [sp, #F_Y0]
        ldr     r3, [sp, #F_YS]
        ldr     r12, [sp, #F_M]
        ldr     r0, [sp, #F_PANEL]
        add     r2, r2, r3, lsl #2
        str     r2, [sp, #F_Y0]
        cbz     r0, .L\fn\()_next_rows
        ldr     r3, [sp, #F_NP]
        ldr     r0, [sp, #F_A]
        ldr     r1, [sp, #F_LIMIT]
        add     r0, r0, r3, lsl #4
        add     r1, r1, r3, lsl #4
        str     r0, [sp, #F_A]
        str     r1, [sp, #F_LIMIT]
        b       .L\fn\()_next_group
.L\fn\()_next_rows:
        ldr     r0, [sp, #F_X]
        ldr     r1, [sp, #F_XS]
        add     r0, r0, r1, lsl #2
        str     r0, [sp, #F_X]
.L\fn\()_next_group:
        sub     r12, r12, #4
        str     r12, [sp, #F_M]
        cmp     r12, #4
        bge     .L\fn\()_group4
    .else
        b       .L\fn\()_leave
    .endif
.endm

// kind 0: rows, 3: add
.macro ATTEND name, panels, fn, kind
        TLF_FUNCTION \name
        TLF_ENTER
        mov     r12, #0
        b       .L\fn\()_begin
        .balign 4
        .global \panels
        .type   \panels, %function
        .thumb_func
\panels:
        TLF_ENTER
        mov     r12, #1
.L\fn\()_begin:
        bl      attend_begin_smlad4x2
        ldr     r12, [sp, #F_M]
        cmp     r12, #4
        blt     .L\fn\()_tail
        ATTEND_GROUPS \fn, \kind, 4, 60
.L\fn\()_tail:
        cmp     r12, #2
        beq     .L\fn\()_two
        bgt     .L\fn\()_three
        cmp     r12, #0
        beq     .L\fn\()_leave
        ATTEND_GROUPS \fn, \kind, 1, 24
.L\fn\()_two:
        ATTEND_GROUPS \fn, \kind, 2, 36
.L\fn\()_three:
        ATTEND_GROUPS \fn, \kind, 3, 48
.L\fn\()_leave:
        TLF_LEAVE
    .if \kind == 0
.L\fn\()_other:
        ldr     r2, [sp, #F_T]
        cbz     r2, .L\fn\()_general
        ldr     r2, [sp, #F_PRE]
        PRESHIFT 4
        ldr     r0, [sp, #F_FP]
        ldr     r2, [sp, #F_FP + 4]
        b       .L\fn\()_high
.L\fn\()_general:
        REQUANT_GENERAL 4
        b       .L\fn\()_store
    .endif
        TLF_END \panels
        TLF_END \name
.endm

        ATTEND tlf_attend_rows_smlad4x2, tlf_attend_rows_panels_smlad4x2, attend_rows, 0
        ATTEND tlf_attend_add_smlad4x2, tlf_attend_add_panels_smlad4x2, attend_add, 3
