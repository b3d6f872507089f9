/* tlf_mean_pulp (contract: tileformer.h): 1.5 cycles an element in groups of 4 columns, 3 in what is left of them. */
#include "xpulp.inc"

.macro result sum /* before: mult in t0, round in t1, shift in a5 */
    mul     \sum, \sum, t0
    p.addNr \sum, t1, a5
    p.clip8 \sum
.endm

.macro arithmetic
    lw   t0, 20(a0)
    lw   t1, 24(a0)
    lw   a5, 28(a0)
.endm

    TLF_FUNCTION tlf_mean_pulp
    lw   a1, 0(a0) /* x */
    lw   a2, 4(a0) /* y */
    lw   a4, 12(a0) /* n */
    li   a6, 1 /* selects a byte of the word */
    li   a7, 1 << 8
    li   t5, 1 << 16
    li   t6, 1 << 24
    j    2f
1:  lw   t1, 8(a0) /* m */
    lw   a5, 16(a0) /* x_stride */
    mv   t0, a1
    li   a3, 0
    li   t2, 0
    li   t3, 0
    li   t4, 0
    TLF_LOOP t1
    p.lwr t1, a5, t0
    pv.sdotsp.b a3, t1, a6
    pv.sdotsp.b t2, t1, a7
    pv.sdotsp.b t3, t1, t5
    pv.sdotsp.b t4, t1, t6
    TLF_LOOP_END
    arithmetic
    result a3
    result t2
    result t3
    result t4
    pack4 a3, a3, t2, t3, t4
    p.sw a3, 4, a2
    addi a1, a1, 4
2:  addi a4, a4, -4
    bgez a4, 1b
    addi a4, a4, 4
    beqz a4, 5f
4:  lw   t1, 8(a0)
    lw   a5, 16(a0)
    mv   t0, a1
    li   t2, 0
    TLF_LOOP t1
    p.lbr t1, a5, t0
    add  t2, t2, t1
    TLF_LOOP_END
    arithmetic
    result t2
    p.sb t2, 1, a2
    addi a1, a1, 1
    addi a4, a4, -1
    bnez a4, 4b
5:  ret
    TLF_END tlf_mean_pulp
