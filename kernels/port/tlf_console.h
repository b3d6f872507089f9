/* Console and exit of every bare board: semihosting with TLF_SEMIHOSTING, else nothing and an endless loop.
 * Included once, by the source that defines semihost(operation, argument) when TLF_SEMIHOSTING is defined. */
#ifndef TLF_CONSOLE_H
#define TLF_CONSOLE_H

#include "tlf_port.h"

#ifdef TLF_SEMIHOSTING

#define SEMIHOST_WRITE0 0x04u
#define SEMIHOST_EXIT_EXTENDED 0x20u
#define SEMIHOST_APPLICATION_EXIT 0x20026u
#define WRITE_CHUNK_BYTES 32u

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
    for (;;) {
        __asm__ volatile("" : : "r"(status)); /* for the debugger */
    }
}

#endif

#endif
