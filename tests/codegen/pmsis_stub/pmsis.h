/* The part of PMSIS that kernels/port/gap9-pmsis uses, one core and copies that end at once: enough to compile and run
 * the port on this machine. Names and argument order as in the public PMSIS API documentation.
 */
#ifndef PMSIS_STUB_H
#define PMSIS_STUB_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __riscv
#define PI_L1 __attribute__((section(".data_l1")))
#else
#define PI_L1
#endif

typedef enum { PI_CL_DMA_DIR_LOC2EXT = 0, PI_CL_DMA_DIR_EXT2LOC = 1 } pi_cl_dma_dir_e;
typedef struct {
    int32_t id;
    void *next;
} pi_cl_dma_cmd_t;
enum { PI_PERF_CYCLES = 0 };

extern uint8_t *stub_l1, *stub_l2; /* what lies at 0x10000000 and 0x1C000000 */
extern uint32_t stub_core, stub_cores, stub_barriers, stub_waits, stub_2d, stub_cycles;

static inline void pi_perf_conf(uint32_t events) { (void)events; }
static inline void pi_perf_reset(void) { stub_cycles = 0; }
static inline void pi_perf_start(void) {}
static inline uint32_t pi_perf_read(int32_t event) { return (void)event, stub_cycles; }
static inline uint32_t pi_core_id(void) { return stub_core; }
static inline uint32_t pi_cl_cluster_nb_pe_cores(void) { return stub_cores; }
static inline void pi_cl_team_barrier(void) { stub_barriers++; }
static inline void pmsis_exit(int32_t status) { (void)status; }

static inline void pi_cl_team_fork(int cores, void (*entry)(void *), void *argument)
{
    for (stub_core = 0; stub_core < (uint32_t)cores; stub_core++) {
        entry(argument);
    }
}

static inline void pi_cl_dma_cmd_2d(uint32_t ext, uint32_t loc, uint32_t size, uint32_t stride, uint32_t length,
                                    pi_cl_dma_dir_e direction, pi_cl_dma_cmd_t *command)
{
    command->id = 1;
    stub_2d++;
    for (uint32_t done = 0; done < size; done += length) {
        uint8_t *outside = stub_l2 + (ext - 0x1C000000u) + done / length * stride;
        uint8_t *inside = stub_l1 + (loc - 0x10000000u) + done;
        memcpy(direction == PI_CL_DMA_DIR_EXT2LOC ? inside : outside,
               direction == PI_CL_DMA_DIR_EXT2LOC ? outside : inside, length);
    }
}

static inline void pi_cl_dma_cmd(uint32_t ext, uint32_t loc, uint32_t size, pi_cl_dma_dir_e direction,
                                 pi_cl_dma_cmd_t *command)
{
    pi_cl_dma_cmd_2d(ext, loc, size, size, size, direction, command);
    stub_2d--;
}

struct pi_device {
    const uint8_t *memory; /* of the stub: what the device holds from its address 0 on */
};
typedef struct {
    uint32_t size;
} pi_cl_ram_req_t;

static inline void pi_cl_ram_read(struct pi_device *device, uint32_t from, void *to, uint32_t size, pi_cl_ram_req_t *request)
{
    request->size = size;
    memcpy(to, device->memory + from, size);
}

static inline void pi_cl_ram_read_wait(pi_cl_ram_req_t *request) { stub_waits += request->size != 0; }

static inline void pi_cl_dma_cmd_wait(pi_cl_dma_cmd_t *command) { stub_waits += (uint32_t)command->id; }

#endif
