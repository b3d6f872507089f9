/* memcpy, memmove, memset, memcmp as the C compilers expect them, so that no libc is needed and every toolchain runs
 * the same code. RV32IMC assembly, because a compiler may turn a C body into a call of itself.
 */
    .macro function name
    .section .text.\name, "ax", %progbits
    .balign 4
    .weak \name
    .type \name, %function
\name:
    .endm

    function memmove
    bleu a0, a1, memcpy_forward
    add  a1, a1, a2
    add  a3, a0, a2
1:  beq  a3, a0, 2f
    addi a1, a1, -1
    addi a3, a3, -1
    lbu  a4, 0(a1)
    sb   a4, 0(a3)
    j    1b
2:  ret

    .type memcpy, %function
    .weak memcpy
memcpy:
memcpy_forward:
    mv   a3, a0
    or   a4, a0, a1
    andi a4, a4, 3
    bnez a4, 2f
    andi a5, a2, -4
    add  a5, a5, a0
1:  beq  a3, a5, 2f
    lw   a4, 0(a1)
    addi a1, a1, 4
    addi a3, a3, 4
    sw   a4, -4(a3)
    j    1b
2:  add  a5, a0, a2
3:  beq  a3, a5, 4f
    lbu  a4, 0(a1)
    addi a1, a1, 1
    addi a3, a3, 1
    sb   a4, -1(a3)
    j    3b
4:  ret

    function memset
    add  a3, a0, a2
    mv   a4, a0
1:  beq  a4, a3, 2f
    sb   a1, 0(a4)
    addi a4, a4, 1
    j    1b
2:  ret

    function memcmp
    add  a2, a2, a0
1:  beq  a0, a2, 2f
    lbu  a3, 0(a0)
    lbu  a4, 0(a1)
    addi a0, a0, 1
    addi a1, a1, 1
    beq  a3, a4, 1b
    sub  a0, a3, a4
    ret
2:  li   a0, 0
    ret
