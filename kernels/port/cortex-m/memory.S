/* memcpy, memmove, memset, memcmp and their EABI names as the C compilers expect them, so that no libc is needed and
 * every toolchain runs the same code. ARMv7E-M assembly, because a compiler may turn a C body into a call of itself.
 */
    .syntax unified
    .thumb
    .text

    .macro label name
    .weak \name
    .type \name, %function
    .thumb_func
\name:
    .endm

    .macro function name
    .section .text.\name, "ax", %progbits
    .balign 4
    label \name
    .endm

    .macro eabi name
    label __aeabi_\name
    label __aeabi_\name\()4
    label __aeabi_\name\()8
    .endm

/* r0 = to, r1 = from, r2 = bytes. Unaligned single words are legal on ARMv7E-M. */
    function memcpy
    eabi memcpy
    mov     r12, r0
    subs    r2, r2, #8
    blo     2f
1:  ldr     r3, [r1], #4
    str     r3, [r12], #4
    ldr     r3, [r1], #4
    str     r3, [r12], #4
    subs    r2, r2, #8
    bhs     1b
2:  adds    r2, r2, #8
    beq     4f
3:  ldrb    r3, [r1], #1
    strb    r3, [r12], #1
    subs    r2, r2, #1
    bne     3b
4:  bx      lr
    .size memcpy, . - memcpy

/* r0 = to, r1 = from, r2 = bytes; the spans may overlap. Backwards by bytes when `to` lies inside the source span. */
    function memmove
    eabi memmove
    subs    r3, r0, r1
    cmp     r3, r2
    bhs     memcpy
    cbz     r2, 2f
1:  subs    r2, r2, #1
    ldrb    r3, [r1, r2]
    strb    r3, [r0, r2]
    bne     1b
2:  bx      lr
    .size memmove, . - memmove

/* __aeabi_memset: r0 = to, r1 = bytes, r2 = byte value. __aeabi_memclr: the value is 0. */
    function tlf_memclr
    eabi memclr
    movs    r2, #0
    eabi memset
    mov     r3, r1
    mov     r1, r2
    mov     r2, r3
    b.w     memset
    .size tlf_memclr, . - tlf_memclr

    function memset
    mov     r12, r0
    and     r1, r1, #255
    orr     r1, r1, r1, lsl #8
    orr     r1, r1, r1, lsl #16
    subs    r2, r2, #8
    blo     2f
1:  str     r1, [r12], #4
    str     r1, [r12], #4
    subs    r2, r2, #8
    bhs     1b
2:  adds    r2, r2, #8
    beq     4f
3:  strb    r1, [r12], #1
    subs    r2, r2, #1
    bne     3b
4:  bx      lr
    .size memset, . - memset

/* r0, r1 = spans, r2 = bytes: the difference of the first unequal bytes, or 0. */
    function memcmp
    cbz     r2, 2f
    push    {r4, lr}
1:  ldrb    r3, [r0], #1
    ldrb    r4, [r1], #1
    subs    r3, r3, r4
    bne     3f
    subs    r2, r2, #1
    bne     1b
3:  mov     r0, r3
    pop     {r4, pc}
2:  movs    r0, #0
    bx      lr
    .size memcmp, . - memcmp
