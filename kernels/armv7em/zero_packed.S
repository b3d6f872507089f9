// tlf_zero_packed (contract: tileformer.h): 1.3 cycles a word.

#include "function.inc"

        TLF_FUNCTION tlf_zero_packed
        push    {r4-r8, lr}
        ldmia   r0, {r0, r1}                // y, n
        movs    r2, #0
        movs    r3, #0
        movs    r4, #0
        movs    r5, #0
        movs    r6, #0
        movs    r7, #0
        mov     r8, r2
        mov     r12, r2
        subs    r1, r1, #16
        blt     2f
1:      stmia   r0!, {r2-r8, r12}
        stmia   r0!, {r2-r8, r12}
        subs    r1, r1, #16
        bge     1b
2:      adds    r1, r1, #12
        blt     4f
3:      stmia   r0!, {r2-r5}
        subs    r1, r1, #4
        bge     3b
4:      adds    r1, r1, #4
        beq     6f
5:      str     r2, [r0], #4
        subs    r1, r1, #1
        bne     5b
6:      pop     {r4-r8, pc}
        TLF_END tlf_zero_packed
