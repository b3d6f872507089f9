// tlf_linear_{rows,keys,values,add}_smlad4x2 (contract: tileformer.h).

#include "gemm_smlad.inc"
#include "unpack_smlad.inc"

        UNPACK4 linear_unpack4_smlad4x2, s, ldrsb
        UNPACK  linear_unpack_smlad4x2, s, ldrsb

// r0 = args: fill the frame. Clobbers r0..r12.
//
// Requantisation comes in two forms. The general one is the contract: asr, mla, asr, ssat. Where there is no pre-shift,
// the rounding constant is one half plus a whole offset, and all multipliers are below 2^(shift-1), the same value is
// the rounded high word of acc * (mult << (32 - shift)) plus the offset: SMMLAR does it in one instruction. F_T selects.
// r11: least shift for which the second form may be used; r12: added to its offset.
        TLF_LOCAL linear_begin_smlad4x2
        ldmia   r0!, {r1-r7}
        stmia   sp, {r1-r7}
        ldmia   r0, {r3-r9}                 // k, x_stride, w_stride, y_stride, round, preshift, shift
        add     r10, sp, #F_K
        stmia   r10, {r3-r9}
        add     r3, r3, #1
        lsr     r3, r3, #1
        str     r3, [sp, #F_NP]
        lsl     r3, r3, #2
        add     r2, r2, r3                  // end of the first column pair
        sub     r3, r5, r3
        str     r3, [sp, #F_WD]
        ldr     r4, [sp, #F_N]
        asr     r3, r4, #1
        sub     r3, r3, #1
        mla     r2, r3, r5, r2
        str     r2, [sp, #F_WEND0]
        movs    r3, #0
        str     r3, [sp, #F_T]
        ldr     r1, [sp, #F_M]
        cmp     r1, #4                      // too few rows to pay for a look at every multiplier
        blt     9f
        cmp     r9, r11
        blt     9f
        cmp     r8, #0
        bne     9f
        rsb     r2, r9, #32
        lsl     r5, r7, r2
        cmp     r5, #0x80000000
        bne     9f
        movs    r6, #0
        ldr     r10, [sp, #F_CHAN0]
        add     r10, r10, #4
1:      ldr     r5, [r10], #8
        orr     r6, r6, r5
        subs    r4, r4, #1
        bne     1b
        sub     r1, r9, #1
        lsrs    r6, r6, r1
        bne     9f
        asr     r5, r7, r9
        add     r5, r5, r12
        str     r5, [sp, #F_OFF]
        str     r2, [sp, #F_T]
9:      bx      lr
        TLF_END linear_begin_smlad4x2

// State at the first tile of a group: r0 channel record - 4, r1 column pair. The flags tell whether n > 1.
        TLF_LOCAL linear_group_smlad4x2
        ldr     r0, [sp, #F_CHAN0]
        ldr     r1, [sp, #F_W]
        ldr     r2, [sp, #F_Y0]
        ldr     r3, [sp, #F_WEND0]
        ldr     r12, [sp, #F_N]
        subs    r0, r0, #4
        str     r0, [sp, #F_CHAN]
        str     r2, [sp, #F_Y]
        str     r3, [sp, #F_WEND]
        and     r2, r12, #1
        str     r2, [sp, #F_ODD]
        cmp     r12, #1
        bx      lr
        TLF_END linear_group_smlad4x2

// acc = requant(acc) without the saturation to 8 bits (general form). r0 next channel record, r12 lr multipliers.
.macro REQUANT_GENERAL rows
        ldr     r2, [sp, #F_PRE]
        ldr     r3, [sp, #F_ROUND]
        .irp    acc, 4,5,6,7,8,9,10,11
    .if \acc < 4 + 2 * \rows
        asr     r\acc, r\acc, r2
    .endif
        .endr
        ldr     r2, [sp, #F_SHIFT]
        .irp    acc, 4,6,8,10
    .if \acc < 4 + 2 * \rows
        mla     r\acc, r\acc, r12, r3
        asr     r\acc, r\acc, r2
    .endif
        .endr
        .irp    acc, 5,7,9,11
    .if \acc < 4 + 2 * \rows
        mla     r\acc, r\acc, lr, r3
        asr     r\acc, r\acc, r2
    .endif
        .endr
.endm

.macro REQUANT_HIGH rows
        lsl     r12, r12, r3
        lsl     lr, lr, r3
        .irp    acc, 4,6,8,10
    .if \acc < 4 + 2 * \rows
        smmlar  r\acc, r\acc, r12, r2
    .endif
        .endr
        .irp    acc, 5,7,9,11
    .if \acc < 4 + 2 * \rows
        smmlar  r\acc, r\acc, lr, r2
    .endif
        .endr
.endm

// One word of pairs from four bytes: PACK_HIGH from unsaturated outputs that carry an offset of 128.
.macro PACK_HIGH b0, b1, b2, b3
        pkhbt   \b0, \b0, \b2, lsl #16
        pkhbt   \b1, \b1, \b3, lsl #16
        usat16  \b0, #8, \b0
        usat16  \b1, #8, \b1
        orr     \b0, \b0, \b1, lsl #8
        eor     \b0, \b0, #0x80808080
.endm

.macro PACK b0, b1, b2, b3
        bfi     \b0, \b1, #8, #8
        bfi     \b0, \b2, #16, #8
        bfi     \b0, \b3, #24, #8
.endm

// The words of rows 0 1 in r4 and of rows 2 3 in r8; a missing row is zero. Keys: [r0c0 r1c0 r0c1 r1c1], values:
// [r0c0 r0c1 r1c0 r1c1].
.macro PACK_WORDS kind, rows, pack
    .if \rows == 1
        uxtb    r4, r4
        bfi     r4, r5, #24 - 8 * \kind, #8
    .elseif \kind == 1
        \pack   r4, r6, r5, r7
    .else
        \pack   r4, r5, r6, r7
    .endif
    .if \rows == 3
        uxtb    r8, r8
        bfi     r8, r9, #24 - 8 * \kind, #8
    .elseif \rows == 4 && \kind == 1
        \pack   r8, r10, r9, r11
    .elseif \rows == 4
        \pack   r8, r9, r10, r11
    .endif
.endm

// r4..r11 are the outputs (rows: saturated, keys and values: words in r4, r8, add: int32). r0 is kept.
.macro STORE kind, rows
    .if \kind == 0
        STORE_BYTES \rows
    .elseif \kind == 1
        ldr     r2, [sp, #F_Y]
      .if \rows > 2
        ldr     r3, [sp, #F_YS]
        add     r3, r2, r3
      .endif
        str     r4, [r2], #4
      .if \rows > 2
        str     r8, [r3]
      .endif
    .elseif \kind == 2
        ldr     r2, [sp, #F_Y]
        ldr     r3, [sp, #F_YS]
      .if \rows > 2
        str     r8, [r2, #4]
      .endif
        str     r4, [r2]
        add     r2, r2, r3
    .else
        ROW_POINTERS \rows, r3
      .if \rows > 3
        str     r10, [r3]
        str     r11, [r3, #4]
      .endif
      .if \rows > 2
        str     r8, [lr]
        str     r9, [lr, #4]
      .endif
      .if \rows > 1
        str     r6, [r12]
        str     r7, [r12, #4]
      .endif
        str     r5, [r2, #4]
        str     r4, [r2], #8
    .endif
        str     r2, [sp, #F_Y]
.endm

// Start of a tile. Requantising kinds: r0 channel record - 4, biases into the accumulators of the last row.
.macro TILE_BEGIN fn, kind, rows
    .if \kind == 3
        ROW_POINTERS \rows, r0
        ldr     r4, [r2]
        ldr     r5, [r2, #4]
      .if \rows > 1
        ldr     r6, [r12]
        ldr     r7, [r12, #4]
      .endif
      .if \rows > 2
        ldr     r8, [lr]
        ldr     r9, [lr, #4]
      .endif
      .if \rows > 3
        ldr     r10, [r0]
        ldr     r11, [r0, #4]
      .endif
    .elseif \rows == 4
        ldr     r10, [r0, #4]
        ldr     r11, [r0, #12]
    .elseif \rows == 3
        ldr     r8, [r0, #4]
        ldr     r9, [r0, #12]
    .elseif \rows == 2
        ldr     r6, [r0, #4]
        ldr     r7, [r0, #12]
    .else
        ldr     r4, [r0, #4]
        ldr     r5, [r0, #12]
    .endif
    .if \rows < 4
        ldr     r11, [sp, #F_LIMIT]
    .endif
        ldr     r0, [sp, #F_A]
.endm

// Groups of \rows rows: all of them at 4 rows, one otherwise.
.macro LINEAR_GROUPS fn, kind, rows, block
        TLF_DEPTH_SETUP \fn, \rows, \block
.L\fn\()_group\rows:
        ldr     r0, [sp, #F_A]
        ldr     r1, [sp, #F_X]
        ldr     r2, [sp, #F_XS]
        ldr     r3, [sp, #F_K]
    .if \rows == 4
        bl      linear_unpack4_smlad4x2
    .else
        mov     r10, #\rows
        bl      linear_unpack_smlad4x2
    .endif
        bl      linear_group_smlad4x2
    .if \kind == 0 || \kind == 3
        beq     .L\fn\()_odd\rows
    .endif
.L\fn\()_tile\rows:
        TILE_BEGIN \fn, \kind, \rows
    .if \kind == 3
        TLF_DEPTH \fn, \rows, 0
    .else
        TLF_DEPTH \fn, \rows, 2
        ldr     r0, [sp, #F_CHAN]
      .if \rows == 4
        ldr     r2, [sp, #F_OFF]
        ldr     r3, [sp, #F_T]
      .endif
        ldr     r12, [r0, #8]!
        ldr     lr, [r0, #8]!
        str     r0, [sp, #F_CHAN]
      .if \rows == 4
        cmp     r3, #0
        beq     .L\fn\()_general
        REQUANT_HIGH 4
        .if \kind == 0
        SATURATE 4
        .else
        PACK_WORDS \kind, 4, PACK_HIGH
        .endif
.L\fn\()_store:
      .else
        REQUANT_GENERAL \rows
        SATURATE \rows
        .if \kind != 0
        PACK_WORDS \kind, \rows, PACK
        .endif
      .endif
    .endif
        STORE   \kind, \rows
        ldr     r3, [sp, #F_WD]
        ldr     r12, [sp, #F_WEND]
        cmp     r1, r12
        add     r1, r1, r3
        bne     .L\fn\()_tile\rows
    .if \kind == 0 || \kind == 3
        ldr     r2, [sp, #F_ODD]
        subs    r2, r2, #1
        blo     .L\fn\()_next\rows
        bne     .L\fn\()_odd_end\rows
.L\fn\()_odd\rows:
      .if \kind == 0
        ldrd    r2, r3, [r0, #4]            // the record behind the last one is not ours to read
        add     r0, sp, #F_TMP + 16
        strd    r2, r3, [r0]
        strd    r2, r3, [r0, #8]
        subs    r0, r0, #4
        str     r0, [sp, #F_CHAN]
      .endif
        ODD_BEGIN \rows, \kind
        b       .L\fn\()_tile\rows
.L\fn\()_odd_end\rows:
        ODD_END \rows, \kind
    .endif
.L\fn\()_next\rows:
    .if \rows == 4
        ldr     r0, [sp, #F_X]
        ldr     r1, [sp, #F_XS]
        ldr     r2, [sp, #F_Y0]
        ldr     r3, [sp, #F_YS]
        ldr     r12, [sp, #F_M]
        add     r0, r0, r1, lsl #2
      .if \kind == 1
        add     r2, r2, r3, lsl #1
      .elseif \kind == 2
        adds    r2, r2, #8
      .else
        add     r2, r2, r3, lsl #2
      .endif
        str     r0, [sp, #F_X]
        str     r2, [sp, #F_Y0]
        sub     r12, r12, #4
        str     r12, [sp, #F_M]
        cmp     r12, #4
        bge     .L\fn\()_group4
    .else
        b       .L\fn\()_leave
    .endif
.endm

// kind 0: rows, 1: keys, 2: values, 3: add
.macro LINEAR name, fn, kind, least_shift, bias
        TLF_FUNCTION \name
        TLF_ENTER
        mov     r11, #\least_shift
        mov     r12, #\bias
        bl      linear_begin_smlad4x2
        ldr     r0, [sp, #F_M]
        cmp     r0, #4
        blt     .L\fn\()_tail
        LINEAR_GROUPS \fn, \kind, 4, 60
        mov     r0, r12
.L\fn\()_tail:
        cmp     r0, #2
        beq     .L\fn\()_two
        bgt     .L\fn\()_three
        cmp     r0, #0
        beq     .L\fn\()_leave
        LINEAR_GROUPS \fn, \kind, 1, 24
.L\fn\()_two:
        LINEAR_GROUPS \fn, \kind, 2, 36
.L\fn\()_three:
        LINEAR_GROUPS \fn, \kind, 3, 48
.L\fn\()_leave:
        TLF_LEAVE
    .if \kind != 3
.L\fn\()_general:
        REQUANT_GENERAL 4
        SATURATE 4
      .if \kind != 0
        PACK_WORDS \kind, 4, PACK
      .endif
        b       .L\fn\()_store
    .endif
        TLF_END \name
.endm

// The least shift of the high-word form: its packed outputs must fit 16 bits before they are saturated.
        LINEAR  tlf_linear_rows_smlad4x2, linear_rows, 0, 1, 0
        LINEAR  tlf_linear_keys_smlad4x2, linear_keys, 1, 17, 128
        LINEAR  tlf_linear_values_smlad4x2, linear_values, 2, 17, 128
        LINEAR  tlf_linear_add_smlad4x2, linear_add, 3, 64, 0
