/* probs on XpulpV2. Contract: tileformer.h. Reads rows and columns. Two ways:
 *
 * k > 4: the scores of 4 rows by all keys, in tiles of 4 by 4, to the scratch, and the largest of each row; then row by row
 * the table. scratch: last words of the keys (k % 4 > 0), then for every 4 keys the scores of 4 rows
 * (of one where m < 4), 16 bytes each.
 * k <= 4: a score is one dot product: computed twice, for two rows at a time, once for the largest and once for the
 * table, so it never leaves its register. An odd last row is both rows of its pair. scratch, k <= 2: a word a key.
 *
 * step[j] - min step = (round - score[j] * mult) >> shift, unsigned, where round = half - (step of the largest score << shift).
 */
#define DOT 0x5c
#define DOT_FRESH 0x4c
#include "tiles.inc"
#include "requantise.inc"

#define AT_MULT AT_OWN
#define AT_SHIFT (AT_OWN + 4)
#define AT_TABLE (AT_OWN + 8)
#define AT_SUM (AT_OWN + 12)
#define AT_E (AT_OWN + 16)
#define AT_E_STEP (AT_OWN + 20)
#define AT_BEST (AT_OWN + 24) /* of the rows of the group */
#define AT_KEYS AT_W_FIRST

/* The table pass */
#define SCORES a0
#define E0 a1
#define E1 a2
#define MULT a3
#define CUT a4
#define TABLE a5
#define ROUND0 a6
#define ROUND1 a7

/* round = half - (half - best * mult) >> CUT << CUT; t0 is used */
.macro round_of round, best
    li t0, 1
    sll t0, t0, CUT
    srli t0, t0, 1
    mv \round, t0
    p.msu \round, \best, MULT
    sra \round, \round, CUT
    sll \round, \round, CUT
    sub \round, t0, \round
.endm

/* t2 .. t5: scores -> t2: their table values as a word. t0 t1 t6 ra are used. */
.macro look_up4 round
    mv t0, \round
    mv t1, \round
    mv t6, \round
    mv ra, \round
    p.msu t0, t2, MULT
    p.msu t1, t3, MULT
    p.msu t6, t4, MULT
    p.msu ra, t5, MULT
    srl t0, t0, CUT
    srl t1, t1, CUT
    srl t6, t6, CUT
    srl ra, ra, CUT
    clip_and_read4
.endm

/* t0 t1 t6 ra: distances in steps -> t2: their table values as a word. t3 .. t5 are used. */
.macro clip_and_read4
    p.clipu8 t0
    p.clipu8 t1
    p.clipu8 t6
    p.clipu8 ra
    p.lbux t2, TABLE, t0
    p.lbux t3, TABLE, t1
    p.lbux t4, TABLE, t6
    p.lbux t5, TABLE, ra
    pack4 t2, t2, t3, t4, t5
.endm

/* t2: a score -> its table value */
.macro look_up round
    mv t0, \round
    p.msu t0, t2, MULT
    srl t0, t0, CUT
    p.clipu8 t0
    p.lbux t2, TABLE, t0
.endm

/* ---- k > 4 ---------------------------------------------------------------------------------------------------------*/

.macro begin_group rows
    li t0, 0x80000000
    sw t0, AT_BEST(sp)
    .if \rows == 4
    sw t0, (AT_BEST + 4)(sp)
    sw t0, (AT_BEST + 8)(sp)
    sw t0, (AT_BEST + 12)(sp)
    .endif
.endm

.macro keep_row row, columns, a, b, c, d
    lw T0, (AT_BEST + 4 * \row)(sp)
    sw \a, (16 * \row)(Y)
    p.max T0, T0, \a
    .if \columns > 1
    sw \b, (16 * \row + 4)(Y)
    p.max T0, T0, \b
    .endif
    .if \columns > 2
    sw \c, (16 * \row + 8)(Y)
    p.max T0, T0, \c
    sw \d, (16 * \row + 12)(Y)
    p.max T0, T0, \d
    .endif
    sw T0, (AT_BEST + 4 * \row)(sp)
.endm

/* A pair and a single column share the place of 4. */
.macro score_tile name, rows, columns
    point \rows, \columns
    fresh_products \name, \rows, \columns
    lw Y, AT_Y(sp)
    keep_row 0, \columns, s0, s1, s2, s3
    .if \rows > 1
    keep_row 1, \columns, s4, s5, s6, s7
    keep_row 2, \columns, s8, s9, s10, s11
    keep_row 3, \columns, t3, t4, t5, t6
    .endif
    addi Y, Y, (\columns / 4 * (\rows - 1) * 16 + \columns * 4)
    sw Y, AT_Y(sp)
.endm

/* The table values and sums of the rows of a group, whose scores are in the scratch: one routine for all groups. */
.macro look_up_rows rows
    li s9, (16 * \rows - 12)
    addi s7, sp, AT_BEST + 4 * \rows
    jal s10, .Llook_rows
.endm

/* s9: from the last score of 4 keys to the next of the same row; s7: behind AT_BEST of the last row; s10: the way back. */
.macro look_up_routine
.Llook_rows:
    lw MULT, AT_MULT(sp)
    lw CUT, AT_SHIFT(sp)
    lw TABLE, AT_TABLE(sp)
    addi s1, sp, AT_BEST
    lw s2, AT_Y_ROW(sp)
    lw s3, AT_SUM(sp)
    lw s4, AT_E(sp)
    lw s5, AT_E_STEP(sp)
    lw s6, AT_REST(sp)
    lw s8, AT_FOURS(sp)
.Llook_row:
    p.lw t1, 4, s1
    mv SCORES, s2
    mv E0, s4
    round_of ROUND0, t1
    li s0, 0
    mv t0, s8
    beqz s8, .Llook_rest
    .balign 4
    .option push
    .option norvc
    hw_loop 0, .Llook_four
    p.lw t2, 4, SCORES
    p.lw t3, 4, SCORES
    p.lw t4, 4, SCORES
    p.lwr t5, s9, SCORES
    look_up4 ROUND0
    add_bytes s0, t2
.Llook_four:
    p.sw t2, 4, E0
    .option pop
.Llook_rest:
    mv t1, s6
    beqz s6, .Llook_done
.Llook_one:
    p.lw t2, 4, SCORES
    look_up ROUND0
    addi t1, t1, -1
    add s0, s0, t2
    p.sb t2, 1, E0
    bnez t1, .Llook_one
.Llook_done:
    p.sw s0, 4, s3
    addi s2, s2, 16
    add s4, s4, s5
    bne s1, s7, .Llook_row
    sw s3, AT_SUM(sp)
    sw s4, AT_E(sp)
    jr s10
.endm

/* ---- k <= 4 --------------------------------------------------------------------------------------------------------*/

#define KEY s0
#define KEY_STEP s1
#define Q0 s2
#define Q1 s3
#define BEST0 s4
#define BEST1 s5
#define SUM0 s4
#define SUM1 s5
#define K0 s6
#define K1 s7
#define K2 s8
#define K3 s9

/* How a pass reads a key: as it lies, or as differences (k <= 2): word j of the scratch holds key j below and minus key
 * j - 1 above. q twice in a word then gives score j - score j - 1, and ROUND - score j * mult from its predecessor. */
.macro key how, rd
    .ifc \how, rows
    p.lwr \rd, KEY_STEP, KEY
    .else
    p.lw \rd, 4, KEY
    .endif
.endm

.macro first_key how
    .ifc \how, rows
    lw KEY, AT_KEYS(sp)
    lw KEY_STEP, AT_W_STEP(sp)
    .else
    lw KEY, AT_Y_ROW(sp)
    .endif
.endm

/* The scratch of differences; t3 is AT_MASK, never 0 for these depths. */
.macro make_differences
    lw KEY, AT_KEYS(sp)
    lw KEY_STEP, AT_W_STEP(sp)
    lw t1, AT_Y_ROW(sp)
    lw t3, AT_MASK(sp)
    li t4, 0
    mv t0, s10
    .balign 4
    .option push
    .option norvc
    hw_loop 0, .Ldifference
    p.lhur t2, KEY_STEP, KEY
    nop
    and t2, t2, t3
    r_word 0x57, 0, 0x68, t5, t4, t2 /* pv.pack.h: t4 above t2 */
    r_word 0x57, 1, 0x04, t4, zero, t2 /* pv.sub.b: minus the bytes of t2 */
.Ldifference:
    p.sw t5, 4, t1
    .option pop
.endm

.macro scores4 q
    pv.dotsp.b t2, \q, K0
    pv.dotsp.b t3, \q, K1
    pv.dotsp.b t4, \q, K2
    pv.dotsp.b t5, \q, K3
.endm

/* look_up4 of scores given as differences; `round` moves along. */
.macro look_down4 round
    p.msu \round, t2, MULT
    srl t0, \round, CUT
    p.msu \round, t3, MULT
    srl t1, \round, CUT
    p.msu \round, t4, MULT
    srl t6, \round, CUT
    p.msu \round, t5, MULT
    srl ra, \round, CUT
    clip_and_read4
.endm

.macro look_down round
    p.msu \round, t2, MULT
    srl t0, \round, CUT
    p.clipu8 t0
    p.lbux t2, TABLE, t0
.endm

.macro four how, q, round, sum, e, last
    scores4 \q
    .ifc \how, rows
    look_up4 \round
    .else
    look_down4 \round
    .endif
    add_bytes \sum, t2
\last:
    p.sw t2, 4, \e
.endm

.macro one how, q, round, sum, e
    pv.dotsp.b t2, \q, K0
    .ifc \how, rows
    look_up \round
    .else
    look_down \round
    .endif
    nop
    add \sum, \sum, t2
    p.sb t2, 1, \e
.endm

/* A pair of rows. */
.macro pair how
    first_key \how
    li BEST0, 0x80000000
    mv BEST1, BEST0
    srli t0, s10, 1
    beqz t0, .L\how\()_odd
    .balign 4
    .option push
    .option norvc
    hw_loop 0, .L\how\()_best
    key \how, K0
    key \how, K1
    pv.dotsp.b t2, Q0, K0
    pv.dotsp.b t3, Q1, K0
    pv.dotsp.b t4, Q0, K1
    pv.dotsp.b t5, Q1, K1
    p.max BEST0, BEST0, t2
    p.max BEST1, BEST1, t3
    p.max BEST0, BEST0, t4
.L\how\()_best:
    p.max BEST1, BEST1, t5
    .option pop
.L\how\()_odd:
    andi t0, s10, 1
    beqz t0, .L\how\()_table
    key \how, K0
    nop
    pv.dotsp.b t2, Q0, K0
    pv.dotsp.b t3, Q1, K0
    p.max BEST0, BEST0, t2
    p.max BEST1, BEST1, t3
.L\how\()_table:
    first_key \how
    round_of ROUND0, BEST0
    round_of ROUND1, BEST1
    li SUM0, 0
    li SUM1, 0
    .ifnc \how, rows
    r_word 0x57, 0, 0x68, Q0, Q0, Q0 /* pv.pack.h: twice */
    r_word 0x57, 0, 0x68, Q1, Q1, Q1
    .endif
    srli t0, s10, 2
    beqz t0, .L\how\()_rest
    .balign 4
    .option push
    .option norvc
    hw_loop 0, .L\how\()_last1
    key \how, K0
    key \how, K1
    key \how, K2
    key \how, K3
    four \how, Q0, ROUND0, SUM0, E0, .L\how\()_last0
    four \how, Q1, ROUND1, SUM1, E1, .L\how\()_last1
    .option pop
.L\how\()_rest:
    andi t1, s10, 3
    beqz t1, .Lpair_done
.L\how\()_one:
    key \how, K0
    addi t1, t1, -1
    one \how, Q0, ROUND0, SUM0, E0
    one \how, Q1, ROUND1, SUM1, E1
    bnez t1, .L\how\()_one
    j .Lpair_done
.endm

function tlf_probs_rows_sdot4x4
    begin_products 28, 32, 36, 40, 44
    copy 0, AT_X, 4, AT_KEYS
    lw t3, 8(a0)
    lw t4, 12(a0)
    lw t3, 0(t3)
    sw t4, AT_TABLE(sp)
    sw t3, AT_MULT(sp)
    copy 16, AT_E, 48, AT_E_STEP
    copy 20, AT_SUM, 24, AT_Y_ROW
    lw t1, 52(a0)
    lw t2, 36(a0)
    sw t1, AT_SHIFT(sp)
    addi t2, t2, -4
    blez t2, .Lshort
    li t0, 0
    step_rows
    tails scores
    rows scores, score_tile, begin_group, look_up_rows
    make_tails scores, 32, 4, 24, AT_Y_ROW
    look_up_routine
.Lshort:
    lw MULT, AT_MULT(sp)
    lw CUT, AT_SHIFT(sp)
    lw TABLE, AT_TABLE(sp)
    lw s10, 32(a0)
    lw s11, 36(a0)
    slti s11, s11, 3
    beqz s11, .Lpair
    make_differences
.Lpair:
    lw t0, AT_ROWS(sp)
    lw t1, AT_X(sp)
    lw t2, AT_X_STEP(sp)
    lw t3, AT_MASK(sp)
    lw E0, AT_E(sp)
    lw t4, AT_E_STEP(sp)
    li t5, 1
    bne t0, t5, 1f
    li t2, 0
    li t4, 0
1:  lw Q0, 0(t1)
    add t1, t1, t2
    add E1, E0, t4
    lw Q1, 0(t1)
    add t1, t1, t2
    add t4, E1, t4
    sw t1, AT_X(sp)
    sw t4, AT_E(sp)
    beqz t3, 2f
    and Q0, Q0, t3
    and Q1, Q1, t3
2:  beqz s11, .Lrows_pair
    pair differences
.Lrows_pair:
    pair rows
.Lpair_done:
    lw t0, AT_SUM(sp)
    lw t1, AT_ROWS(sp)
    p.sw SUM0, 4, t0
    addi t1, t1, -2
    bltz t1, .Lpair_last
    p.sw SUM1, 4, t0
    sw t1, AT_ROWS(sp)
    sw t0, AT_SUM(sp)
    bnez t1, .Lpair
.Lpair_last:
    end_products
    end_function tlf_probs_rows_sdot4x4
