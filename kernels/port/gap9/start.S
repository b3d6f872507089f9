/* Power-on of the bare cluster: the controller initialises L1 and the event unit and calls main; every other core sleeps
 * until tlf_port_parallel hands it a function, runs it and sleeps again. p.elw (opcode 0x03, funct3 6) is the load of
 * the event unit that sleeps.
 */
#include "memory_map.h"

    .section .tlf_stack, "aw", %nobits
    .balign 16
    .space TLF_STACK_BYTES
    .section .tlf_worker_stacks, "aw", %nobits
    .balign 16
    .space TLF_STACK_PITCH * (TLF_ALL_CORES - 1)

    .section .tlf_start, "ax", %progbits
    .global _start
    .type _start, %function
_start:
    li   s0, TLF_EVENT_UNIT
    li   t0, TLF_EVENT_BARRIER | TLF_EVENT_DISPATCH
    sw   t0, TLF_EVENT_MASK(s0)
    .insn i 0x73, 2, s2, x0, TLF_CSR_HARTID
    andi s2, s2, 31
    li   t0, TLF_CONTROLLER
    beq  s2, t0, controller
    addi t1, s2, 1 /* worker i, counted without the controller, gets stack i */
    blt  s2, t0, 1f
    mv   t1, s2
1:  li   t2, TLF_STACK_PITCH
    mul  t1, t1, t2
    la   sp, __worker_stacks_limit
    add  sp, sp, t1
park:
    .insn i 0x03, 6, s1, TLF_DISPATCH_FIFO(s0)
    .insn i 0x03, 6, a0, TLF_DISPATCH_FIFO(s0)
    mv   a1, s2
    li   a2, TLF_CORES
    jalr s1
    .insn i 0x03, 6, x0, TLF_JOIN_BARRIER + TLF_BARRIER_WAIT_CLEAR(s0)
    j    park

controller:
    la   sp, __stack_top
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
4:  li   t0, TLF_WORKER_MASK & ~(1 << TLF_CONTROLLER)
    sw   t0, TLF_DISPATCH_TEAM(s0)
    li   t0, TLF_JOIN_MASK
    sw   t0, TLF_JOIN_BARRIER + TLF_BARRIER_TRIGGER_MASK(s0)
    sw   t0, TLF_JOIN_BARRIER + TLF_BARRIER_TARGET_MASK(s0)
    li   t0, TLF_WORKER_MASK
    sw   t0, TLF_TEAM_BARRIER + TLF_BARRIER_TRIGGER_MASK(s0)
    sw   t0, TLF_TEAM_BARRIER + TLF_BARRIER_TARGET_MASK(s0)
    call main
    call tlf_port_exit
    .size _start, . - _start
