/* tlf_lut_pulp (contract: tileformer.h): 2.75 cycles an element. */
#include "xpulp.inc"

    TLF_FUNCTION tlf_lut_pulp
    lw   a1, 0(a0) /* x */
    lw   a2, 4(a0) /* table */
    lw   a4, 12(a0) /* n */
    lw   a3, 8(a0) /* y */
    addi a2, a2, 128
    srli a5, a4, 2
    beqz a5, 1f
    TLF_LOOP a5
    p.lb    t0, 1, a1
    p.lb    t1, 1, a1
    p.lb    t2, 1, a1
    p.lb    t3, 1, a1
    p.lbx t0, a2, t0
    p.lbx t1, a2, t1
    p.lbx t2, a2, t2
    p.lbx t3, a2, t3
    pack4 t0, t0, t1, t2, t3
    p.sw    t0, 4, a3
    TLF_LOOP_END
1:  andi a4, a4, 3
    beqz a4, 2f
    TLF_LOOP a4
    p.lb    t0, 1, a1
    p.lbx t0, a2, t0
    p.sb    t0, 1, a3
    TLF_LOOP_END
2:  ret
    TLF_END tlf_lut_pulp
