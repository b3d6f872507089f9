/* Vector table and Reset_Handler of a Cortex-M4F or M7F: RAM initialised, code copied to where it runs, FPU on, main
 * called, its result handed to tlf_port_exit. The stack is an array here, so its size is a compile-time choice (-DTLF_STACK_BYTES=1024); the linker
 * script puts it at the very bottom of its RAM, where an overflow faults instead of destroying data.
 */
#include <stdint.h>

#include "tlf_port.h"

#ifndef TLF_STACK_BYTES
#define TLF_STACK_BYTES 2048
#endif

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CPACR_FPU_FULL_ACCESS (0xFu << 20)
#define EXIT_UNEXPECTED_EXCEPTION 126

typedef struct {
    const uint32_t *stack_top;
    void (*handlers[15])(void);
} tlf_vectors;

extern const uint32_t __stack_top[];
extern const uint32_t __code_load[];
extern uint32_t __code_start[];
extern uint32_t __code_copy_end[];
extern const uint32_t __data_load[];
extern uint32_t __data_start[];
extern uint32_t __data_end[];
extern uint32_t __bss_start[];
extern uint32_t __bss_end[];
extern const tlf_vectors __tlf_vectors;
extern uint64_t __tlf_stack[TLF_STACK_BYTES / 8];

int main(void);
void Reset_Handler(void);
void Default_Handler(void);

__attribute__((section(".tlf_stack"), used, aligned(16))) uint64_t __tlf_stack[TLF_STACK_BYTES / 8];

__attribute__((section(".tlf_vectors"), used)) const tlf_vectors __tlf_vectors = {
    __stack_top,
    {Reset_Handler, Default_Handler, Default_Handler, Default_Handler, Default_Handler, Default_Handler, 0, 0, 0, 0,
     Default_Handler, Default_Handler, 0, Default_Handler, Default_Handler},
};

void Reset_Handler(void)
{
    const uint32_t *from = __code_load;
    CPACR |= CPACR_FPU_FULL_ACCESS;
    for (uint32_t *to = __code_start; to < __code_copy_end; to++) {
        *to = *from++;
    }
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    from = __data_load;
    for (uint32_t *to = __data_start; to < __data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = __bss_start; to < __bss_end; to++) {
        *to = 0;
    }
    tlf_port_exit(main());
}

__attribute__((weak)) void Default_Handler(void)
{
    tlf_port_exit(EXIT_UNEXPECTED_EXCEPTION);
}
