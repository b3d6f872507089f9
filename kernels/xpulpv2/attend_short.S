/* attend_rows on XpulpV2 where the depth is two words or less and sums are scaled as they are: the other half of
 * attend_sdot4x4.S, which jumps here. The words of 4 columns stay in registers while all rows pass by: 30 instructions for 4
 * outputs. scratch: the factors of the rows.
 *
 * A row is its first word and, masked in the columns, its last one. Where k <= 4 that is the same word, and the first is read
 * from a zero instead.
 */
#include "xpulp.inc"

#define C0 s0 /* columns: first words */
#define C1 s1
#define C2 s2
#define C3 s3
#define D0 s4 /* and last ones */
#define D1 s5
#define D2 s6
#define D3 s7
#define SUM0 t0
#define SUM1 t1
#define SUM2 t2
#define SUM3 t3
#define FIRST t4 /* words of a row */
#define LAST t5
#define SCALED t6
#define FACTOR a0
#define FACTORS a1
#define E_FIRST a2
#define E_LAST a3
#define E_FIRST_STEP a4
#define E_STEP a5
#define Y a6
#define Y_STEP a7
#define ROUND s8
#define SHIFT s9
#define W_FIRST s10
#define W_LAST s11
#define W_STEP ra

#define AT_ZERO 52
#define AT_ROWS 56
#define AT_MASK 60 /* of the last words */
#define AT_E_FIRST 64
#define AT_E_LAST 68
#define AT_FACTORS 72
#define AT_Y 76
#define AT_REST 80 /* columns behind the fours */
#define FRAME 96

.macro column first, last
    p.lwr \first, W_STEP, W_FIRST
    p.lwr \last, W_STEP, W_LAST
.endm

/* The first row, and y moved on by `columns` bytes for the next time. */
.macro first_row columns
    lw Y, AT_Y(sp)
    lw E_FIRST, AT_E_FIRST(sp)
    addi t1, Y, \columns
    lw E_LAST, AT_E_LAST(sp)
    lw FACTORS, AT_FACTORS(sp)
    lw t0, AT_ROWS(sp)
    sw t1, AT_Y(sp)
.endm

.macro next_row
    p.lwr FIRST, E_FIRST_STEP, E_FIRST
    p.lwr LAST, E_STEP, E_LAST
    p.lw FACTOR, 4, FACTORS
.endm

/* unsigned by signed bytes: a fresh sum, and one more word */
.macro fresh sum, e, w
    r_word 0x57, 1, 0x44, \sum, \e, \w
.endm
.macro more sum, e, w
    r_word 0x57, 1, 0x54, \sum, \e, \w
.endm

.macro scale sum
    mv SCALED, ROUND
    p.mac SCALED, \sum, FACTOR
    sra \sum, SCALED, SHIFT
    p.clip8 \sum
.endm

TLF_FUNCTION tlf_attend_rows_short
    open_frame FRAME
    lw t0, 24(a0) /* m */
    lw a1, 20(a0) /* scratch */
    lw t1, 12(a0)
    lw t2, 8(a0) /* sum */
    sw t0, AT_ROWS(sp)
    sw a1, AT_FACTORS(sp)
    lw t1, 0(t1) /* scale */
    .option push
    .option norvc
    .balign 4
    hw_loop 0, .Lfactor
    p.lw t3, 4, t2
    nop
    srli t4, t3, 1
    add t4, t4, t1
    div t4, t4, t3
.Lfactor:
    p.sw t4, 4, a1
    .option pop
    lw t0, 32(a0) /* k */
    lw E_STEP, 36(a0)
    lw E_LAST, 0(a0)
    lw W_FIRST, 4(a0)
    lw W_STEP, 40(a0)
    addi E_FIRST, sp, AT_ZERO
    li E_FIRST_STEP, 0
    mv W_LAST, W_FIRST
    addi t1, t0, -4
    blez t1, 1f
    mv E_FIRST, E_LAST
    mv E_FIRST_STEP, E_STEP
    addi E_LAST, E_LAST, 4
    addi W_LAST, W_LAST, 4
    mv t0, t1
1:  slli t0, t0, 3
    li t1, -1
    neg t0, t0
    lw Y, 16(a0)
    srl t1, t1, t0 /* by 32 - 8 * bytes of the last word: shifts count modulo 32 */
    lw Y_STEP, 44(a0)
    sw t1, AT_MASK(sp)
    lw ROUND, 48(a0)
    sw zero, AT_ZERO(sp)
    lw SHIFT, 56(a0)
    sw E_FIRST, AT_E_FIRST(sp)
    lw t0, 28(a0) /* n */
    sw E_LAST, AT_E_LAST(sp)
    sw Y, AT_Y(sp)
    andi t1, t0, 3
    srli t0, t0, 2
    sw t1, AT_REST(sp)
    beqz t0, .Lrest
    .option push
    .option norvc
    .balign 4
    hw_loop 1, .Lcolumns
    lw t1, AT_MASK(sp)
    column C0, D0
    column C1, D1
    and D0, D0, t1
    column C2, D2
    and D1, D1, t1
    column C3, D3
    and D2, D2, t1
    and D3, D3, t1
    first_row 4
    hw_loop 0, .Lrow
    next_row
    fresh SUM0, FIRST, C0
    fresh SUM1, FIRST, C1
    fresh SUM2, FIRST, C2
    fresh SUM3, FIRST, C3
    more SUM0, LAST, D0
    more SUM1, LAST, D1
    more SUM2, LAST, D2
    more SUM3, LAST, D3
    scale SUM0
    scale SUM1
    scale SUM2
    scale SUM3
    pack4 SUM0, SUM0, SUM1, SUM2, SUM3
.Lrow:
    p.swr SUM0, Y_STEP, Y
.Lcolumns:
    nop
    .option pop
.Lrest:
    lw t0, AT_REST(sp)
    beqz t0, .Lreturn
    addi t0, t0, -1
    sw t0, AT_REST(sp)
    lw t1, AT_MASK(sp)
    column C0, D0
    nop
    and D0, D0, t1
    first_row 1
    .option push
    .option norvc
    .balign 4
    hw_loop 0, .Lone
    next_row
    fresh SUM0, FIRST, C0
    more SUM0, LAST, D0
    scale SUM0
    sb SUM0, 0(Y)
.Lone:
    add Y, Y, Y_STEP
    .option pop
    j .Lrest
.Lreturn:
    close_frame FRAME
TLF_END tlf_attend_rows_short
