/* Console and exit of every RISC-V board: semihosting with TLF_SEMIHOSTING, else nothing and an endless loop. */
#include "tlf_port.h"

#ifdef TLF_SEMIHOSTING

#define SEMIHOST_WRITE0 0x04u
#define SEMIHOST_EXIT_EXTENDED 0x20u
#define SEMIHOST_APPLICATION_EXIT 0x20026u
#define WRITE_CHUNK_BYTES 32u

/* Four-byte instructions in one aligned block: that is how a debugger knows the breakpoint. */
static void semihost(uint32_t operation, const void *argument)
{
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(".option push\n\t.option norvc\n\t.balign 16\n\tslli zero, zero, 0x1f\n\tebreak\n\t"
                     "srai zero, zero, 0x7\n\t.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
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
    register int32_t a0 __asm__("a0") = status; /* for the debugger */
    for (;;) {
        __asm__ volatile("" : "+r"(a0));
    }
}

#endif
