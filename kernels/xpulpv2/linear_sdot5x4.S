/* linear on XpulpV2. Contract: tileformer.h. Reads rows and `blocks`; channel records.
 *
 * Tiles of 5, 4 or 1 rows by 4 columns. Columns come as blocks: every word is the next one, whatever the tile. So one pointer
 * walks over all weights of a group of rows, no depth needs a mask, and a pair or a single column left over is a tile like
 * any other whose result is cut.
 *
 * 5 rows have 20 sums in registers. What is left holds 4 words of columns, 2 of rows and the two pointers, none of it a
 * stride: these rows are copied to the scratch first, word beside word. Taken where it saves a single row of its own
 * (5 is 4 + 1) and there is more than one tile to share the copy: 29 instructions for 20 dot products.
 *
 * One body serves rows, keys, values and residual: they part where the results are stored.
 */
#include "xpulp.inc"

/* While products accumulate: sums in s0..s11, t3..t6, a row of 4 after the other; those of row 4 in a2 a3 t2 ra. */
#define X a0
#define W a1
#define X_STEP a2 /* 4 rows */
#define X_BACK a3
#define Z0 a4 /* words of rows in a tile of 4, of columns in the others */
#define Z1 a5
#define Z2 a6
#define Z3 a7
#define V0 t0 /* the other side */
#define V1 t1

/* The frame */
#define AT_SAVED 0
#define AT_X 52 /* the group's first row */
#define AT_X_STEP 56
#define AT_PANEL 60
#define AT_TURNS 64 /* words of the depth */
#define AT_W_FIRST 68
#define AT_W_SKIP 72 /* from the end of a tile's columns to the next */
#define AT_FOURS 76 /* columns, by 4 and left over */
#define AT_REST 80 /* below 0 while that tile runs */
#define AT_Y 84 /* of the tile */
#define AT_Y_STEP 88
#define AT_Y_ROW 96 /* of the group */
#define AT_Y_ROW_STEP 100 /* from a row to the next */
#define AT_Y_REST 104 /* of the columns left over, and the step that is put away */
#define AT_Y_KEEP 108
#define AT_GROUPS4 112 /* still to do */
#define AT_GROUPS5 116
#define AT_GROUPS1 120
#define AT_KIND 124 /* 0: rows, keys; 1: values; 2: residual */
#define AT_CHANNEL 128 /* of the tile */
#define AT_CHANNEL_FIRST 132
#define AT_ROUND 136
#define AT_PRE 140
#define AT_SHIFT 144
#define AT_LEAST 148 /* -128 or -127, four times */
#define AT_R 152
#define AT_R_STEP 156
#define AT_R_ROW 160
#define AT_MULT_Y 164
#define AT_MULT_R 168
#define AT_ADD_ROUND 172
#define AT_ADD_SHIFT 176
#define AT_BUFFER 180 /* the tile of the columns left over: 5 rows of 4 words */
#define FRAME 272

.macro saved what
    \what ra, AT_SAVED(sp)
    \what s0, (AT_SAVED + 4)(sp)
    \what s1, (AT_SAVED + 8)(sp)
    \what s2, (AT_SAVED + 12)(sp)
    \what s3, (AT_SAVED + 16)(sp)
    \what s4, (AT_SAVED + 20)(sp)
    \what s5, (AT_SAVED + 24)(sp)
    \what s6, (AT_SAVED + 28)(sp)
    \what s7, (AT_SAVED + 32)(sp)
    \what s8, (AT_SAVED + 36)(sp)
    \what s9, (AT_SAVED + 40)(sp)
    \what s10, (AT_SAVED + 44)(sp)
    \what s11, (AT_SAVED + 48)(sp)
.endm

/* Two words of the record at a0 to the frame. */
.macro copy from, to, from2, to2
    lw t5, \from(a0)
    lw t6, \from2(a0)
    sw t5, \to(sp)
    sw t6, \to2(sp)
.endm

/* `what` on the sums of each row of a tile. */
.macro each_row rows, what
    \what s0, s1, s2, s3
    .if \rows > 1
    \what s4, s5, s6, s7
    \what s8, s9, s10, s11
    \what t3, t4, t5, t6
    .endif
    .if \rows > 4
    \what a2, a3, t2, ra
    .endif
.endm

/* `what` on the sums of each column. */
.macro each_column rows, what
    .if \rows > 4
    \what 0, s0, s4, s8, t3, a2
    \what 1, s1, s5, s9, t4, a3
    \what 2, s2, s6, s10, t5, t2
    \what 3, s3, s7, s11, t6, ra
    .elseif \rows > 1
    \what 0, s0, s4, s8, t3
    \what 1, s1, s5, s9, t4
    \what 2, s2, s6, s10, t5
    \what 3, s3, s7, s11, t6
    .else
    \what 0, s0
    \what 1, s1
    \what 2, s2
    \what 3, s3
    .endif
.endm

.macro dots_row a, b, c, d, x
    pv.sdotsp.b \a, \x, Z0
    pv.sdotsp.b \b, \x, Z1
    pv.sdotsp.b \c, \x, Z2
    pv.sdotsp.b \d, \x, Z3
.endm

.macro dots_column w, a, b, c, d
    pv.sdotsp.b \a, Z0, \w
    pv.sdotsp.b \b, Z1, \w
    pv.sdotsp.b \c, Z2, \w
    pv.sdotsp.b \d, Z3, \w
.endm

/* All of the depth: 4 a turn. No load is used by the next instruction. The words of the columns go in and out in order. */
.macro products name, rows
    lw t0, AT_TURNS(sp)
    .balign 4
    .option push
    .option norvc
    hw_loop 0, .L\name\()_turn_\rows
    .if \rows == 5
    p.lw Z0, 4, W
    p.lw Z1, 4, W
    p.lw Z2, 4, W
    p.lw Z3, 4, W
    p.lw V0, 4, X
    p.lw V1, 4, X
    dots_row s0, s1, s2, s3, V0
    p.lw V0, 4, X
    dots_row s4, s5, s6, s7, V1
    p.lw V1, 4, X
    dots_row s8, s9, s10, s11, V0
    p.lw V0, 4, X
    dots_row t3, t4, t5, t6, V1
    pv.sdotsp.b a2, V0, Z0
    pv.sdotsp.b a3, V0, Z1
    pv.sdotsp.b t2, V0, Z2
.L\name\()_turn_\rows:
    pv.sdotsp.b ra, V0, Z3
    .elseif \rows == 4
    p.lwr Z0, X_STEP, X
    p.lwr Z1, X_STEP, X
    p.lwr Z2, X_STEP, X
    p.lw V0, 4, W
    p.lwr Z3, X_BACK, X
    p.lw V1, 4, W
    dots_column V0, s0, s4, s8, t3
    p.lw V0, 4, W
    dots_column V1, s1, s5, s9, t4
    p.lw V1, 4, W
    dots_column V0, s2, s6, s10, t5
    pv.sdotsp.b s3, Z0, V1
    pv.sdotsp.b s7, Z1, V1
    pv.sdotsp.b s11, Z2, V1
.L\name\()_turn_\rows:
    pv.sdotsp.b t6, Z3, V1
    .else
    p.lw V0, 4, X
    p.lw Z0, 4, W
    p.lw Z1, 4, W
    p.lw Z2, 4, W
    p.lw Z3, 4, W
    pv.sdotsp.b s0, V0, Z0
    pv.sdotsp.b s1, V0, Z1
    pv.sdotsp.b s2, V0, Z2
.L\name\()_turn_\rows:
    pv.sdotsp.b s3, V0, Z3
    .endif
    .option pop
.endm

.macro first_word rows
    .if \rows == 5
    lw X, AT_PANEL(sp)
    .else
    lw X, AT_X(sp)
    .endif
.endm

/* ---- requantised results -----------------------------------------------------------------------------------------------*/

.macro same a, b, c, d
    .ifnc \a, s0
    mv \a, s0
    mv \b, s1
    mv \c, s2
    mv \d, s3
    .endif
.endm

.macro shift_row a, b, c, d
    sra \a, \a, t0
    sra \b, \b, t0
    sra \c, \c, t0
    sra \d, \d, t0
.endm

/* sum = clip8((sum * multiplier + round) >> shift); the multipliers in Z0 .. Z3. */
.macro scale_row a, b, c, d
    mul \a, \a, Z0
    mul \b, \b, Z1
    mul \c, \c, Z2
    mul \d, \d, Z3
    p.addNr \a, t1, a0
    p.addNr \b, t1, a0
    p.addNr \c, t1, a0
    p.addNr \d, t1, a0
    p.clip8 \a
    p.clip8 \b
    p.clip8 \c
    p.clip8 \d
.endm

/* t0: y, t1: its step, a0: the least value four times */
.macro store_row a, b, c, d
    pack4 \a, \a, \b, \c, \d
    pv.max.b \a, \a, a0
    p.swr \a, t1, t0
.endm

.macro store_column column, a, b, c, d, e
    .ifb \b
    p.max \a, \a, a0
    sb \a, 0(t0)
    add t0, t0, t1
    .else
    pack4 \a, \a, \b, \c, \d
    pv.max.b \a, \a, a0
    .ifnb \e
    p.max \e, \e, a4
    sb \e, 4(t0)
    .endif
    p.swr \a, t1, t0
    .endif
.endm

/* a0: r, a4 a5: multipliers of v and r, a6: round, a7: shift */
.macro add_one sum, at
    lb t0, \at(a0)
    mv t1, a6
    p.mac t1, \sum, a4
    p.mac t1, t0, a5
    sra \sum, t1, a7
    p.clip8 \sum
.endm

.macro add_row a, b, c, d
    add_one \a, 0
    add_one \b, 1
    add_one \c, 2
    add_one \d, 3
    lw t0, AT_R_STEP(sp)
    add a0, a0, t0
.endm

/* A tile of 4 columns. */
.macro requant_tile rows
    lw t0, AT_CHANNEL(sp)
    first_word \rows
    lw s0, 0(t0)
    lw s1, 8(t0)
    lw s2, 16(t0)
    lw s3, 24(t0)
    each_row \rows, same
    products requant, \rows
    lw a0, AT_CHANNEL(sp)
    lw t0, AT_PRE(sp)
    lw Z0, 4(a0)
    lw Z1, 12(a0)
    lw Z2, 20(a0)
    lw Z3, 28(a0)
    addi a0, a0, 32
    sw a0, AT_CHANNEL(sp)
    bnez t0, .Lshift_\rows
.Lshifted_\rows:
    lw t1, AT_ROUND(sp)
    lw a0, AT_SHIFT(sp)
    each_row \rows, scale_row
    lw t0, AT_KIND(sp)
    lw a5, AT_W_SKIP(sp)
    lw a0, AT_LEAST(sp)
    add W, W, a5
    bnez t0, .Lother_\rows
.Lsummed_\rows:
    lw t0, AT_Y(sp)
    lw t1, AT_Y_STEP(sp)
    addi a4, t0, 4
    sw a4, AT_Y(sp)
    each_row \rows, store_row
.Lstored_\rows:
.endm

/* What is rare or not for rows. */
.macro elsewhere rows
.Lshift_\rows:
    each_row \rows, shift_row
    j .Lshifted_\rows
.Lother_\rows:
    addi t0, t0, -1
    bnez t0, .Lresidual_\rows
    lw t0, AT_Y(sp)
    lw t1, AT_Y_STEP(sp)
    .if \rows != 4
    lb a4, AT_LEAST(sp)
    .endif
    .if \rows == 1
    mv a0, a4
    .endif
    each_column \rows, store_column
    sw t0, AT_Y(sp)
    j .Lstored_\rows
.Lresidual_\rows:
    lw a0, AT_R(sp)
    lw a4, AT_MULT_Y(sp)
    lw a5, AT_MULT_R(sp)
    addi t0, a0, 4
    lw a6, AT_ADD_ROUND(sp)
    lw a7, AT_ADD_SHIFT(sp)
    sw t0, AT_R(sp)
    each_row \rows, add_row
    lw a0, AT_LEAST(sp)
    j .Lsummed_\rows
.endm

/* ---- int32 sums ---------------------------------------------------------------------------------------------------------*/

.macro at_row what, a, b, c, d
    \what \a, 0(t0)
    \what \b, 4(t0)
    \what \c, 8(t0)
    \what \d, 12(t0)
    add t0, t0, t1
.endm

.macro load_row a, b, c, d
    at_row lw, \a, \b, \c, \d
.endm

.macro save_row a, b, c, d
    at_row sw, \a, \b, \c, \d
.endm

.macro add_tile rows
    lw t0, AT_Y(sp)
    lw t1, AT_Y_STEP(sp)
    first_word \rows
    each_row \rows, load_row
    products add, \rows
    lw t0, AT_Y(sp)
    lw t1, AT_Y_STEP(sp)
    lw a5, AT_W_SKIP(sp)
    addi a4, t0, 16
    sw a4, AT_Y(sp)
    add W, W, a5
    each_row \rows, save_row
.endm

/* ---- groups of rows -------------------------------------------------------------------------------------------------------*/

/* The frame; the record stays at a0. */
.macro begin
    addi sp, sp, -FRAME
    saved sw
    lw t0, 28(a0)
    lw a2, 36(a0)
    lw a3, 24(a0)
    lw a4, 20(a0)
    addi t0, t0, 3
    srli t0, t0, 2
    sw t0, AT_TURNS(sp)
    slli t0, t0, 4
    sub a2, a2, t0
    andi t1, a3, 3
    sw a2, AT_W_SKIP(sp)
    srli t2, a3, 2
    sw t1, AT_REST(sp)
    sw t2, AT_FOURS(sp)
    /* groups of 5 where they save single rows and more than one tile shares the copy */
    andi t0, a4, 3
    srli t1, a4, 2
    slti t2, a3, 5
    bleu t0, t1, 1f
    mv t0, t1
1:  beqz t2, 2f
    li t0, 0
2:  sw t0, AT_GROUPS5(sp)
    slli t1, t0, 2
    add t0, t0, t1
    sub a4, a4, t0
    srli t0, a4, 2
    andi t1, a4, 3
    sw t0, AT_GROUPS4(sp)
    sw t1, AT_GROUPS1(sp)
    copy 0, AT_X, 32, AT_X_STEP
    copy 4, AT_W_FIRST, 16, AT_PANEL
    copy 12, AT_Y_ROW, 40, AT_Y_STEP
.endm

.macro columns name, rows
    lw W, AT_W_FIRST(sp)
    lw t1, AT_Y_ROW(sp)
    .balign 16 /* the body begins with a cache line: 4 words from here */
    .option push
    .option norvc
    lw t0, AT_FOURS(sp)
    sw t1, AT_Y(sp)
    beqz t0, .L\name\()_end_\rows
.L\name\()_again_\rows:
    hw_loop 1, .L\name\()_end_\rows
    .option pop
    \name\()_tile \rows
    .balign 4
    .option push
    .option norvc
.L\name\()_end_\rows:
    lw t0, AT_REST(sp)
    .option pop
    bnez t0, .L\name\()_rest_\rows
.L\name\()_next_\rows:
.endm

/* From a group to the next. */
.macro next_rows rows
    lw t0, AT_X(sp)
    lw t1, AT_X_STEP(sp)
    lw t3, AT_Y_ROW(sp)
    lw t4, AT_Y_ROW_STEP(sp)
    .if \rows == 1
    add t0, t0, t1
    add t3, t3, t4
    .else
    slli t5, t1, 2
    slli t6, t4, 2
    add t0, t0, t5
    add t3, t3, t6
    .if \rows == 5
    add t0, t0, t1
    add t3, t3, t4
    .endif
    .endif
    sw t0, AT_X(sp)
    sw t3, AT_Y_ROW(sp)
.endm

/* Groups of 4 rows first, so that values of 4 tokens lie on words; of 5; single rows. `first` sets what a group begins with. */
.macro groups name, first, moved
.L\name\()_groups:
    \first
    lw t0, AT_GROUPS4(sp)
    bnez t0, .L\name\()_four
    lw t0, AT_GROUPS5(sp)
    bnez t0, .L\name\()_five
    lw t0, AT_GROUPS1(sp)
    bnez t0, .L\name\()_one
    saved lw
    addi sp, sp, FRAME
    ret
.L\name\()_five:
    addi t0, t0, -1
    lw X, AT_X(sp)
    sw t0, AT_GROUPS5(sp)
    lw a2, AT_X_STEP(sp)
    lw a4, AT_PANEL(sp)
    lw t0, AT_TURNS(sp)
    slli a3, a2, 2
    neg a3, a3
    addi a3, a3, 4
    .balign 4
    .option push
    .option norvc
    hw_loop 0, .L\name\()_panel
    p.lwr t1, a2, X
    p.lwr t2, a2, X
    p.lwr t3, a2, X
    p.lwr t4, a2, X
    p.lwr t5, a3, X
    p.sw t1, 4, a4
    p.sw t2, 4, a4
    p.sw t3, 4, a4
    p.sw t4, 4, a4
.L\name\()_panel:
    p.sw t5, 4, a4
    .option pop
    columns \name, 5
    next_rows 5
    \moved 5
    j .L\name\()_groups
.L\name\()_four:
    addi t0, t0, -1
    lw X_STEP, AT_X_STEP(sp)
    sw t0, AT_GROUPS4(sp)
    slli X_BACK, X_STEP, 2
    sub X_BACK, X_STEP, X_BACK
    addi X_BACK, X_BACK, 4
    columns \name, 4
    next_rows 4
    \moved 4
    j .L\name\()_groups
.L\name\()_one:
    addi t0, t0, -1
    sw t0, AT_GROUPS1(sp)
    columns \name, 1
    next_rows 1
    \moved 1
    j .L\name\()_groups
.endm

/* The tile of the columns left over goes to the buffer, and from there what belongs to y. */
.macro rest name, rows
.L\name\()_rest_\rows:
    bltz t0, .L\name\()_cut_\rows
    jal t6, .L\name\()_aside
    j .L\name\()_again_\rows
.L\name\()_cut_\rows:
    li t1, \rows
    jal t6, .L\name\()_cut
    j .L\name\()_next_\rows
.endm

/* t0 columns are left over; returns with one tile to do. t2: the step in the buffer. */
.macro put_aside
    neg t1, t0
    lw t3, AT_Y(sp)
    sw t1, AT_REST(sp)
    lw t4, AT_Y_STEP(sp)
    sw t3, AT_Y_REST(sp)
    sw t4, AT_Y_KEEP(sp)
    addi t3, sp, AT_BUFFER
    sw t2, AT_Y_STEP(sp)
    sw t3, AT_Y(sp)
.endm

/* a0: the buffer, t0: columns, t2: y there, t3: its step */
.macro take_back
    neg t0, t0
    lw t2, AT_Y_REST(sp)
    sw t0, AT_REST(sp)
    lw t3, AT_Y_KEEP(sp)
    addi a0, sp, AT_BUFFER
    sw t3, AT_Y_STEP(sp)
.endm

.macro first_channel
    lw t0, AT_CHANNEL_FIRST(sp)
    lw t1, AT_R_ROW(sp)
    sw t0, AT_CHANNEL(sp)
    sw t1, AT_R(sp)
.endm

.macro move_r rows
    lw t0, AT_R_ROW(sp)
    lw t1, AT_R_STEP(sp)
    li t2, \rows
    p.mac t0, t1, t2
    sw t0, AT_R_ROW(sp)
.endm

.macro nothing rows
.endm

.macro begin_requantised kind, least
    begin
    copy 8, AT_CHANNEL_FIRST, 44, AT_ROUND
    copy 48, AT_PRE, 52, AT_SHIFT
    li t0, \kind
    li t1, \least
    sw t0, AT_KIND(sp)
    sw t1, AT_LEAST(sp)
    lw t0, AT_Y_STEP(sp)
.endm

TLF_FUNCTION tlf_linear_keys_sdot5x4
    begin_requantised 0, 0x81818181
    j .Lrequant_begin
TLF_END tlf_linear_keys_sdot5x4

TLF_FUNCTION tlf_linear_values_sdot5x4
    begin_requantised 1, 0x81818181
    li t0, 1
    j .Lrequant_begin
TLF_END tlf_linear_values_sdot5x4

TLF_FUNCTION tlf_linear_residual_sdot5x4
    begin_requantised 2, 0x80808080
    copy 64, AT_R_ROW, 68, AT_R_STEP
    copy 72, AT_MULT_Y, 76, AT_MULT_R
    copy 80, AT_ADD_ROUND, 84, AT_ADD_SHIFT
    j .Lrequant_begin
TLF_END tlf_linear_residual_sdot5x4

TLF_FUNCTION tlf_linear_rows_sdot5x4
    begin_requantised 0, 0x80808080
.Lrequant_begin:
    sw t0, AT_Y_ROW_STEP(sp)
    groups requant, first_channel, move_r
    rest requant, 5
    rest requant, 4
    rest requant, 1
    elsewhere 5
    elsewhere 4
    elsewhere 1
.Lrequant_aside: /* a step of 4 bytes, of 8 for values */
    lw t2, AT_KIND(sp)
    andi t2, t2, 1
    addi t2, t2, 1
    slli t2, t2, 2
    put_aside
    li t0, 1
    jr t6
.Lrequant_cut: /* lines of t0 of the t1 rows; of values, of t1 bytes of the t0 columns */
    take_back
    lw t4, AT_KIND(sp)
    li t5, 4
    addi t4, t4, -1
    bnez t4, 1f
    mv t4, t0
    mv t0, t1
    mv t1, t4
    li t5, 8
1:  mv a2, a0
    mv a3, t2
    mv a4, t0
2:  lb a5, 0(a2)
    addi a2, a2, 1
    sb a5, 0(a3)
    addi a4, a4, -1
    addi a3, a3, 1
    bnez a4, 2b
    addi t1, t1, -1
    add a0, a0, t5
    add t2, t2, t3
    bnez t1, 1b
    jr t6
TLF_END tlf_linear_rows_sdot5x4

TLF_FUNCTION tlf_linear_add_sdot5x4
    begin
    lw t0, AT_Y_STEP(sp)
    sw t0, AT_Y_ROW_STEP(sp)
    groups add, , nothing
    rest add, 5
    rest add, 4
    rest add, 1
.Ladd_aside:
    li t2, 16
    put_aside
    li t0, 20
1:  p.sw zero, 4, t3
    addi t0, t0, -1
    bnez t0, 1b
    li t0, 1
    jr t6
.Ladd_cut: /* t0 sums of t1 rows are added to y */
    take_back
1:  mv a2, a0
    mv a3, t2
    mv a4, t0
2:  p.lw a5, 4, a2
    lw a6, 0(a3)
    addi a4, a4, -1
    add a5, a5, a6
    p.sw a5, 4, a3
    bnez a4, 2b
    addi t1, t1, -1
    addi a0, a0, 16
    add t2, t2, t3
    bnez t1, 1b
    jr t6
TLF_END tlf_linear_add_sdot5x4
