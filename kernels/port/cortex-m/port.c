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

#define SEMIHOST_WRITE0 0x04u
#define SEMIHOST_EXIT_EXTENDED 0x20u
#define SEMIHOST_APPLICATION_EXIT 0x20026u
#define WRITE_CHUNK_BYTES 32u

static void semihost(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

/* SYS_WRITE0 takes a string: bytes go out in terminated chunks, and a zero byte is dropped. */
void tlf_port_write(const char *bytes, uint32_t size_bytes)
{
    char chunk[WRITE_CHUNK_BYTES + 1];
    uint32_t used = 0;
    for (uint32_t i = 0; i < size_bytes; i++) {
        if (bytes[i] != '\0') {
            chunk[used++] = bytes[i];
        }
        if (used == WRITE_CHUNK_BYTES || i + 1 == size_bytes) {
            chunk[used] = '\0';
            semihost(SEMIHOST_WRITE0, chunk);
            used = 0;
        }
    }
}

void tlf_port_exit(int32_t status)
{
    const uint32_t block[2] = {SEMIHOST_APPLICATION_EXIT, (uint32_t)status};
    semihost(SEMIHOST_EXIT_EXTENDED, block);
    for (;;) {
    }
}

#else

__attribute__((weak)) void tlf_port_write(const char *bytes, uint32_t size_bytes)
{
    (void)bytes;
    (void)size_bytes;
}

void tlf_port_exit(int32_t status)
{
    register int32_t r0 __asm__("r0") = status; /* for the debugger */
    for (;;) {
        __asm__ volatile("" : "+r"(r0));
    }
}

#endif
