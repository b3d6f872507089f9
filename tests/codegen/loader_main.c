/* What test_device_loader.py runs: loads from external memory to L2. */
#include "tlf_port.h"

#define BYTES 4000
#define KEPT __attribute__((noinline, used))

int main(void);
uint32_t load_cycles(uint32_t bytes);
uint32_t two_loads(uint32_t bytes);
uint32_t early_read(void);
uint32_t beside(uint32_t bytes);
uint32_t read_external(void);
uint32_t load_to_l1(void);
uint32_t copy_external(void);
uint32_t too_many(void);

__attribute__((section(".tlf_external.l3"), aligned(4))) const uint8_t l3[4] = {11, 22, 33, 44};
__attribute__((section(".tlf_external.l3"), aligned(4))) const uint8_t more[BYTES] = {[0] = 55, [BYTES - 1] = 66};
__attribute__((section(".tlf_arena.l1"), aligned(64))) uint8_t l1[64];
__attribute__((section(".tlf_arena.l2"), aligned(64))) volatile uint8_t l2[BYTES];

KEPT uint32_t load_cycles(uint32_t bytes)
{
    const uint32_t begun = tlf_port_cycles();
    tlf_port_load_wait(tlf_port_load((void *)l2, more, (int32_t)bytes));
    return tlf_port_cycles() - begun;
}

/* The second ends after the first: waiting for it is enough. */
KEPT uint32_t two_loads(uint32_t bytes)
{
    tlf_port_load((void *)l2, more, (int32_t)bytes);
    tlf_port_load_wait(tlf_port_load((void *)&l2[8], l3, 4));
    return l2[0] + 256u * l2[9];
}

KEPT uint32_t early_read(void)
{
    l2[0] = 7;
    const int32_t load = tlf_port_load((void *)l2, l3, 4);
    const uint32_t early = l2[0];
    tlf_port_load_wait(load);
    return early + 256u * l2[0];
}

/* Of a load that has ended while the core did something else, nothing is left to wait for. */
KEPT uint32_t beside(uint32_t bytes)
{
    const int32_t load = tlf_port_load((void *)l2, more, (int32_t)bytes);
    const uint32_t begun = tlf_port_cycles();
    while (tlf_port_cycles() - begun < bytes + 300) {
    }
    const uint32_t waited = tlf_port_cycles();
    tlf_port_load_wait(load);
    return tlf_port_cycles() - waited;
}

KEPT uint32_t read_external(void)
{
    return *(const volatile uint8_t *)l3;
}

KEPT uint32_t load_to_l1(void)
{
    tlf_port_load_wait(tlf_port_load(l1, l3, 4));
    return 0;
}

KEPT uint32_t copy_external(void)
{
    tlf_port_copy_wait(tlf_port_copy(l1, l3, 4));
    return 0;
}

KEPT uint32_t too_many(void)
{
    for (int32_t i = 0; i < 33; i++) {
        tlf_port_load((void *)l2, more, BYTES);
    }
    return 0;
}

int main(void)
{
    return (int32_t)(load_cycles(4) + two_loads(4) + early_read() + beside(4) + read_external() + load_to_l1() +
                     copy_external() + too_many());
}
