/* The counters of the emulated device: callbacks that Unicorn runs for every basic block. counter.py mirrors the
 * structs and resets them: no libc is needed.
 *
 * A block's static costs are looked up by (address, size); `discover` fills them in when it is first seen. Whether its
 * last branch was taken is known when the next block starts. A stage lasts from the block at its entry address to the
 * next such block. With wait_states > 0 every fetched flash word and every flash read goes through a model of the
 * STM32L4's ART accelerator, whose assumptions counter.py lists.
 */
#include <stdint.h>

#define ROLE_NONE 0u
#define ROLE_STOP UINT32_MAX /* otherwise: the stage that begins here */

#define XPSR_IT_STATE 0x0600fc00u

enum { RUNNING, STOPPED, OVER_LIMIT, UNKNOWN_BLOCK, TABLE_FULL, UNALIGNED };

#define CARRIED 32

#define LINE_BYTES 32u
#define WORD_BYTES 8u
#define CODE_LINES 32u
#define DATA_LINES 8u

typedef struct {
    uint32_t address;
    uint32_t size; /* bytes; 0 marks a free slot */
    uint32_t instructions;
    uint32_t cycles;
    uint32_t taken_cycles;
    uint32_t role;
    uint32_t mispredict_cycles; /* 0: the block is always left as predicted */
    uint32_t predicted; /* where it is expected to go */
    uint32_t is_confident; /* 1: the prediction was right last time and survives one miss */
    uint32_t padding;
    const int8_t *late; /* CARRIED entries: cycles after the end until a value is ready; or null */
    const int8_t *early; /* CARRIED entries: cycles after the start when a value is needed; or null */
    uint64_t runs;
    uint64_t taken;
    uint64_t stall_cycles; /* mispredictions included */
} tlf_block;

typedef struct {
    uint64_t cycles;
    uint64_t instructions;
} tlf_count;

typedef struct {
    uint32_t line[CODE_LINES]; /* line number, or all ones */
    uint32_t words[CODE_LINES]; /* bit w: 64-bit word w of the line is here */
    uint64_t used[CODE_LINES]; /* time of last use */
    uint64_t clock;
} tlf_cache;

typedef struct {
    tlf_block *blocks;
    uint64_t slots; /* a power of two */
    uint64_t blocks_used;
    tlf_block *last;
    tlf_count total;
    tlf_count mark;
    tlf_count *stages; /* [0] is the time before the first stage */
    uint64_t stage;
    uint64_t max_instructions;
    int32_t (*discover)(tlf_block *block);
    int32_t (*stop)(void *engine);
    int32_t (*read_register)(void *engine, int32_t id, void *value);
    int32_t (*write_register)(void *engine, int32_t id, const void *value);
    int64_t xpsr; /* Unicorn's number of that register */
    uint64_t status;
    /* flash model */
    uint64_t wait_states;
    uint64_t flash_base;
    uint64_t flash_end;
    uint64_t prefetched_word;
    uint64_t prefetch_done; /* in cycles */
    tlf_cache code;
    tlf_cache data;
    /* strict mode */
    const uint8_t *traps; /* one byte a halfword: 1 = this instruction faults on an unaligned address */
    uint64_t traps_base;
    uint64_t traps_count;
    uint64_t code_address;
    uint64_t fault_address;
    uint64_t stepped;
    uint64_t unaligned;
} tlf_counter;

void tlf_counter_finish(tlf_counter *counter, uint32_t address);
void tlf_on_block(void *engine, uint64_t address, uint32_t size, void *user);
void tlf_on_flash_read(void *engine, int32_t type, uint64_t address, int32_t size, int64_t value, void *user);
void tlf_on_instruction(void *engine, uint64_t address, uint32_t size, void *user);
void tlf_on_access(void *engine, int32_t type, uint64_t address, int32_t size, int64_t value, void *user);

static void halt(tlf_counter *counter, void *engine, uint64_t status)
{
    counter->status = status;
    (void)counter->stop(engine);
}

/* Every memory callback does this: Unicorn 2.1.4 stores the IT state before the callback and, when the access is in
 * an IT block, skips the first instructions of the next block unless it is cleared (unicorn issue 2309). */
static void clear_it_state(tlf_counter *counter, void *engine)
{
    uint32_t xpsr = 0;
    if (counter->read_register(engine, (int32_t)counter->xpsr, &xpsr) == 0 && (xpsr & XPSR_IT_STATE) != 0) {
        xpsr &= ~XPSR_IT_STATE;
        (void)counter->write_register(engine, (int32_t)counter->xpsr, &xpsr);
    }
}

/* The way that holds the line, evicting the least recently used one when none does. */
static uint32_t find_way(tlf_cache *cache, uint32_t lines, uint32_t line)
{
    uint32_t oldest = 0;
    for (uint32_t way = 0; way < lines; way++) {
        if (cache->line[way] == line) {
            return way;
        }
        if (cache->used[way] < cache->used[oldest]) {
            oldest = way;
        }
    }
    cache->line[oldest] = line;
    cache->words[oldest] = 0;
    return oldest;
}

/* 1 if the 64-bit word was cached; it is afterwards. */
static int32_t touch(tlf_cache *cache, uint32_t lines, uint64_t word)
{
    const uint32_t bit = 1u << (word % (LINE_BYTES / WORD_BYTES));
    const uint32_t way = find_way(cache, lines, (uint32_t)(word / (LINE_BYTES / WORD_BYTES)));
    const int32_t hit = (cache->words[way] & bit) != 0;
    cache->words[way] |= bit;
    cache->used[way] = ++cache->clock;
    return hit;
}

static void stall(tlf_counter *counter, tlf_block *block, uint64_t cycles)
{
    counter->total.cycles += cycles;
    block->stall_cycles += cycles;
}

/* Fetches the block's 64-bit words in order; they are consumed evenly over the block's cycles. */
static void fetch_code(tlf_counter *counter, tlf_block *block)
{
    const uint64_t first = (block->address - counter->flash_base) / WORD_BYTES;
    const uint64_t last = (block->address + block->size - 1 - counter->flash_base) / WORD_BYTES;
    const uint64_t begun = counter->total.cycles;
    uint64_t stalled = 0;
    for (uint64_t word = first; word <= last; word++) {
        const uint64_t now = begun + stalled + block->cycles * (word - first) / (last - first + 1);
        uint64_t wait = counter->wait_states;
        if (touch(&counter->code, CODE_LINES, word)) {
            continue;
        }
        if (word == counter->prefetched_word) {
            wait = now < counter->prefetch_done ? counter->prefetch_done - now : 0;
        }
        stalled += wait;
        counter->prefetched_word = word + 1;
        counter->prefetch_done = now + wait + counter->wait_states + 1;
    }
    stall(counter, block, stalled);
}

static tlf_block *find_block(tlf_counter *counter, void *engine, uint32_t address, uint32_t size)
{
    const uint64_t mask = counter->slots - 1;
    uint64_t slot = (address >> 1) & mask;
    while (counter->blocks[slot].size != 0) {
        if (counter->blocks[slot].address == address && counter->blocks[slot].size == size) {
            return &counter->blocks[slot];
        }
        slot = (slot + 1) & mask;
    }
    if (counter->blocks_used >= counter->slots - counter->slots / 4) {
        halt(counter, engine, TABLE_FULL);
        return 0;
    }
    counter->blocks[slot].address = address;
    counter->blocks[slot].size = size;
    if (counter->discover(&counter->blocks[slot]) != 0) {
        counter->blocks[slot].size = 0;
        halt(counter, engine, UNKNOWN_BLOCK);
        return 0;
    }
    counter->blocks_used++;
    return &counter->blocks[slot];
}

static void close_stage(tlf_counter *counter)
{
    counter->stages[counter->stage].cycles += counter->total.cycles - counter->mark.cycles;
    counter->stages[counter->stage].instructions += counter->total.instructions - counter->mark.instructions;
    counter->mark = counter->total;
}

/* 1 if the block is left for an address that was not predicted. */
static int32_t mispredicts(tlf_block *block, uint32_t next)
{
    if (block->mispredict_cycles == 0) {
        return 0;
    }
    if (next == block->predicted) {
        block->is_confident = 1;
        return 0;
    }
    if (block->is_confident == 0) {
        block->predicted = next;
    }
    block->is_confident = 0;
    return 1;
}

/* Cycles that the block waits for values of the one before it. */
static uint64_t carried(const tlf_block *before, const tlf_block *block)
{
    int32_t most = 0;
    if (before->late == 0 || block->early == 0) {
        return 0;
    }
    for (int32_t entry = 0; entry < CARRIED; entry++) {
        const int32_t wait = before->late[entry] - block->early[entry];
        most = wait > most ? wait : most;
    }
    return (uint64_t)most;
}

/* Charges what is known of the last block only now that the next one (null: the end of the run) is. */
static void settle_branch(tlf_counter *counter, uint32_t next, tlf_block *block)
{
    tlf_block *last = counter->last;
    if (last == 0) {
        return;
    }
    if (next != last->address + last->size) {
        last->taken++;
        counter->total.cycles += last->taken_cycles;
    }
    if (mispredicts(last, next)) {
        stall(counter, last, last->mispredict_cycles);
    } else if (block != 0) {
        stall(counter, block, carried(last, block));
    }
}

/* Ends a run that left its last block for `address`. */
void tlf_counter_finish(tlf_counter *counter, uint32_t address)
{
    settle_branch(counter, address, 0);
    counter->last = 0;
    close_stage(counter);
}

void tlf_on_block(void *engine, uint64_t address, uint32_t size, void *user)
{
    tlf_counter *counter = user;
    tlf_block *block;
    if (counter->status != RUNNING) {
        return;
    }
    block = find_block(counter, engine, (uint32_t)address, size);
    if (block == 0) {
        return;
    }
    if (block->role == ROLE_STOP) {
        halt(counter, engine, STOPPED);
        return;
    }
    settle_branch(counter, (uint32_t)address, block);
    if (block->role != ROLE_NONE) {
        close_stage(counter);
        counter->stage = block->role;
    }
    if (counter->wait_states != 0 && address >= counter->flash_base && address < counter->flash_end) {
        fetch_code(counter, block);
    }
    block->runs++;
    counter->total.cycles += block->cycles;
    counter->total.instructions += block->instructions;
    counter->last = block;
    if (counter->total.instructions > counter->max_instructions) {
        halt(counter, engine, OVER_LIMIT);
    }
}

/* Attached to reads of the flash only, and only with wait states. */
void tlf_on_flash_read(void *engine, int32_t type, uint64_t address, int32_t size, int64_t value, void *user)
{
    tlf_counter *counter = user;
    (void)type;
    (void)size;
    (void)value;
    clear_it_state(counter, engine);
    if (counter->last != 0 && !touch(&counter->data, DATA_LINES, (address - counter->flash_base) / WORD_BYTES)) {
        stall(counter, counter->last, counter->wait_states);
    }
}

void tlf_on_instruction(void *engine, uint64_t address, uint32_t size, void *user)
{
    tlf_counter *counter = user;
    (void)engine;
    (void)size;
    counter->code_address = address;
    counter->stepped++;
}

void tlf_on_access(void *engine, int32_t type, uint64_t address, int32_t size, int64_t value, void *user)
{
    tlf_counter *counter = user;
    const uint64_t index = (counter->code_address - counter->traps_base) / 2;
    (void)type;
    (void)value;
    clear_it_state(counter, engine);
    if (counter->status != RUNNING) {
        return;
    }
    if (address % 4 != 0 && index < counter->traps_count && counter->traps[index] != 0) {
        counter->fault_address = address;
        halt(counter, engine, UNALIGNED);
    } else if (address % (size < 4 ? (uint64_t)size : 4u) != 0) {
        counter->unaligned++;
    }
}
