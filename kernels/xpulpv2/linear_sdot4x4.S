/* linear on XpulpV2, in tiles of 4 rows by 4 columns. Contract: tileformer.h. Reads rows and columns; channel records. */
#define DOT 0x5c
#include "tiles.inc"
#include "requantise.inc"

#define AT_CHANNEL (AT_OWN)
#define AT_CHANNEL_FIRST (AT_OWN + 4)
#define AT_ROUND (AT_OWN + 8)
#define AT_PRE (AT_OWN + 12)
#define AT_SHIFT (AT_OWN + 16)
#define AT_LEAST (AT_OWN + 20) /* -128 or -127, four times */

.macro begin_linear
    begin_products 20, 24, 28, 32, 36
    copy 0, AT_X, 4, AT_W_FIRST
    copy 12, AT_Y_ROW, 40, AT_Y_STEP
.endm

.macro begin_requant least
    begin_linear
    copy 8, AT_CHANNEL_FIRST, 44, AT_ROUND
    copy 48, AT_PRE, 52, AT_SHIFT
    li t6, \least
    sw t6, AT_LEAST(sp)
.endm

.macro first_channel rows
    lw t0, AT_CHANNEL_FIRST(sp)
    sw t0, AT_CHANNEL(sp)
.endm

/* The sums begin as the biases. */
.macro biases rows, columns
    lw X0, AT_CHANNEL(sp)
    point \rows, \columns
    lw s0, 0(X0)
    .if \columns > 1
    lw s1, 8(X0)
    .endif
    .if \columns > 2
    lw s2, 16(X0)
    lw s3, 24(X0)
    .endif
    .if \rows > 1
    same_rows \columns
    .endif
.endm

/* After the products: what the epilogues hold. */
.macro factors name, rows, columns
    lw Y_STEP, AT_CHANNEL(sp)
    lw T0, AT_PRE(sp)
    lw M0, 4(Y_STEP)
    .if \columns > 1
    lw M1, 12(Y_STEP)
    .endif
    .if \columns > 2
    lw M2, 20(Y_STEP)
    lw M3, 28(Y_STEP)
    .endif
    addi Y_STEP, Y_STEP, 8 * \columns
    preshift \name, \rows, \columns
    sw Y_STEP, AT_CHANNEL(sp)
    lw ROUND, AT_ROUND(sp)
    lw SHIFT, AT_SHIFT(sp)
    lw Y, AT_Y(sp)
    lw Y_STEP, AT_Y_STEP(sp)
.endm

/* A row of 4 sums to the word at Y, a row on. The first row's sums make room for AT_LEAST. */
.macro word a, b, c, d, m0, m1, m2, m3
    scale4 \a, \b, \c, \d, \m0, \m1, \m2, \m3
    .ifc \a, s0
    lw s0, AT_LEAST(sp)
    .endif
    pack4 T0, T0, T1, T2, T3
    pv.max.b T0, T0, s0
    p.swr T0, Y_STEP, Y
.endm

/* One sum to the byte `at` bytes after Y. s3: the least value. */
.macro byte sum, m, at
    scale T0, \sum, \m
    p.max T0, T0, s3
    sb T0, \at(Y)
.endm

.macro bytes_row columns, a, b
    byte \a, M0, 0
    .if \columns > 1
    byte \b, M1, 1
    .endif
    add Y, Y, Y_STEP
.endm

.macro rows_tile name, rows, columns
    biases \rows, \columns
    products \name, \rows, \columns
    factors \name, \rows, \columns
    .if \columns == 4
    addi T0, Y, 4
    sw T0, AT_Y(sp)
    word s0, s1, s2, s3, M0, M1, M2, M3
    .if \rows > 1
    word s4, s5, s6, s7, M0, M1, M2, M3
    word s8, s9, s10, s11, M0, M1, M2, M3
    word t3, t4, t5, t6, M0, M1, M2, M3
    .endif
    .else
    addi T0, Y, \columns
    sw T0, AT_Y(sp)
    lb s3, AT_LEAST(sp)
    bytes_row \columns, s0, s1
    .if \rows > 1
    bytes_row \columns, s4, s5
    bytes_row \columns, s8, s9
    bytes_row \columns, t3, t4
    .endif
    .endif
.endm

.macro nothing rows
.endm

function tlf_linear_keys_sdot4x4
    begin_requant 0x81818181
    j .Lrows_begin
    end_function tlf_linear_keys_sdot4x4

function tlf_linear_rows_sdot4x4
    begin_requant 0x80808080
.Lrows_begin:
    lw t0, AT_Y_STEP(sp)
    step_rows
    tails rows
    rows rows, rows_tile, first_channel, nothing
    make_tails rows, 24, 4, 16
    preshifts rows
    end_function tlf_linear_rows_sdot4x4

/* values: a channel is a row of y. */
.macro values_tile name, rows, columns
    biases \rows, \columns
    products \name, \rows, \columns
    factors \name, \rows, \columns
    .if \rows == 4
    word s0, s4, s8, t3, M0, M0, M0, M0
    .if \columns > 1
    word s1, s5, s9, t4, M1, M1, M1, M1
    .endif
    .if \columns > 2
    word s2, s6, s10, t5, M2, M2, M2, M2
    word s3, s7, s11, t6, M3, M3, M3, M3
    .endif
    .else
    lb t3, AT_LEAST(sp)
    values_byte s0, M0
    .if \columns > 1
    values_byte s1, M1
    .endif
    .if \columns > 2
    values_byte s2, M2
    values_byte s3, M3
    .endif
    .endif
    sw Y, AT_Y(sp)
.endm

.macro values_byte sum, m
    scale T0, \sum, \m
    p.max T0, T0, t3
    sb T0, 0(Y)
    add Y, Y, Y_STEP
.endm

function tlf_linear_values_sdot4x4
    begin_requant 0x81818181
    li t0, 1
    step_rows
    tails values
    rows values, values_tile, first_channel, nothing
    make_tails values, 24, 4, 16
    preshifts values
    end_function tlf_linear_values_sdot4x4

/* add: the sums begin as what is there. */
.macro at_row what, columns, a, b, c, d
    \what \a, 0(Y)
    .if \columns > 1
    \what \b, 4(Y)
    .endif
    .if \columns > 2
    \what \c, 8(Y)
    \what \d, 12(Y)
    .endif
    add Y, Y, Y_STEP
.endm

.macro at_rows what, rows, columns
    at_row \what, \columns, s0, s1, s2, s3
    .if \rows > 1
    at_row \what, \columns, s4, s5, s6, s7
    at_row \what, \columns, s8, s9, s10, s11
    at_row \what, \columns, t3, t4, t5, t6
    .endif
.endm

.macro add_tile name, rows, columns
    lw Y, AT_Y(sp)
    lw Y_STEP, AT_Y_STEP(sp)
    at_rows lw, \rows, \columns
    point \rows, \columns
    products \name, \rows, \columns
    lw Y, AT_Y(sp)
    lw Y_STEP, AT_Y_STEP(sp)
    addi T0, Y, 4 * \columns
    sw T0, AT_Y(sp)
    at_rows sw, \rows, \columns
.endm

function tlf_linear_add_sdot4x4
    begin_linear
    lw t0, AT_Y_STEP(sp)
    step_rows
    tails add
    rows add, add_tile, nothing, nothing
    make_tails add, 24, 4, 16
    end_function tlf_linear_add_sdot4x4
