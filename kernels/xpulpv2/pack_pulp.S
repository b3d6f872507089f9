/* tlf_pack_keys_pulp, tlf_pack_rows_pulp (contract: tileformer.h): a cycle a byte, and half of one. Write columns, and rows. */
#include "xpulp.inc"

.macro begin
    lw   a1, 0(a0) /* x */
    lw   a2, 4(a0) /* y */
    lw   a3, 8(a0) /* m */
    lw   a4, 12(a0) /* k */
    lw   a6, 16(a0) /* x_stride */
    lw   a7, 20(a0) /* y_stride */
.endm

.macro next_row
    addi a3, a3, -1
    add  a1, a1, a6
    add  a2, a2, a7
    bnez a3, 1b
    ret
.endm

    TLF_FUNCTION tlf_pack_keys_pulp
    begin
    li   t4, 0x81818181
    li   t5, -127
    andi t6, a4, 3
    srli a4, a4, 2
1:  mv   t0, a1
    mv   t1, a2
    beqz a4, 2f
    TLF_LOOP a4
    p.lw t2, 4, t0
    pv.max.b t2, t2, t4
    p.sw t2, 4, t1
    TLF_LOOP_END
2:  beqz t6, 4f
    TLF_LOOP t6
    p.lb t2, 1, t0
    p.max t2, t2, t5
    p.sb t2, 1, t1
    TLF_LOOP_END
4:  next_row
    TLF_END tlf_pack_keys_pulp

    TLF_FUNCTION tlf_pack_rows_pulp
    begin
    andi t6, a4, 7
    srli a4, a4, 3
1:  mv   t0, a1
    mv   t1, a2
    beqz a4, 2f
    TLF_LOOP a4
    p.lw t2, 4, t0
    p.lw t3, 4, t0
    p.sw t2, 4, t1
    p.sw t3, 4, t1
    TLF_LOOP_END
2:  beqz t6, 4f
    TLF_LOOP t6
    p.lb t2, 1, t0
    nop
    p.sb t2, 1, t1
    TLF_LOOP_END
4:  next_row
    TLF_END tlf_pack_rows_pulp
