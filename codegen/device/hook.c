/* The counters of the emulated device: callbacks that Unicorn runs for every basic block. counter.py mirrors the
 * structs and resets them: no libc is needed.
 *
 * A block's static costs are looked up by (address, size); `discover` fills them in when it is first seen. Whether its
 * last branch was taken is known when the next block starts. A stage lasts from the block at its entry address to the
 * next such block. With areas (memories that take time) every fetched byte of code and every access to them goes through
 * the caches, whose assumptions counter.py lists.
 */
#include <stdint.h>

#define ROLE_NONE 0u
#define ROLE_STOP UINT32_MAX /* otherwise: the stage that begins here */

#define XPSR_IT_STATE 0x0600fc00u

enum { RUNNING, STOPPED, OVER_LIMIT, UNKNOWN_BLOCK, TABLE_FULL, UNALIGNED };

#define CARRIED 32
#define MEMORY_WRITE 17 /* UC_MEM_WRITE */

#define MOST_LINES 1024u
#define MOST_AREAS 8u
#define IS_DIRTY 0x80000000u

/* What is expected of the branch at one address. */
typedef struct {
    uint32_t predicted; /* where it goes */
    uint32_t is_confident; /* 1: it was right last time and survives one miss */
} tlf_branch;

typedef struct {
    uint32_t address;
    uint32_t size; /* bytes; 0 marks a free slot */
    uint32_t instructions;
    uint32_t cycles;
    uint32_t taken_cycles;
    uint32_t role;
    uint64_t mispredict_cycles;
    tlf_branch *branch; /* the last instruction; null: it always goes as predicted */
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

/* A cache of `ways` lines a set. A line is filled by units of fill_bytes, each valid on its own. */
typedef struct {
    uint64_t lines;
    uint64_t ways;
    uint64_t line_bytes;
    uint64_t fill_bytes;
    uint64_t prefetches; /* 1: the unit behind one read from memory is read next */
    uint64_t writes_back; /* 0: every store goes to memory as well, and a missing line is not fetched for it */
    uint64_t misses;
    uint64_t evictions; /* of dirty lines */
    uint64_t clock;
    uint32_t line[MOST_LINES]; /* line number, or all ones */
    uint32_t state[MOST_LINES]; /* bit u: unit u of the line is here; IS_DIRTY */
    uint64_t used[MOST_LINES]; /* time of last use */
} tlf_cache;

/* A memory that takes time: addresses base to end - 1. */
typedef struct {
    uint64_t base;
    uint64_t end;
    uint64_t fill_cycles; /* to read one unit of a cache */
    uint64_t store_cycles; /* of a store that goes to memory, and of a dirty line that is written back */
} tlf_area;

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
    /* memories that take time */
    uint64_t area_count;
    tlf_area areas[MOST_AREAS];
    uint64_t prefetched_unit;
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
void tlf_on_area_access(void *engine, int32_t type, uint64_t address, int32_t size, int64_t value, void *user);
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

static const tlf_area *find_area(const tlf_counter *counter, uint64_t address)
{
    for (uint64_t i = 0; i < counter->area_count; i++) {
        if (address >= counter->areas[i].base && address < counter->areas[i].end) {
            return &counter->areas[i];
        }
    }
    return 0;
}

/* The place of the line in its set, evicting the least recently used one when it is not there. */
static uint64_t find_place(tlf_cache *cache, uint32_t line)
{
    const uint64_t first = line % (cache->lines / cache->ways) * cache->ways;
    uint64_t oldest = first;
    for (uint64_t place = first; place < first + cache->ways; place++) {
        if (cache->line[place] == line) {
            return place;
        }
        if (cache->used[place] < cache->used[oldest]) {
            oldest = place;
        }
    }
    cache->line[oldest] = line;
    cache->evictions += (cache->state[oldest] & IS_DIRTY) != 0;
    cache->state[oldest] = 0;
    return oldest;
}

/* 1 if the unit was cached; it is afterwards. `flags` are added to its line. */
static int32_t touch(tlf_cache *cache, uint64_t unit, uint32_t flags)
{
    const uint64_t units = cache->line_bytes / cache->fill_bytes;
    const uint32_t bit = 1u << (unit % units);
    const uint64_t place = find_place(cache, (uint32_t)(unit / units));
    const int32_t hit = (cache->state[place] & bit) != 0;
    cache->state[place] |= bit | flags;
    cache->used[place] = ++cache->clock;
    cache->misses += !hit;
    return hit;
}

/* 1 if the unit is cached; nothing changes but the time of its last use. */
static int32_t holds(tlf_cache *cache, uint64_t unit)
{
    const uint64_t units = cache->line_bytes / cache->fill_bytes;
    const uint64_t first = unit / units % (cache->lines / cache->ways) * cache->ways;
    for (uint64_t place = first; place < first + cache->ways; place++) {
        if (cache->line[place] == (uint32_t)(unit / units) && (cache->state[place] >> (unit % units) & 1u) != 0) {
            cache->used[place] = ++cache->clock;
            return 1;
        }
    }
    return 0;
}

static void stall(tlf_counter *counter, tlf_block *block, uint64_t cycles)
{
    counter->total.cycles += cycles;
    block->stall_cycles += cycles;
}

/* Fetches the units of the block's code in order; they are consumed evenly over the block's cycles. */
static void fetch_code(tlf_counter *counter, tlf_block *block, const tlf_area *area)
{
    tlf_cache *cache = &counter->code;
    const uint64_t first = block->address / cache->fill_bytes;
    const uint64_t last = (block->address + block->size - 1) / cache->fill_bytes;
    const uint64_t begun = counter->total.cycles;
    uint64_t stalled = 0;
    for (uint64_t unit = first; unit <= last; unit++) {
        const uint64_t now = begun + stalled + block->cycles * (unit - first) / (last - first + 1);
        uint64_t wait = area->fill_cycles;
        if (touch(cache, unit, 0)) {
            continue;
        }
        if (unit == counter->prefetched_unit) {
            wait = now < counter->prefetch_done ? counter->prefetch_done - now : 0;
        }
        stalled += wait;
        if (cache->prefetches != 0) {
            counter->prefetched_unit = unit + 1;
            counter->prefetch_done = now + wait + area->fill_cycles + 1;
        }
    }
    stall(counter, block, stalled);
}

/* Cycles of one access to one unit of the data cache. */
static uint64_t access_unit(tlf_counter *counter, const tlf_area *area, uint64_t unit, int32_t is_store)
{
    tlf_cache *cache = &counter->data;
    const uint64_t evicted = cache->evictions;
    uint64_t cycles;
    if (is_store != 0 && cache->writes_back == 0) {
        cache->misses += !holds(cache, unit);
        return area->store_cycles;
    }
    cycles = touch(cache, unit, is_store != 0 ? IS_DIRTY : 0) ? 0 : area->fill_cycles;
    return cycles + (cache->evictions - evicted) * area->store_cycles;
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

/* 1 if the branch goes to an address that was not predicted. */
static int32_t mispredicts(tlf_branch *branch, uint32_t next)
{
    if (branch == 0) {
        return 0;
    }
    if (next == branch->predicted) {
        branch->is_confident = 1;
        return 0;
    }
    if (branch->is_confident == 0) {
        branch->predicted = next;
    }
    branch->is_confident = 0;
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
    if (mispredicts(last->branch, next)) {
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
    if (counter->area_count != 0) {
        const tlf_area *area = find_area(counter, address);
        if (area != 0) {
            fetch_code(counter, block, area);
        }
    }
    block->runs++;
    counter->total.cycles += block->cycles;
    counter->total.instructions += block->instructions;
    counter->last = block;
    if (counter->total.instructions > counter->max_instructions) {
        halt(counter, engine, OVER_LIMIT);
    }
}

/* Attached to the areas only. */
void tlf_on_area_access(void *engine, int32_t type, uint64_t address, int32_t size, int64_t value, void *user)
{
    tlf_counter *counter = user;
    const tlf_area *area = find_area(counter, address);
    const uint64_t bytes = counter->data.fill_bytes;
    (void)value;
    clear_it_state(counter, engine);
    if (counter->last == 0 || area == 0) {
        return;
    }
    for (uint64_t unit = address / bytes; unit <= (address + (uint64_t)size - 1) / bytes; unit++) {
        stall(counter, counter->last, access_unit(counter, area, unit, type == MEMORY_WRITE));
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
