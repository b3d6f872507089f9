/* The port of the bare cluster: registers of PULP's event unit and DMA, no operating system. */
#include "memory_map.h"
#include "tlf_port.h"

static inline void event_store(uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)(TLF_EVENT_UNIT + offset) = value;
}

static inline uint32_t *dma_register(uint32_t offset)
{
    return (uint32_t *)(TLF_DMA + offset);
}

/* Sleeps in a load of the event unit until there is something to wake up for. */
#define EVENT_WAIT(offset) \
    __asm__ volatile(".insn i 0x03, 6, x0, %0(%1)" : : "i"(offset), "r"(TLF_EVENT_UNIT) : "memory")

void tlf_port_init(void)
{
    __asm__ volatile(".insn i 0x73, 5, x0, x1, %0\n\t" /* csrwi: count cycles, go, from zero */
                     ".insn i 0x73, 5, x0, x1, %1\n\t"
                     ".insn i 0x73, 1, x0, x0, %2"
                     :
                     : "i"(TLF_CSR_COUNTER_EVENTS), "i"(TLF_CSR_COUNTER_MODE), "i"(TLF_CSR_CYCLES));
}

uint32_t tlf_port_cycles(void)
{
    uint32_t cycles;
    __asm__ volatile(".insn i 0x73, 2, %0, x0, %1" : "=r"(cycles) : "i"(TLF_CSR_CYCLES) : "memory");
    return cycles;
}

int32_t tlf_port_core(void)
{
    uint32_t id;
    __asm__(".insn i 0x73, 2, %0, x0, %1" : "=r"(id) : "i"(TLF_CSR_HARTID));
    return (int32_t)(id & 31u);
}

void tlf_port_parallel(void (*work)(void *context, int32_t core, int32_t cores), void *context)
{
    __asm__ volatile("" ::: "memory");
    event_store(TLF_DISPATCH_FIFO, (uint32_t)work);
    event_store(TLF_DISPATCH_FIFO, (uint32_t)context);
    if (TLF_CONTROLLER < TLF_CORES) {
        work(context, TLF_CONTROLLER, TLF_CORES);
    }
    EVENT_WAIT(TLF_JOIN_BARRIER + TLF_BARRIER_WAIT_CLEAR);
}

void tlf_port_barrier(void)
{
    EVENT_WAIT(TLF_TEAM_BARRIER + TLF_BARRIER_WAIT_CLEAR);
}

static void start(tlf_port_copy *copy, uint32_t direction, uint32_t l1, uint32_t l2, uint32_t rows, uint32_t row_bytes,
                  uint32_t l2_stride_bytes)
{
    volatile uint32_t *queue = dma_register(TLF_DMA_COMMAND);
    const uint32_t command = direction | TLF_DMA_INCREMENT | TLF_DMA_NOTIFY | rows * row_bytes;
    __asm__ volatile("" ::: "memory");
    copy->words[0] = *queue; /* allocates a transfer number */
    if (rows == 1 || row_bytes == l2_stride_bytes) {
        *queue = command;
        *queue = l1;
        *queue = l2;
    } else {
        *queue = command | TLF_DMA_EXT_2D;
        *queue = l1;
        *queue = l2;
        *queue = row_bytes;
        *queue = l2_stride_bytes;
    }
}

void tlf_port_copy_in(tlf_port_copy *copy, void *l1, const void *l2, uint32_t rows, uint32_t row_bytes,
                      uint32_t l2_stride_bytes)
{
    start(copy, TLF_DMA_TO_L1, (uint32_t)l1, (uint32_t)l2, rows, row_bytes, l2_stride_bytes);
}

void tlf_port_copy_out(tlf_port_copy *copy, void *l2, const void *l1, uint32_t rows, uint32_t row_bytes,
                       uint32_t l2_stride_bytes)
{
    start(copy, 0, (uint32_t)l1, (uint32_t)l2, rows, row_bytes, l2_stride_bytes);
}

/* The DMA's event is enabled here only: left over from a copy that ended unwaited, it must not end a barrier. */
void tlf_port_copy_wait(tlf_port_copy *copy)
{
    volatile uint32_t *status = dma_register(TLF_DMA_STATUS);
    const uint32_t mask = 1u << copy->words[0];
    while ((*status & mask) != 0) {
        event_store(TLF_EVENT_MASK_OR, TLF_EVENT_DMA);
        EVENT_WAIT(TLF_EVENT_WAIT_CLEAR);
        event_store(TLF_EVENT_MASK_AND, TLF_EVENT_DMA);
    }
    *status = mask; /* the number is free again */
    __asm__ volatile("" ::: "memory");
}
