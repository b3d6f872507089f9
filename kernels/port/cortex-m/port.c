/* The port of a single Cortex-M4 or M7 core. */
#include "tlf_port.h"

#define DEMCR (*(volatile uint32_t *)0xE000EDFCu)
#define DEMCR_TRACE_ENABLE (1u << 24)
#define DWT_CONTROL (*(volatile uint32_t *)0xE0001000u)
#define DWT_CYCLES (*(volatile uint32_t *)0xE0001004u)
#define DWT_LOCK (*(volatile uint32_t *)0xE0001FB0u) /* of the Cortex-M7; the M4 ignores it */
#define DWT_UNLOCK 0xC5ACCE55u

void tlf_port_init(void)
{
    DEMCR |= DEMCR_TRACE_ENABLE;
    DWT_LOCK = DWT_UNLOCK;
    DWT_CYCLES = 0;
    DWT_CONTROL |= 1u;
}

uint32_t tlf_port_cycles(void)
{
    return DWT_CYCLES;
}

void tlf_port_parallel(void (*work)(void *context, int32_t core, int32_t cores), void *context)
{
    work(context, 0, 1);
}

#ifdef TLF_SEMIHOSTING

static void semihost(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

#endif

#include "tlf_console.h"
