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

static uint32_t is_l1(const void *p)
{
    return (uint32_t)p - TLF_L1 < TLF_L1_BYTES;
}

int32_t tlf_port_copy(void *to, const void *from, int32_t size_bytes)
{
    volatile uint32_t *queue = dma_register(TLF_DMA_COMMAND);
    const uint32_t in = is_l1(to);
    __asm__ volatile("" ::: "memory");
    const int32_t copy = (int32_t)*queue; /* allocates a number */
    *queue = (uint32_t)size_bytes | TLF_DMA_INCREMENT | TLF_DMA_NOTIFY | (in ? TLF_DMA_TO_L1 : 0u);
    *queue = in ? (uint32_t)to : (uint32_t)from;
    *queue = in ? (uint32_t)from : (uint32_t)to;
    return copy;
}

int32_t tlf_port_copy_rows(void *to, const void *from, int32_t rows, int32_t row_bytes, int32_t l2_stride_bytes)
{
    volatile uint32_t *queue = dma_register(TLF_DMA_COMMAND);
    const uint32_t in = is_l1(to);
    const uint32_t command = TLF_DMA_INCREMENT | TLF_DMA_NOTIFY | TLF_DMA_EXT_2D | (in ? TLF_DMA_TO_L1 : 0u);
    __asm__ volatile("" ::: "memory");
    const int32_t copy = (int32_t)*queue;
    *queue = (uint32_t)(rows * row_bytes) | command;
    *queue = in ? (uint32_t)to : (uint32_t)from;
    *queue = in ? (uint32_t)from : (uint32_t)to;
    *queue = (uint32_t)row_bytes;
    *queue = (uint32_t)l2_stride_bytes;
    return copy;
}

static inline volatile uint32_t *loader_register(uint32_t offset)
{
    return (volatile uint32_t *)(TLF_LOADER + offset);
}

int32_t tlf_port_load(void *to, const void *from, int32_t size_bytes)
{
    static uint32_t started;
    __asm__ volatile("" ::: "memory");
    *loader_register(TLF_LOADER_TO) = (uint32_t)to;
    *loader_register(TLF_LOADER_FROM) = (uint32_t)from;
    *loader_register(TLF_LOADER_BYTES) = (uint32_t)size_bytes;
    return (int32_t)started++;
}

void tlf_port_load_wait(int32_t load)
{
    while ((int32_t)(*loader_register(TLF_LOADER_ENDED) - (uint32_t)load) <= 0) {
    }
    __asm__ volatile("" ::: "memory");
}

/* The DMA's event is enabled here only: left over from a copy that ended unwaited, it must not end a barrier. */
void tlf_port_copy_wait(int32_t copy)
{
    volatile uint32_t *status = dma_register(TLF_DMA_STATUS);
    const uint32_t mask = 1u << copy;
    while ((*status & mask) != 0) {
        event_store(TLF_EVENT_MASK_OR, TLF_EVENT_DMA);
        EVENT_WAIT(TLF_EVENT_WAIT_CLEAR);
        event_store(TLF_EVENT_MASK_AND, TLF_EVENT_DMA);
    }
    *status = mask; /* the number is free again */
    __asm__ volatile("" ::: "memory");
}
