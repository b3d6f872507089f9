/* The five functions a board gives to an emitted project, and seven more that only a cluster has. kernels/port/<board>/
 * holds the memory map, kernels/port/cortex-m/ what every Cortex-M board shares. The kernels need none of this.
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

/* Clusters only (kernels/port/gap9, kernels/port/gap9-pmsis): workers that share L1, and a DMA between L2 and L1. */

/* Inside work() of tlf_port_parallel: waits until every core of the region is here. */
void tlf_port_barrier(void);

/* Inside work(): the number of this core, 0 .. cores - 1. Elsewhere: that of the controller, which may be >= cores. */
int32_t tlf_port_core(void);

/* Starts a copy of 1 .. 131071 bytes between L2 and L1, either way, and returns its number before it has ended. Until
 * tlf_port_copy_wait on the same core the source may not be written and the destination not touched. Copies end in the
 * order of their start; at most 16 are not yet waited for. */
int32_t tlf_port_copy(void *to, const void *from, int32_t size_bytes);

/* The same for `rows` rows of row_bytes bytes: packed in L1, l2_stride_bytes apart in L2. */
int32_t tlf_port_copy_rows(void *to, const void *from, int32_t rows, int32_t row_bytes, int32_t l2_stride_bytes);

/* Returns when that copy has ended; its number may then be given to another. */
void tlf_port_copy_wait(int32_t copy);

/* Starts a copy from external memory (L3) to L2 and returns its number before it has ended; used by networks whose weights L2
 * cannot hold. Loads end in the order of their start; at most 16 are not yet waited for. */
int32_t tlf_port_load(void *to, const void *from, int32_t size_bytes);

/* Returns when that load, and so every earlier one, has ended. */
void tlf_port_load_wait(int32_t load);

#endif
