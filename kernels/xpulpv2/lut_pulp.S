/* tlf_lut_pulp (contract: tileformer.h): 2.75 cycles an element. */
#include "words.inc"

    TLF_FUNCTION tlf_lut_pulp
    lw   a1, 0(a0) /* x */
    lw   a2, 4(a0) /* table */
    lw   a4, 12(a0) /* n */
    lw   a3, 8(a0) /* y */
    addi a2, a2, 128
    srli a5, a4, 2
    beqz a5, 1f
    TLF_LOOP a5
    p_lb    t0, a1, 1
    p_lb    t1, a1, 1
    p_lb    t2, a1, 1
    p_lb    t3, a1, 1
    p_lb_at t0, a2, t0
    p_lb_at t1, a2, t1
    p_lb_at t2, a2, t2
    p_lb_at t3, a2, t3
    pv_packlo_b t0, t1, t0
    pv_packhi_b t0, t3, t2
    p_sw    t0, a3, 4
    TLF_LOOP_END
1:  andi a4, a4, 3
    beqz a4, 2f
    TLF_LOOP a4
    p_lb    t0, a1, 1
    p_lb_at t0, a2, t0
    p_sb    t0, a3, 1
    TLF_LOOP_END
2:  ret
    TLF_END tlf_lut_pulp
