/* ESP32-C3: the vendor's own counter (technical reference manual, "performance counter"): event, mode, count. */
#ifndef TLF_BOARD_H
#define TLF_BOARD_H

#define TLF_CYCLE_CSR 0x7e2

static inline void tlf_board_start_counter(void)
{
    __asm__ volatile(".insn i 0x73, 5, x0, x1, 0x7e0\n\t" /* csrwi mpcer, 1: count cycles */
                     ".insn i 0x73, 5, x0, x1, 0x7e1"); /* csrwi mpcmr, 1: count */
}

#endif
