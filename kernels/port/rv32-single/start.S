/* Power-on of a single RV32IMC core: RAM initialised, main called, its result handed to tlf_port_exit; an exception
 * exits with 126. The stack size is a compile-time choice (-DTLF_STACK_BYTES=1024); the linker script puts it at the
 * very bottom of SRAM1, where an overflow leaves the memory instead of destroying data.
 */
#ifndef TLF_STACK_BYTES
#define TLF_STACK_BYTES 2048
#endif

    .section .tlf_stack, "aw", %nobits
    .balign 16
    .global __tlf_stack
__tlf_stack:
    .space TLF_STACK_BYTES

    .section .tlf_start, "ax", %progbits
    .global _start
    .type _start, %function
_start:
    la   sp, __stack_top
    la   t0, exception
    .insn i 0x73, 1, x0, t0, 0x305 /* csrw mtvec */
    la   t0, __data_start
    la   t1, __data_end
    la   t2, __data_load
1:  beq  t0, t1, 2f
    lw   t3, 0(t2)
    sw   t3, 0(t0)
    addi t0, t0, 4
    addi t2, t2, 4
    j    1b
2:  la   t0, __bss_start
    la   t1, __bss_end
3:  beq  t0, t1, 4f
    sw   zero, 0(t0)
    addi t0, t0, 4
    j    3b
4:  call main
    call tlf_port_exit

    .balign 4
exception:
    li   a0, 126
    call tlf_port_exit
    .size _start, . - _start
