// tlf_lut_packed (contract: tileformer.h): 3.3 cycles an element. Loads of values and of table entries are grouped, as
// neighbouring loads overlap: eight of each take 17 cycles, less than a word and the unpacking of its four bytes.

#include "function.inc"

        TLF_FUNCTION tlf_lut_packed
        push    {r4-r11, lr}
        ldmia   r0, {r0-r3}                 // x, table, y, n
        add     r1, r1, #128
        subs    r3, r3, #16
        blt     2f
1:
        .rept   2
        .irp    v, 4,5,6,7,8,9,10,11
        ldrsb   r\v, [r0], #1
        .endr
        .irp    v, 4,5,6,7,8,9,10,11
        ldrb    r\v, [r1, r\v]
        .endr
        .irp    v, 4,5,6,7,8,9,10,11
        strb    r\v, [r2], #1
        .endr
        .endr
        subs    r3, r3, #16
        bge     1b
2:      adds    r3, r3, #12
        blt     4f
3:
        .irp    v, 4,5,6,7
        ldrsb   r\v, [r0], #1
        .endr
        .irp    v, 4,5,6,7
        ldrb    r\v, [r1, r\v]
        .endr
        .irp    v, 4,5,6,7
        strb    r\v, [r2], #1
        .endr
        subs    r3, r3, #4
        bge     3b
4:      adds    r3, r3, #4
        beq     6f
5:      ldrsb   r4, [r0], #1
        ldrb    r4, [r1, r4]
        strb    r4, [r2], #1
        subs    r3, r3, #1
        bne     5b
6:      pop     {r4-r11, pc}
        TLF_END tlf_lut_packed
