/* tlf_add_pulp (contract: tileformer.h): 7 cycles an element, 8 when mult_a has more than 16 bits. */
#include "xpulp.inc"

    TLF_FUNCTION tlf_add_pulp
    lw   a1, 0(a0) /* a */
    lw   a2, 4(a0) /* b */
    lw   a3, 8(a0) /* y */
    lw   a5, 16(a0) /* mult_a */
    lw   a4, 12(a0) /* n */
    lw   a6, 20(a0) /* mult_b */
    lw   a7, 24(a0) /* round */
    lw   a0, 28(a0) /* shift */
    p.exths t0, a5
    bne  t0, a5, 1f
    TLF_LOOP a4
    p.lb    t0, 1, a1
    p.lb    t1, 1, a2
    p.muls  t0, t0, a5
    p.mac   t0, t1, a6
    p.addNr t0, a7, a0
    p.clip8 t0
    p.sb    t0, 1, a3
    TLF_LOOP_END
    ret
1:  TLF_LOOP a4
    p.lb    t0, 1, a1
    p.lb    t1, 1, a2
    mul     t0, t0, a5
    p.mac   t0, t1, a6
    p.addNr t0, a7, a0
    p.clip8 t0
    p.sb    t0, 1, a3
    TLF_LOOP_END
    ret
    TLF_END tlf_add_pulp
