/* The port of GAP9 (and GAP8) under PMSIS: the emitted network runs as a cluster task, see README.md here. */
#include "pmsis.h"
#include "tlf_port.h"

typedef struct {
    void (*work)(void *context, int32_t core, int32_t cores);
    void *context;
    int32_t cores;
} tlf_region;

#define COPIES 16
#define L1 0x10000000u
#define L1_BYTES 0x20000u

#define LOADS 16
#ifndef TLF_EXTERNAL_BASE
#define TLF_EXTERNAL_BASE 0x80000000u /* of the section .tlf_external.l3 */
#endif

/* Networks with constants in external memory only: the application sets it to the opened device that holds the section
 * from its address 0 on. */
struct pi_device *tlf_external_device;

static PI_L1 pi_cl_ram_req_t requests[LOADS];
static uint32_t started, ended; /* loads, ever */
static PI_L1 pi_cl_dma_cmd_t commands[COPIES];
static uint32_t used; /* one bit a command: taken by the one core that copies */

void tlf_port_init(void)
{
    pi_perf_conf(1 << PI_PERF_CYCLES);
    pi_perf_reset();
    pi_perf_start();
}

uint32_t tlf_port_cycles(void)
{
    return pi_perf_read(PI_PERF_CYCLES);
}

void tlf_port_write(const char *bytes, uint32_t size_bytes)
{
    printf("%.*s", (int)size_bytes, bytes);
}

void tlf_port_exit(int32_t status)
{
    pmsis_exit(status);
    for (;;) {
    }
}

static void run(void *argument)
{
    const tlf_region *region = argument;
    region->work(region->context, (int32_t)pi_core_id(), region->cores);
}

void tlf_port_parallel(void (*work)(void *context, int32_t core, int32_t cores), void *context)
{
    tlf_region region = {work, context, (int32_t)pi_cl_cluster_nb_pe_cores()};
    pi_cl_team_fork((int)region.cores, run, &region);
}

void tlf_port_barrier(void)
{
    pi_cl_team_barrier();
}

int32_t tlf_port_core(void)
{
    return (int32_t)pi_core_id();
}

static int32_t take(void)
{
    int32_t copy = 0;
    while ((used >> copy & 1u) != 0) {
        copy++;
    }
    used |= 1u << copy;
    return copy;
}

int32_t tlf_port_copy_rows(void *to, const void *from, int32_t rows, int32_t row_bytes, int32_t l2_stride_bytes)
{
    const uint32_t target = (uint32_t)(uintptr_t)to;
    const uint32_t source = (uint32_t)(uintptr_t)from;
    const int32_t in = target - L1 < L1_BYTES;
    const pi_cl_dma_dir_e direction = in ? PI_CL_DMA_DIR_EXT2LOC : PI_CL_DMA_DIR_LOC2EXT;
    const int32_t copy = take();
    pi_cl_dma_cmd_2d(in ? source : target, in ? target : source, (uint32_t)(rows * row_bytes),
                     (uint32_t)l2_stride_bytes, (uint32_t)row_bytes, direction, &commands[copy]);
    return copy;
}

int32_t tlf_port_copy(void *to, const void *from, int32_t size_bytes)
{
    const uint32_t target = (uint32_t)(uintptr_t)to;
    const uint32_t source = (uint32_t)(uintptr_t)from;
    const int32_t in = target - L1 < L1_BYTES;
    const pi_cl_dma_dir_e direction = in ? PI_CL_DMA_DIR_EXT2LOC : PI_CL_DMA_DIR_LOC2EXT;
    const int32_t copy = take();
    pi_cl_dma_cmd(in ? source : target, in ? target : source, (uint32_t)size_bytes, direction, &commands[copy]);
    return copy;
}

void tlf_port_copy_wait(int32_t copy)
{
    pi_cl_dma_cmd_wait(&commands[copy]);
    used &= ~(1u << copy);
}

int32_t tlf_port_load(void *to, const void *from, int32_t size_bytes)
{
    const uint32_t address = (uint32_t)(uintptr_t)from - TLF_EXTERNAL_BASE;
    pi_cl_ram_read(tlf_external_device, address, to, (uint32_t)size_bytes, &requests[started % LOADS]);
    return (int32_t)started++;
}

void tlf_port_load_wait(int32_t load)
{
    for (; (int32_t)(ended - (uint32_t)load) <= 0; ended++) {
        pi_cl_ram_read_wait(&requests[ended % LOADS]);
    }
}
