/* The port of a single RISC-V core whose cycle counter is the CSR that the board's tlf_board.h names. */
#include "tlf_board.h"
#include "tlf_port.h"

/* The assembler's name of CSR instructions needs an extension flag that differs between compilers: .insn does not.
 * Its immediate is signed, hence TLF_CYCLE_CSR between -2048 and 2047. */
void tlf_port_init(void)
{
    tlf_board_start_counter();
    __asm__ volatile(".insn i 0x73, 1, x0, x0, %0" : : "i"(TLF_CYCLE_CSR));
}

uint32_t tlf_port_cycles(void)
{
    uint32_t cycles;
    __asm__ volatile(".insn i 0x73, 2, %0, x0, %1" : "=r"(cycles) : "i"(TLF_CYCLE_CSR));
    return cycles;
}

void tlf_port_parallel(void (*work)(void *context, int32_t core, int32_t cores), void *context)
{
    work(context, 0, 1);
}
