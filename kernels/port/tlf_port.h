/* The five functions a board gives to an emitted project. kernels/port/<board>/ holds the memory map,
 * kernels/port/cortex-m/ what every Cortex-M board shares. The kernels themselves need none of this.
 */
#ifndef TLF_PORT_H
#define TLF_PORT_H

#include <stdint.h>

/* Starts the cycle counter. Call once, before anything else. */
void tlf_port_init(void);

/* Core clock cycles since tlf_port_init, modulo 2^32: subtract two readings as uint32_t. QEMU has no counter: 0. */
uint32_t tlf_port_cycles(void);

/* Sends size_bytes bytes to the console. A weak function that drops them unless TLF_SEMIHOSTING is defined: define your
 * own for a UART. */
void tlf_port_write(const char *bytes, uint32_t size_bytes);

/* Calls work(context, core, cores) once for every core, core = 0 .. cores - 1, and returns when all calls have. */
void tlf_port_parallel(void (*work)(void *context, int32_t core, int32_t cores), void *context);

/* Ends the program: the exit status of the emulator with TLF_SEMIHOSTING, an endless loop on a board. */
void tlf_port_exit(int32_t status) __attribute__((noreturn));

#endif
