/* The port of GAP9 (and GAP8) under PMSIS: the emitted network runs as a cluster task, see README.md here. */
#include "pmsis.h"
#include "tlf_port.h"

typedef struct {
    void (*work)(void *context, int32_t core, int32_t cores);
    void *context;
    int32_t cores;
} tlf_region;

typedef char tlf_copy_fits[sizeof(pi_cl_dma_cmd_t) <= sizeof(tlf_port_copy) ? 1 : -1];

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

static void start(tlf_port_copy *copy, pi_cl_dma_dir_e direction, uint32_t l1, uint32_t l2, uint32_t rows,
                  uint32_t row_bytes, uint32_t l2_stride_bytes)
{
    pi_cl_dma_cmd_t *command = (pi_cl_dma_cmd_t *)(void *)copy;
    if (rows == 1 || row_bytes == l2_stride_bytes) {
        pi_cl_dma_cmd(l2, l1, rows * row_bytes, direction, command);
    } else {
        pi_cl_dma_cmd_2d(l2, l1, rows * row_bytes, l2_stride_bytes, row_bytes, direction, command);
    }
}

void tlf_port_copy_in(tlf_port_copy *copy, void *l1, const void *l2, uint32_t rows, uint32_t row_bytes,
                      uint32_t l2_stride_bytes)
{
    start(copy, PI_CL_DMA_DIR_EXT2LOC, (uint32_t)(uintptr_t)l1, (uint32_t)(uintptr_t)l2, rows, row_bytes,
          l2_stride_bytes);
}

void tlf_port_copy_out(tlf_port_copy *copy, void *l2, const void *l1, uint32_t rows, uint32_t row_bytes,
                       uint32_t l2_stride_bytes)
{
    start(copy, PI_CL_DMA_DIR_LOC2EXT, (uint32_t)(uintptr_t)l1, (uint32_t)(uintptr_t)l2, rows, row_bytes,
          l2_stride_bytes);
}

void tlf_port_copy_wait(tlf_port_copy *copy)
{
    pi_cl_dma_cmd_wait((pi_cl_dma_cmd_t *)(void *)copy);
}
