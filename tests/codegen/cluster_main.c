/* What test_device_cluster.py runs. Times are those of the last of three rounds: the instruction caches are warm. */
#include "tlf_port.h"

#define BYTES 70000
#define BODY(name, repeat) \
    uint32_t name(uint32_t rounds); \
    __attribute__((noinline)) uint32_t name(uint32_t rounds) \
    { \
        const uint32_t begun = tlf_port_cycles(); \
        for (; rounds != 0; rounds--) { \
            __asm__ volatile(".option push\n\t.option norvc\n\t.rept " #repeat "\n\tnop\n\t.endr\n\t.option pop"); \
        } \
        return tlf_port_cycles() - begun; \
    }

int main(void);
uint32_t fork_join(void);
uint32_t barriers(void);
uint32_t copy_cycles(uint32_t rows, uint32_t row_bytes, uint32_t stride);
uint32_t issue_cycles(uint32_t bytes);
uint32_t two_copies(uint32_t bytes);
uint32_t early_read(uint32_t bytes);
uint32_t copy_back(uint32_t rows, uint32_t row_bytes, uint32_t stride);
uint32_t bank_cycles(uint32_t stride);
uint32_t exchange(uint32_t rounds);
uint32_t load_l2(uint32_t words);
uint32_t never_arrive(void);
uint32_t initialised(void);

__attribute__((section(".tlf_arena.l1"), aligned(64))) uint8_t l1[BYTES];
__attribute__((section(".tlf_arena.l2"), aligned(64))) uint8_t l2[BYTES];
static volatile uint32_t slots[2][TLF_TEST_CORES];
static volatile uint32_t wrong;
static volatile int32_t four = 4;
static volatile int32_t zero;

BODY(body_100, 100)
BODY(body_400, 400)
BODY(body_2000, 2000)

uint32_t initialised(void)
{
    return (uint32_t)(four * 10 + zero);
}

static void nothing(void *context, int32_t core, int32_t cores)
{
    (void)context;
    (void)core;
    (void)cores;
}

uint32_t fork_join(void)
{
    uint32_t cycles = 0;
    for (volatile int32_t i = 0; i < 3; i++) {
        const uint32_t begun = tlf_port_cycles();
        tlf_port_parallel(nothing, 0);
        cycles = tlf_port_cycles() - begun;
    }
    return cycles;
}

static void meet(void *context, int32_t core, int32_t cores)
{
    uint32_t cycles = 0;
    (void)cores;
    for (volatile int32_t i = 0; i < 3; i++) {
        tlf_port_barrier();
        const uint32_t begun = tlf_port_cycles();
        tlf_port_barrier();
        cycles = tlf_port_cycles() - begun;
    }
    ((uint32_t *)context)[core] = cycles;
}

/* The longest wait of a core for cores that are already there. */
uint32_t barriers(void)
{
    uint32_t cycles[TLF_TEST_CORES];
    uint32_t longest = 0;
    tlf_port_parallel(meet, cycles);
    for (int32_t i = 0; i < TLF_TEST_CORES; i++) {
        longest = cycles[i] > longest ? cycles[i] : longest;
    }
    return longest;
}

static int32_t copy_in(uint32_t rows, uint32_t row_bytes, uint32_t stride)
{
    if (rows == 1) {
        return tlf_port_copy(l1, l2, (int32_t)row_bytes);
    }
    return tlf_port_copy_rows(l1, l2, (int32_t)rows, (int32_t)row_bytes, (int32_t)stride);
}

uint32_t copy_cycles(uint32_t rows, uint32_t row_bytes, uint32_t stride)
{
    uint32_t cycles = 0;
    for (volatile int32_t i = 0; i < 3; i++) {
        const uint32_t begun = tlf_port_cycles();
        tlf_port_copy_wait(copy_in(rows, row_bytes, stride));
        cycles = tlf_port_cycles() - begun;
    }
    return cycles;
}

uint32_t issue_cycles(uint32_t bytes)
{
    uint32_t cycles = 0;
    for (volatile int32_t i = 0; i < 3; i++) {
        const uint32_t begun = tlf_port_cycles();
        const int32_t copy = tlf_port_copy(l1, l2, (int32_t)bytes);
        cycles = tlf_port_cycles() - begun;
        tlf_port_copy_wait(copy);
    }
    return cycles;
}

uint32_t two_copies(uint32_t bytes)
{
    uint32_t cycles = 0;
    for (volatile int32_t i = 0; i < 3; i++) {
        const uint32_t begun = tlf_port_cycles();
        const int32_t first = tlf_port_copy(l1, l2, (int32_t)bytes);
        const int32_t second = tlf_port_copy(l1 + bytes, l2, (int32_t)bytes);
        tlf_port_copy_wait(second);
        cycles = tlf_port_cycles() - begun;
        tlf_port_copy_wait(first);
    }
    return cycles;
}

/* The last byte of L1 before the copy has been waited for, and after. */
uint32_t early_read(uint32_t bytes)
{
    const int32_t copy = tlf_port_copy(l1, l2, (int32_t)bytes);
    const uint32_t before = ((volatile uint8_t *)l1)[bytes - 1];
    tlf_port_copy_wait(copy);
    return before << 8 | ((volatile uint8_t *)l1)[bytes - 1];
}

uint32_t copy_back(uint32_t rows, uint32_t row_bytes, uint32_t stride)
{
    tlf_port_copy_wait(tlf_port_copy_rows(l2, l1, (int32_t)rows, (int32_t)row_bytes, (int32_t)stride));
    return 0;
}

/* Every core loads 256 words from its own place; the places are context bytes apart. */
static void load_words(void *context, int32_t core, int32_t cores)
{
    const volatile uint32_t *from = (const volatile uint32_t *)(l1 + (uint32_t)core * (uint32_t)context);
    (void)cores;
    for (int32_t i = 0; i < 64; i++) {
        (void)from[0];
        (void)from[16];
        (void)from[32];
        (void)from[48];
    }
}

uint32_t bank_cycles(uint32_t stride)
{
    uint32_t cycles = 0;
    for (volatile int32_t i = 0; i < 3; i++) {
        const uint32_t begun = tlf_port_cycles();
        tlf_port_parallel(load_words, (void *)stride);
        cycles = tlf_port_cycles() - begun;
    }
    return cycles;
}

/* Each core writes a slot and reads its neighbour's after the barrier; late cores differ from round to round. */
static void swap(void *context, int32_t core, int32_t cores)
{
    const uint32_t rounds = *(uint32_t *)context;
    for (uint32_t r = 0; r < rounds; r++) {
        for (volatile uint32_t delay = (r * 7 + (uint32_t)core * 5) % 11; delay != 0; delay--) {
        }
        slots[r % 2][core] = r * 100 + (uint32_t)core;
        tlf_port_barrier();
        const int32_t other = (core + 1) % cores;
        if (slots[r % 2][other] != r * 100 + (uint32_t)other) {
            wrong = 1;
        }
    }
    if (core != tlf_port_core() || cores != TLF_TEST_CORES) {
        wrong = 2;
    }
}

uint32_t exchange(uint32_t rounds)
{
    wrong = 0;
    tlf_port_parallel(swap, &rounds);
    return wrong;
}

uint32_t load_l2(uint32_t words)
{
    uint32_t cycles = 0;
    for (volatile int32_t i = 0; i < 3; i++) {
        const volatile uint32_t *from = (const volatile uint32_t *)l2;
        const uint32_t begun = tlf_port_cycles();
        for (uint32_t w = 0; w < words; w++) {
            (void)from[w];
        }
        cycles = tlf_port_cycles() - begun;
    }
    return cycles;
}

static void skip_one(void *context, int32_t core, int32_t cores)
{
    (void)context;
    (void)cores;
    if (core != 0) {
        tlf_port_barrier();
    }
}

uint32_t never_arrive(void)
{
    tlf_port_parallel(skip_one, 0);
    return 0;
}

typedef void (*anything)(void);
extern volatile anything keep[];
volatile anything keep[] = {
    (anything)fork_join, (anything)barriers, (anything)copy_cycles, (anything)issue_cycles, (anything)two_copies,
    (anything)early_read, (anything)copy_back, (anything)bank_cycles, (anything)exchange, (anything)load_l2,
    (anything)never_arrive, (anything)body_100, (anything)body_400, (anything)body_2000, (anything)initialised,
};

int main(void)
{
    return keep[0] != 0;
}
