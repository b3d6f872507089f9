/* linear on XpulpV2. Contract: tileformer.h. Reads rows and `blocks`; channel records.
 *
 * Tiles of 5, 4 or 1 rows by 4 columns. Columns come as blocks: every word is the next one, whatever the tile. So one pointer
 * walks over all weights of a group of rows, no depth needs a mask, and a pair or a single column left over is a tile like
 * any other whose result is cut.
 *
 * 5 rows have 20 sums in registers. What is left holds 4 words of columns, 2 of rows and the two pointers, none of it a
 * stride: these rows are copied to the scratch first, word beside word. Taken where it saves a single row of its own
 * (5 is 4 + 1) and the copy is short or shared by more than one tile: 29 instructions for 20 dot products.
 *
 * One body serves rows, keys, values and residual: they part where the results are stored.
 */
#include "xpulp.inc"

/* While products accumulate: sums in s0..s11, t3..t6, a row of 4 after the other; those of row 4 in a6 a7 t2 ra. */
#define X a0
#define W a1
#define Z0 a2 /* words of rows in a tile of 4, of columns in the others */
#define Z1 a3
#define Z2 a4
#define Z3 a5
#define X_STEP a6 /* 4 rows */
#define X_BACK a7
#define V0 t0 /* the other side */
#define V1 t1

/* The frame */
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
#define AT_SPECIAL 180 /* not 0: something is not as with rows of whole weights */
#define AT_GROUPS 184
#define AT_BUFFER 188 /* the tile of the columns left over: 5 rows of 4 words */
#define FRAME 272

/* `what` on the sums of each row of a tile. */
.macro each_row rows, what
    \what s0, s1, s2, s3
    .if \rows > 1
    \what s4, s5, s6, s7
    \what s8, s9, s10, s11
    \what t3, t4, t5, t6
    .endif
    .if \rows > 4
    \what a6, a7, t2, ra
    .endif
.endm

/* `what` on the sums of each column of 4 rows or 1. */
.macro each_column rows, what
    .if \rows > 1
    \what s0, s4, s8, t3
    \what s1, s5, s9, t4
    \what s2, s6, s10, t5
    \what s3, s7, s11, t6
    .else
    \what s0
    \what s1
    \what s2
    \what s3
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
    pv.sdotsp.b a6, V0, Z0
    pv.sdotsp.b a7, V0, Z1
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

/* sum = clip8((sum * by + round) >> shift), in place */
.macro scale sum, by, round, shift
    mul \sum, \sum, \by
    p.addNr \sum, \round, \shift
    p.clip8 \sum
.endm

/* The multipliers in Z0 .. Z3, t1: round, a0: shift */
.macro scale_row a, b, c, d
    scale \a, Z0, t1, a0
    scale \b, Z1, t1, a0
    scale \c, Z2, t1, a0
    scale \d, Z3, t1, a0
.endm

/* t0: y, t1: its step, a0: the least value four times */
.macro pack_row a, b, c, d
    pack4 \a, \a, \b, \c, \d
    pv.max.b \a, \a, a0
.endm

.macro store_row a, b, c, d
    pack_row \a, \b, \c, \d
    p.swr \a, t1, t0
.endm

.macro store_column a, b, c, d
    .ifb \b
    pv.max.b \a, \a, a0
    sb \a, 0(t0)
    add t0, t0, t1
    .else
    store_row \a, \b, \c, \d
    .endif
.endm

/* A tile of 4 columns. What begins and ends the outer loop is in `columns`; of 5 rows the last store is the last instruction:
 * the body then takes 33 lines of the private instruction cache, which has 32. */
.macro requant_tile rows
    lw a0, AT_CHANNEL(sp)
    lw s0, 0(a0)
    lw s1, 8(a0)
    lw s2, 16(a0)
    lw s3, 24(a0)
    first_word \rows
    each_row \rows, same
    products requant, \rows
    lw t0, AT_SPECIAL(sp)
    lw a0, AT_CHANNEL(sp)
    bnez t0, .Lspecial_\rows
    multipliers
    each_row \rows, scale_row
.Lscaled_\rows:
    lw t0, AT_Y(sp)
    lw t1, AT_Y_STEP(sp)
    addi t0, t0, 4
    lw a0, AT_LEAST(sp)
    sw t0, AT_Y(sp)
    store_row s0, s1, s2, s3
    .if \rows > 1
    store_row s4, s5, s6, s7
    store_row s8, s9, s10, s11
    store_row t3, t4, t5, t6
    .endif
    .if \rows == 5
    pack_row a6, a7, t2, ra
    .balign 4
.Lrequant_end_5:
    p.swr a6, t1, t0
    .endif
.Lstored_\rows:
.endm

/* What the scaling holds; a0: channel records, then the shift. */
.macro multipliers
    lw Z0, 4(a0)
    lw Z1, 12(a0)
    lw Z2, 20(a0)
    lw Z3, 28(a0)
    addi a0, a0, 32
    lw t1, AT_ROUND(sp)
    sw a0, AT_CHANNEL(sp)
    lw a0, AT_SHIFT(sp)
.endm

/* a0: r, a2 a3: multipliers of v and r, a4: round, a5: shift */
.macro add_one sum, at
    lb t0, \at(a0)
    mv t1, a4
    p.mac t1, \sum, a2
    p.mac t1, t0, a3
    sra \sum, t1, a5
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

/* The first column of a tile of 5 rows: scaled, 4 rows to a word, the fifth to the byte behind. a0: channel records from the
 * multiplier on, a2: round, a3: shift, a4: the least value, t0: y, t1: its step. */
.macro values_column a, b, c, d, e
    p.lw a5, 8, a0
    nop
    scale \a, a5, a2, a3
    scale \b, a5, a2, a3
    scale \c, a5, a2, a3
    scale \d, a5, a2, a3
    scale \e, a5, a2, a3
    pack4 \a, \a, \b, \c, \d
    pv.max.b \e, \e, a4
    pv.max.b \a, \a, a4
    sb \e, 4(t0)
    p.swr \a, t1, t0
.endm

/* Two columns a turn, then the other two take their place, so that the body of values fits the private instruction cache.
 * It goes back to the last instruction of the outer loop, a store: the last word once more. */
.macro values_of_5
    lw t0, AT_Y(sp)
    lw t1, AT_Y_STEP(sp)
    lw a2, AT_ROUND(sp)
    lw a3, AT_SHIFT(sp)
    lw a4, AT_LEAST(sp)
    li a5, 2
    addi a0, a0, 4
    TLF_LOOP a5
    values_column s0, s4, s8, t3, a6
    values_column s1, s5, s9, t4, a7
    .option push
    .option rvc
    mv s0, s2
    mv s4, s6
    mv s8, s10
    mv t3, t5
    mv a6, t2
    mv s5, s7
    mv s9, s11
    mv t4, t6
    mv a7, ra
    mv t2, s1
    .option pop
    mv s1, s3
    TLF_LOOP_END
    addi a0, a0, -4
    sw a0, AT_CHANNEL(sp)
    sw t0, AT_Y(sp)
    sub t0, t0, t1
    mv a6, t2
    j .Lrequant_end_5
.endm

/* Values; residual; weights that are a slice of the depth; sums that are shifted first. a0: the channel records. */
.macro special rows
.Lspecial_\rows:
    lw t0, AT_PRE(sp)
    lw t1, AT_W_SKIP(sp)
    bnez t0, .Lshift_\rows
.Lshifted_\rows:
    lw t0, AT_KIND(sp)
    add W, W, t1
    addi t0, t0, -1
    .if \rows == 5
    bnez t0, .Lother_5
    values_of_5
    .endif
.Lother_\rows:
    multipliers
    each_row \rows, scale_row
    lw t0, AT_KIND(sp)
    beqz t0, .Lscaled_\rows
    .if \rows < 5
    addi t0, t0, -1
    bnez t0, .Lresidual_\rows
    lw t0, AT_Y(sp)
    lw t1, AT_Y_STEP(sp)
    lw a0, AT_LEAST(sp)
    each_column \rows, store_column
    sw t0, AT_Y(sp)
    j .Lstored_\rows
.Lresidual_\rows:
    .endif
    lw a0, AT_R(sp)
    lw a2, AT_MULT_Y(sp)
    addi t0, a0, 4
    lw a3, AT_MULT_R(sp)
    lw a4, AT_ADD_ROUND(sp)
    lw a5, AT_ADD_SHIFT(sp)
    sw t0, AT_R(sp)
    each_row \rows, add_row
    j .Lscaled_\rows
.Lshift_\rows:
    each_row \rows, shift_row
    j .Lshifted_\rows
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

/* The frame. The record stays at a0, AT_W_SKIP in a2. */
.macro begin
    open_frame FRAME
    lw t3, 28(a0)
    lw a2, 36(a0)
    lw a3, 24(a0)
    lw a4, 20(a0)
    addi t3, t3, 3
    srli t3, t3, 2
    andi t1, a3, 3
    sw t3, AT_TURNS(sp)
    slli t0, t3, 4
    sw t1, AT_REST(sp)
    srli t2, a3, 2
    sub a2, a2, t0
    sw t2, AT_FOURS(sp)
    sw a2, AT_W_SKIP(sp)
    /* groups of 5 where they save single rows, the copy is short or shared by more than one tile, and there is scratch */
    lw t5, 16(a0)
    andi t0, a4, 3
    srli t1, a4, 2
    slti t2, a3, 5
    slti t3, t3, 9
    mv t4, t0
    bleu t4, t1, 1f
    mv t4, t1
1:  bgtu t2, t3, 2f
    bnez t5, 3f
2:  li t4, 0
3:  sub t0, t0, t4
    sw t4, AT_GROUPS5(sp)
    sub t4, t1, t4
    sw t0, AT_GROUPS1(sp)
    add t0, t0, t1
    sw t4, AT_GROUPS4(sp)
    sw t0, AT_GROUPS(sp)
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
    beqz t0, .L\name\()_tiles_\rows
.L\name\()_again_\rows:
    hw_loop 1, .L\name\()_end_\rows
    .option pop
    \name\()_tile \rows
    .ifnc \name\()\rows, requant5
    .balign 4
    .option push
    .option norvc
.L\name\()_end_\rows:
    nop
    .option pop
    .endif
.L\name\()_tiles_\rows:
    lw t0, AT_REST(sp)
    bnez t0, .L\name\()_rest_\rows
.L\name\()_next_\rows:
    lw t0, AT_GROUPS(sp)
    addi t0, t0, -1
    sw t0, AT_GROUPS(sp)
    beqz t0, .L\name\()_return
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
    j .L\name\()_one
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
.L\name\()_return:
    close_frame FRAME
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

/* t0 columns are left over; leaves one tile to do. t2: the step in the buffer, t5: how far behind it a tile finds y. */
.macro put_aside
    neg t1, t0
    lw t3, AT_Y(sp)
    sw t1, AT_REST(sp)
    lw t4, AT_Y_STEP(sp)
    add t3, t3, t5
    sw t4, AT_Y_KEEP(sp)
    sw t3, AT_Y_REST(sp)
    addi t3, sp, AT_BUFFER
    sw t2, AT_Y_STEP(sp)
    sub t3, t3, t5
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
    sw t0, AT_CHANNEL(sp)
.endm

.macro move_r rows
    lw t0, AT_R_ROW(sp)
    lw t1, AT_R_STEP(sp)
    li t2, \rows
    p.mac t0, t1, t2
    sw t0, AT_R_ROW(sp)
    sw t0, AT_R(sp)
.endm

.macro nothing rows
.endm

/* Which kind, and the least value four times: in registers that `begin` leaves alone. */
.macro as kind, least
    li a5, \kind
    li a6, \least
.endm

TLF_FUNCTION tlf_linear_keys_sdot5x4
    as 0, 0x81818181
    j .Lrequant
TLF_END tlf_linear_keys_sdot5x4

TLF_FUNCTION tlf_linear_values_sdot5x4
    as 1, 0x81818181
    j .Lrequant
TLF_END tlf_linear_values_sdot5x4

TLF_FUNCTION tlf_linear_residual_sdot5x4
    as 2, 0x80808080
    j .Lrequant
TLF_END tlf_linear_residual_sdot5x4

TLF_FUNCTION tlf_linear_rows_sdot5x4
    as 0, 0x80808080
.Lrequant:
    begin
    sw a5, AT_KIND(sp)
    sw a6, AT_LEAST(sp)
    copy 8, AT_CHANNEL_FIRST, 44, AT_ROUND
    copy 48, AT_PRE, 52, AT_SHIFT
    lw t0, AT_Y_STEP(sp)
    or t5, t5, a2
    addi t1, a5, -1
    or t5, t5, a5
    beqz t1, .Lvalues_begin
    lw t2, AT_Y_ROW(sp)
    addi t2, t2, -4 /* a tile of rows moves on before it stores */
    sw t2, AT_Y_ROW(sp)
    bgtz t1, .Lresidual_begin
.Lrequant_begin:
    sw t5, AT_SPECIAL(sp)
    sw t0, AT_Y_ROW_STEP(sp)
    groups requant, first_channel, move_r
.Lvalues_begin:
    li t0, 1
    j .Lrequant_begin
.Lresidual_begin:
    copy 64, AT_R_ROW, 68, AT_R_STEP
    copy 72, AT_MULT_Y, 76, AT_MULT_R
    copy 80, AT_ADD_ROUND, 84, AT_ADD_SHIFT
    lw t1, AT_R_ROW(sp)
    li t5, 1
    sw t1, AT_R(sp)
    j .Lrequant_begin
    rest requant, 5
    rest requant, 4
    rest requant, 1
    special 5
    special 4
    special 1
.Lrequant_aside: /* a step of 4 bytes, of 8 for values */
    lw t5, AT_KIND(sp)
    andi t5, t5, 1
    slli t5, t5, 2
    addi t2, t5, 4
    xori t5, t5, 4
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
    li t5, 0
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
