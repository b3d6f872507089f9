/* Where things are on a PULP cluster with eight workers and a controller (GAP9). Another cluster of the family, or a
 * simulator of one, needs other numbers here and in link.ld, nothing else. Included by assembly, too.
 */
#ifndef TLF_MEMORY_MAP_H
#define TLF_MEMORY_MAP_H

#ifndef TLF_CORES
#define TLF_CORES 8 /* workers that take part; the others stay parked */
#endif
#ifndef TLF_CONTROLLER
#define TLF_CONTROLLER 8 /* the core that runs main; one below TLF_CORES takes part in the work */
#endif
#ifndef TLF_STACK_BYTES
#define TLF_STACK_BYTES 1024 /* of every core */
#endif
#define TLF_STACK_PITCH (TLF_STACK_BYTES + 16) /* equal depths in different stacks then lie in different banks */
#define TLF_ALL_CORES 9
#define TLF_WORKER_MASK ((1 << TLF_CORES) - 1)
#define TLF_JOIN_MASK (TLF_WORKER_MASK | (1 << TLF_CONTROLLER))

#define TLF_CSR_HARTID (0xf14 - 0x1000) /* .insn immediates are signed; the low five bits number the core */
#define TLF_CSR_COUNTER_EVENTS 0x7a0
#define TLF_CSR_COUNTER_MODE 0x7a1
#define TLF_CSR_CYCLES 0x780

#define TLF_L1 0x10000000
#define TLF_L1_BYTES 0x20000

#define TLF_EVENT_UNIT 0x10204000
#define TLF_EVENT_MASK 0x000
#define TLF_EVENT_MASK_AND 0x004
#define TLF_EVENT_MASK_OR 0x008
#define TLF_EVENT_WAIT_CLEAR 0x03c
#define TLF_DISPATCH_FIFO 0x080
#define TLF_DISPATCH_TEAM 0x084
#define TLF_JOIN_BARRIER 0x200 /* workers and controller */
#define TLF_TEAM_BARRIER 0x220 /* workers */
#define TLF_BARRIER_TRIGGER_MASK 0x00
#define TLF_BARRIER_TARGET_MASK 0x0c
#define TLF_BARRIER_WAIT_CLEAR 0x1c
#define TLF_EVENT_DMA (1 << 8)
#define TLF_EVENT_BARRIER (1 << 16)
#define TLF_EVENT_DISPATCH (1 << 18)

#define TLF_DMA 0x10204400
#define TLF_DMA_COMMAND 0x0
#define TLF_DMA_STATUS 0x4
#define TLF_DMA_TO_L1 (1 << 17)
#define TLF_DMA_INCREMENT (1 << 18)
#define TLF_DMA_EXT_2D (1 << 19)
#define TLF_DMA_NOTIFY (1 << 20)

/* Copies from external memory (L3) to L2: of no documented chip, on a GAP9 it is the SDK's work (gap9-pmsis). */
#define TLF_LOADER 0x10204800
#define TLF_LOADER_TO 0x0
#define TLF_LOADER_FROM 0x4
#define TLF_LOADER_BYTES 0x8 /* written last: starts */
#define TLF_LOADER_ENDED 0xc /* loads that have ended, ever */

#endif
