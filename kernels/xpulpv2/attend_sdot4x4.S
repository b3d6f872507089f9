/* attend on XpulpV2, in tiles of 4 rows by 4 columns; uint8 times int8. Contract: tileformer.h. Reads rows and columns. Where k <= 8
 * and no sum is shifted before it is scaled, attend_rows is that of attend_short.S. */
#define DOT 0x54
#include "tiles.inc"
#include "requantise.inc"

#define AT_SUM AT_OWN
#define AT_SCALE (AT_OWN + 4)
#define AT_ROUND (AT_OWN + 8)
#define AT_SHIFT (AT_OWN + 12)
#define AT_PRE (AT_OWN + 16)
#define AT_HALF (AT_OWN + 20)
#define AT_FACTOR (AT_OWN + 24) /* of the rows of the group */

.macro begin_attend
    begin_products 24, 28, 32, 36, 40
    copy 0, AT_X, 4, AT_W_FIRST
    copy 16, AT_Y_ROW, 44, AT_Y_STEP
    mv t0, t6
    step_rows
    lw t5, 12(a0)
    lw t6, 8(a0)
    lw t5, 0(t5)
    sw t6, AT_SUM(sp)
    sw t5, AT_SCALE(sp)
    copy 48, AT_ROUND, 56, AT_SHIFT
    lw t5, 52(a0)
    li t6, 1
    sw t5, AT_PRE(sp)
    sll t6, t6, t5
    srli t6, t6, 1
    sw t6, AT_HALF(sp)
.endm

.macro factor at
    lw t2, \at(t0)
    srli t3, t2, 1
    add t3, t3, t1
    div t3, t3, t2
    sw t3, (AT_FACTOR + \at)(sp)
.endm

.macro factors rows
    lw t0, AT_SUM(sp)
    lw t1, AT_SCALE(sp)
    factor 0
    .if \rows == 4
    factor 4
    factor 8
    factor 12
    .endif
    addi t0, t0, 4 * \rows
    sw t0, AT_SUM(sp)
.endm

.macro nothing rows
.endm

/* The sums, which begin as half of what the pre-shift by T0 cuts off; M0 .. M3 are the factors of the rows. */
.macro attend_sums name, rows, columns
    lw s0, AT_HALF(sp)
    point \rows, \columns
    .if \columns > 1
    mv s1, s0
    .endif
    .if \columns > 2
    mv s2, s0
    mv s3, s0
    .endif
    .if \rows > 1
    same_rows \columns
    .endif
    products \name, \rows, \columns
    lw T0, AT_PRE(sp)
    lw M0, AT_FACTOR(sp)
    lw Y, AT_Y(sp)
    lw Y_STEP, AT_Y_STEP(sp)
    .if \rows > 1
    lw M1, (AT_FACTOR + 4)(sp)
    lw M2, (AT_FACTOR + 8)(sp)
    lw M3, (AT_FACTOR + 12)(sp)
    .endif
.endm

.macro rows_row columns, m, a, b, c, d
    .if \columns == 4
    scale4 \a, \b, \c, \d, \m, \m, \m, \m
    pack4 T0, T0, T1, T2, T3
    p.swr T0, Y_STEP, Y
    .else
    scale T0, \a, \m
    sb T0, 0(Y)
    .if \columns == 2
    scale T1, \b, \m
    sb T1, 1(Y)
    .endif
    add Y, Y, Y_STEP
    .endif
.endm

.macro rows_tile name, rows, columns
    attend_sums \name, \rows, \columns
    preshift \name, \rows, \columns
    lw ROUND, AT_ROUND(sp)
    lw SHIFT, AT_SHIFT(sp)
    addi T0, Y, \columns
    sw T0, AT_Y(sp)
    rows_row \columns, M0, s0, s1, s2, s3
    .if \rows > 1
    rows_row \columns, M1, s4, s5, s6, s7
    rows_row \columns, M2, s8, s9, s10, s11
    rows_row \columns, M3, t3, t4, t5, t6
    .endif
.endm

function tlf_attend_rows_sdot4x4
    lw t0, 32(a0)
    lw t1, 52(a0)
    addi t0, t0, -9
    bgez t0, .Lrows_deep
    beqz t1, .Lrows_short
.Lrows_deep:
    begin_attend
    tails rows
    rows rows, rows_tile, factors, nothing
    make_tails rows, 28, 4, 20
    preshifts rows
.Lrows_short:
    j tlf_attend_rows_short
    end_function tlf_attend_rows_sdot4x4

.macro add_row columns, m, a, b, c, d
    lw T0, 0(Y)
    .if \columns > 1
    lw T1, 4(Y)
    .endif
    .if \columns > 2
    lw T2, 8(Y)
    lw T3, 12(Y)
    .endif
    p.mac T0, \a, \m
    .if \columns > 1
    p.mac T1, \b, \m
    .endif
    .if \columns > 2
    p.mac T2, \c, \m
    p.mac T3, \d, \m
    sw T3, 12(Y)
    sw T2, 8(Y)
    .endif
    .if \columns > 1
    sw T1, 4(Y)
    .endif
    p.swr T0, Y_STEP, Y
.endm

.macro add_tile name, rows, columns
    attend_sums \name, \rows, \columns
    for_sums \rows, \columns, shift_sum
    addi T0, Y, 4 * \columns
    sw T0, AT_Y(sp)
    add_row \columns, M0, s0, s1, s2, s3
    .if \rows > 1
    add_row \columns, M1, s4, s5, s6, s7
    add_row \columns, M2, s8, s9, s10, s11
    add_row \columns, M3, t3, t4, t5, t6
    .endif
.endm

function tlf_attend_add_sdot4x4
    begin_attend
    tails add
    rows add, add_tile, factors, nothing
    make_tails add, 28, 4, 20
    end_function tlf_attend_add_sdot4x4
