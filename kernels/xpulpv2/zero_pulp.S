/* tlf_zero_pulp (contract: tileformer.h): a word a cycle. */
#include "xpulp.inc"

    TLF_FUNCTION tlf_zero_pulp
    lw   a1, 4(a0) /* n */
    lw   a0, 0(a0) /* y */
    srli a2, a1, 1
    beqz a2, 1f
    TLF_LOOP a2
    p.sw zero, 4, a0
    p.sw zero, 4, a0
    TLF_LOOP_END
1:  andi a1, a1, 1
    beqz a1, 2f
    sw   zero, 0(a0)
2:  ret
    TLF_END tlf_zero_pulp
