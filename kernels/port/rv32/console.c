/* Semihosting of every RISC-V board. */
#ifdef TLF_SEMIHOSTING

#include <stdint.h>

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

#endif

#include "tlf_console.h"
