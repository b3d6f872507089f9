/* QEMU's virt machine: mcycle (0xb00), always counting. */
#ifndef TLF_BOARD_H
#define TLF_BOARD_H

#define TLF_CYCLE_CSR (0xb00 - 0x1000)

static inline void tlf_board_start_counter(void)
{
}

#endif
