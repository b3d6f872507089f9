/* tlf_layernorm_pulp (contract: tileformer.h): 0.75 cycles an element for the moments, 12 for the values, 127 a row.
 *
 * The root of v in [2^28, 2^30) is two steps of Newton's method from 7/8 * 2^14 + v / 2^16, which is at most 1/8 off. They
 * leave less than 1, so there is at most one too many to undo (checked for every v). The normalised value is the product of
 * -a and -recip: recip may be 2^15, but -recip always fits the 16 bits of p.muls, and so does a, because no |n * x - S| is
 * above sqrt(n - 1) * sqrt(V) and 2^guard is not below sqrt(n).
 */
#include "xpulp.inc"

    TLF_FUNCTION tlf_layernorm_pulp
    lw   a1, 0(a0) /* x */
    lw   a2, 8(a0) /* y */
    lw   a3, 12(a0) /* m */
1:  lw   a4, 16(a0) /* n */
    li   t0, 0x01010101
    li   t1, 0 /* S */
    li   t2, 0 /* sum of squares */
    mv   a5, a1
    srli t3, a4, 3
    beqz t3, 2f
    TLF_LOOP t3
    p.lw t3, 4, a5
    p.lw t4, 4, a5
    pv.sdotsp.b t1, t3, t0
    pv.sdotsp.b t2, t3, t3
    pv.sdotsp.b t1, t4, t0
    pv.sdotsp.b t2, t4, t4
    TLF_LOOP_END
2:  andi t3, a4, 7
    beqz t3, 4f
    TLF_LOOP t3
    p.lb t3, 1, a5
    add  t1, t1, t3
    p.mac t2, t3, t3
    TLF_LOOP_END
4:  lw   a5, 28(a0) /* epsilon */
    lw   a6, 32(a0) /* guard */
    p.mac a5, a4, t2
    p.msu a5, t1, t1 /* V */
    p.fl1 t2, a5
    li   t3, 29
    sub  t2, t3, t2
    srli t2, t2, 1 /* t */
    sll  a5, a5, t2
    sll  a5, a5, t2
    srli t3, a5, 16
    li   t4, 0x3800
    add  t3, t3, t4
    divu t4, a5, t3
    add  t3, t3, t4
    srli t3, t3, 1
    divu t4, a5, t3
    add  t3, t3, t4
    srli t3, t3, 1
    mul  t4, t3, t3
    sltu t4, a5, t4
    sub  t3, t3, t4 /* root */
    srli t4, t3, 1
    li   t5, 1 << 29
    add  t4, t4, t5
    divu t3, t4, t3
    neg  t3, t3 /* -recip */
    sll  a5, a4, t2
    neg  a5, a5 /* -n * 2^t */
    sll  t1, t1, t2
    li   t5, 1
    sll  t2, t5, a6
    srli t4, t2, 1
    sub  t2, t2, t4
    add  t1, t1, t2
    addi t1, t1, -1 /* S * 2^t, and what makes the shift round like that of the positive value */
    li   t2, 17
    sub  t2, t2, a6
    sll  t4, t5, t2
    srli t4, t4, 1 /* 1 << (16 - guard) */
    lw   t5, 4(a0) /* channel */
    lw   t6, 36(a0) /* shift */
    TLF_LOOP a4
    p.lb    a4, 1, a1
    p.lw    t0, 4, t5
    p.lw    a7, 4, t5
    mul     a4, a4, a5
    p.addNr a4, t1, a6
    p.muls  a4, a4, t3
    p.addNr a4, t4, t2
    p.mac   a7, a4, t0
    sra     a7, a7, t6
    p.clip8 a7
    p.sb    a7, 1, a2
    TLF_LOOP_END
    lw   t0, 16(a0)
    lw   t1, 20(a0) /* x_stride */
    lw   t2, 24(a0) /* y_stride */
    sub  a1, a1, t0
    sub  a2, a2, t0
    add  a1, a1, t1
    add  a2, a2, t2
    addi a3, a3, -1
    bnez a3, 1b
    ret
    TLF_END tlf_layernorm_pulp
