/* tlf_narrow_pulp (contract: tileformer.h): 9 cycles an element. */
#include "xpulp.inc"

    TLF_FUNCTION tlf_narrow_pulp
    lw   a1, 0(a0) /* x */
    lw   a2, 4(a0) /* channel */
    lw   a3, 8(a0) /* y */
    lw   a4, 12(a0) /* m */
    lw   a5, 16(a0) /* n */
    lw   a6, 28(a0) /* round */
    lw   a7, 32(a0) /* preshift */
    lw   t6, 36(a0) /* shift */
1:  mv   t0, a1
    mv   t1, a2
    mv   t2, a3
    TLF_LOOP a5
    p.lw    t3, 4, t0
    p.lw    t4, 4, t1
    p.lw    t5, 4, t1
    p.addNr t3, t4, a7
    mul     t3, t3, t5
    p.addNr t3, a6, t6
    p.clip8 t3
    p.sb    t3, 1, t2
    TLF_LOOP_END
    lw   t3, 20(a0) /* x_stride */
    lw   t4, 24(a0) /* y_stride */
    addi a4, a4, -1
    add  a1, a1, t3
    add  a3, a3, t4
    bnez a4, 1b
    ret
    TLF_END tlf_narrow_pulp
