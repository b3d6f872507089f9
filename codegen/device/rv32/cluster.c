/* The cores in time, and what they share: TCDM banks, instruction cache, event unit and DMA, at the addresses and with
 * the registers of PULP's event unit v3 and MCHAN v7, as far as kernels/port/gap9 uses them. What acts next is always
 * the actor (core or DMA) whose clock is furthest behind, the lower number first: one order, whatever the host.
 */
#include "rv32.h"

#define EVENT_UNIT 0x204000u
#define DMA 0x204400u
#define EVENT_MASK 0x00u
#define EVENT_MASK_AND 0x04u
#define EVENT_MASK_OR 0x08u
#define EVENT_BUFFER 0x1cu
#define EVENT_BUFFER_CLEAR 0x28u
#define EVENT_WAIT 0x38u
#define EVENT_WAIT_CLEAR 0x3cu
#define DISPATCH_FIFO 0x80u
#define DISPATCH_TEAM 0x84u
#define SOFTWARE_EVENTS 0x100u /* eight words, one an event: the cores to notify, 0 for all */
#define BARRIERS 0x200u
#define BARRIER_BYTES 0x20u
#define BARRIER_EVENT 16u
#define DISPATCH_EVENT 18u
#define DMA_EVENT 8u
#define DMA_COMMAND 0x0u
#define DMA_STATUS 0x4u
#define DMA_LENGTH 0x1ffffu
#define DMA_TO_L1 (1u << 17)
#define DMA_EXT_2D (1u << 19)
#define DMA_NOTIFY (1u << 20)
#define DMA_L1_2D (1u << 23)
#define LOADER 0x204800u
#define LOADER_TO 0x0u
#define LOADER_FROM 0x4u
#define LOADER_BYTES 0x8u
#define LOADER_ENDED 0xcu
#define SETTLE_INSTRUCTIONS 100000u

uint64_t tlf_rv32_bytes(void);
void tlf_rv32_init(rv_machine *m, const rv_config *config, rv_insn *code, uint32_t code_base, uint32_t code_size);
void tlf_rv32_region(rv_machine *m, uint8_t *host, uint32_t base, uint32_t size, uint32_t kind, uint32_t load_cycles);
rv_view *tlf_rv32_core(rv_machine *m, uint32_t id);
void tlf_rv32_begin(rv_machine *m, uint32_t caller, uint32_t sentinel, uint64_t *stage_cycles,
                    uint64_t *stage_instructions, uint64_t max_instructions);
uint32_t tlf_rv32_run(rv_machine *m, uint32_t *fault_core, uint32_t *fault_address);
void tlf_rv32_resume(rv_machine *m, uint32_t id, uint32_t pc);
void tlf_rv32_finish(rv_machine *m);
void tlf_rv32_settle(rv_machine *m);
uint32_t tlf_rv32_decode(uint32_t word, uint32_t has_xpulp);

/* Cycles until the bank of that word is free; it is taken for one cycle then. */
uint64_t rv_bank_wait(rv_machine *m, uint32_t address, uint64_t time)
{
    uint64_t *slot = &m->bank_free[(address >> 2) & (m->config.banks - 1)];
    const uint64_t start = *slot > time ? *slot : time;
    *slot = start + 1;
    return start - time;
}

/* 1 if the line was there; it is afterwards. */
static int32_t touch(rv_cache *cache, uint32_t sets, uint32_t line)
{
    const uint32_t set = line & (sets - 1);
    uint32_t *tags = cache->tag[set];
    for (uint32_t way = 0; way < RV_WAYS; way++) {
        if (tags[way] == line + 1) {
            return 1;
        }
    }
    if (cache->seed != 0) {
        cache->seed ^= cache->seed << 13;
        cache->seed ^= cache->seed >> 17;
        cache->seed ^= cache->seed << 5;
        cache->next[set] = (uint8_t)((cache->seed >> 16) % RV_WAYS);
    }
    tags[cache->next[set]] = line + 1;
    cache->next[set] = (uint8_t)((cache->next[set] + 1) % RV_WAYS);
    return 0;
}

void rv_fetch_line(rv_machine *m, rv_core *core, uint32_t line)
{
    uint32_t cycles = 0;
    core->line = line;
    if (!touch(&core->cache, RV_PRIVATE_SETS, line)) {
        cycles = m->config.private_miss;
        cycles += touch(&m->shared, RV_SHARED_SETS, line) ? 0 : m->config.shared_miss;
    }
    core->v.time += cycles;
    core->v.fetch_stalls += cycles;
}

static void wake(rv_machine *m, rv_core *core, uint64_t time)
{
    if (time > core->v.time) {
        core->v.asleep += time - core->v.time;
        core->v.time = time;
    }
    core->v.state = AWAKE;
    core->loaded = 0;
    m->reschedule = 1;
}

/* Sets an event of a core at `time`; a core that sleeps for it wakes up `latency` later. */
static void notify(rv_machine *m, uint32_t id, uint32_t event, uint64_t time, uint32_t latency)
{
    rv_core *core = &m->core[id];
    core->event_buffer |= 1u << event;
    if (core->v.state == WAIT_EVENT && (core->event_buffer & core->event_mask) != 0) {
        core->v.x[core->wait_register] = core->event_buffer & core->event_mask;
        core->v.x[0] = 0;
        core->event_buffer &= ~core->clear_on_wake;
        if (event == DMA_EVENT && time + latency > core->v.time) {
            core->v.copy_waits += time + latency - core->v.time;
        }
        wake(m, core, time + latency);
    }
}

static void wait_event(rv_machine *m, uint32_t id, uint32_t target, uint32_t clears)
{
    rv_core *core = &m->core[id];
    const uint32_t pending = core->event_buffer & core->event_mask;
    if (pending != 0) {
        core->v.x[target] = pending;
        core->event_buffer &= ~(clears ? core->event_mask : 0u);
        return;
    }
    core->v.state = WAIT_EVENT;
    core->wait_register = target;
    core->clear_on_wake = clears ? core->event_mask : 0u;
}

static void check_barrier(rv_machine *m, rv_barrier *barrier, uint64_t time)
{
    if (barrier->trigger_mask == 0 || (barrier->status & barrier->trigger_mask) != barrier->trigger_mask) {
        return;
    }
    barrier->status = 0;
    for (uint32_t id = 0; id < m->config.cores; id++) {
        if ((barrier->target_mask >> id & 1u) != 0) {
            notify(m, id, BARRIER_EVENT, time, m->config.barrier);
        }
    }
}

/* The oldest word of the dispatch queue that this core has not read yet; 0 when there is none. */
static int32_t pop_dispatch(rv_machine *m, uint32_t id, uint32_t *value)
{
    const uint32_t oldest = m->fifo_head > RV_FIFO ? m->fifo_head - RV_FIFO : 0;
    for (uint32_t entry = oldest; entry < m->fifo_head; entry++) {
        if ((m->fifo_pending[entry % RV_FIFO] >> id & 1u) != 0) {
            m->fifo_pending[entry % RV_FIFO] &= ~(1u << id);
            *value = m->fifo_value[entry % RV_FIFO];
            return 1;
        }
    }
    return 0;
}

static void push_dispatch(rv_machine *m, uint32_t id, uint32_t value)
{
    const uint32_t entry = m->fifo_head % RV_FIFO;
    const uint64_t time = m->core[id].v.time;
    if (m->fifo_pending[entry] != 0) {
        rv_stop(m, id, RV_DEADLOCK, m->core[id].v.pc); /* the queue is full of work nobody takes */
        return;
    }
    m->fifo_value[entry] = value;
    m->fifo_pending[entry] = m->team;
    m->fifo_head++;
    for (uint32_t i = 0; i < m->config.cores; i++) {
        rv_core *core = &m->core[i];
        uint32_t taken;
        if (core->v.state == WAIT_DISPATCH && (core->event_mask >> DISPATCH_EVENT & 1u) != 0 &&
            pop_dispatch(m, i, &taken)) {
            core->v.x[core->wait_register] = taken;
            core->v.x[0] = 0;
            wake(m, core, time + m->config.dispatch);
        }
    }
}

static int32_t load_event_unit(rv_machine *m, uint32_t id, uint32_t offset, uint32_t target, uint32_t may_sleep)
{
    rv_core *core = &m->core[id];
    rv_barrier *barrier = &m->barrier[(offset - BARRIERS) / BARRIER_BYTES % RV_BARRIERS];
    const uint32_t in_barrier = offset >= BARRIERS ? offset % BARRIER_BYTES : UINT32_MAX;
    core->v.time += m->config.event_access - 1;
    if (offset == EVENT_MASK) {
        core->v.x[target] = core->event_mask;
    } else if (offset == EVENT_BUFFER) {
        core->v.x[target] = core->event_buffer;
    } else if (may_sleep && (offset == EVENT_WAIT || offset == EVENT_WAIT_CLEAR)) {
        wait_event(m, id, target, offset == EVENT_WAIT_CLEAR);
    } else if (may_sleep && offset == DISPATCH_FIFO) {
        if (!pop_dispatch(m, id, &core->v.x[target])) {
            core->v.state = WAIT_DISPATCH;
            core->wait_register = target;
        }
    } else if (may_sleep && (in_barrier == 0x18 || in_barrier == 0x1c)) { /* trigger and wait, and clear */
        barrier->status |= 1u << id;
        wait_event(m, id, target, in_barrier == 0x1c);
        check_barrier(m, barrier, core->v.time);
    } else if (in_barrier == 0x04) {
        core->v.x[target] = barrier->status;
    } else {
        return 0;
    }
    return 1;
}

static void store_barrier(rv_machine *m, uint32_t id, uint32_t offset, uint32_t value)
{
    rv_barrier *barrier = &m->barrier[(offset - BARRIERS) / BARRIER_BYTES % RV_BARRIERS];
    switch (offset % BARRIER_BYTES) {
    case 0x00: barrier->trigger_mask = value; break;
    case 0x0c: barrier->target_mask = value; break;
    case 0x10: barrier->status |= value; break;
    default: barrier->status |= 1u << id; break; /* 0x14, trigger self */
    }
    check_barrier(m, barrier, m->core[id].v.time);
}

static int32_t store_event_unit(rv_machine *m, uint32_t id, uint32_t offset, uint32_t value)
{
    rv_core *core = &m->core[id];
    core->v.time += m->config.event_access - 1;
    if (offset >= BARRIERS) {
        store_barrier(m, id, offset, value);
        return 1;
    }
    if (offset >= SOFTWARE_EVENTS && offset < SOFTWARE_EVENTS + 32) {
        for (uint32_t i = 0; i < m->config.cores; i++) {
            if (value == 0 || (value >> i & 1u) != 0) {
                notify(m, i, (offset - SOFTWARE_EVENTS) / 4, core->v.time, m->config.wake);
            }
        }
        return 1;
    }
    switch (offset) {
    case EVENT_MASK: core->event_mask = value; break;
    case EVENT_MASK_AND: core->event_mask &= ~value; break;
    case EVENT_MASK_OR: core->event_mask |= value; break;
    case EVENT_BUFFER_CLEAR: core->event_buffer &= ~value; break;
    case DISPATCH_FIFO: push_dispatch(m, id, value); break;
    case DISPATCH_TEAM: m->team = value; break;
    default: return 0;
    }
    return 1;
}

static uint32_t dma_words(uint32_t command)
{
    return 3 + ((command & DMA_EXT_2D) != 0 ? 2u : 0u) + ((command & DMA_L1_2D) != 0 ? 2u : 0u);
}

static void start_transfer(rv_machine *m, uint32_t id)
{
    rv_core *core = &m->core[id];
    const uint32_t *words = core->dma_words;
    const uint32_t command = words[0];
    const uint32_t *next = words + 3;
    rv_transfer *t = &m->transfer[m->dma_tail % RV_TRANSFERS];
    if (m->dma_tail - m->dma_head >= RV_TRANSFERS || (command & DMA_LENGTH) == 0) {
        rv_stop(m, id, RV_DMA_FAULT, words[1]);
        return;
    }
    *t = (rv_transfer){0};
    t->l1 = words[1];
    t->ext = words[2];
    t->left = command & DMA_LENGTH;
    if ((command & DMA_EXT_2D) != 0) {
        t->ext_row = *next++;
        t->ext_stride = *next++;
    }
    if ((command & DMA_L1_2D) != 0) {
        t->l1_row = *next++;
        t->l1_stride = *next;
    }
    t->to_l1 = (command & DMA_TO_L1) != 0;
    t->event = (command & DMA_NOTIFY) != 0;
    t->core = id;
    t->tag = core->dma_tag;
    t->ready = core->v.time + m->config.dma_start;
    m->tag_busy[t->tag]++;
    m->dma_tail++;
    m->reschedule = 1;
}

static int32_t load_dma(rv_machine *m, uint32_t id, uint32_t offset, uint32_t target)
{
    rv_core *core = &m->core[id];
    uint32_t value = 0;
    core->v.time += m->config.dma_access - 1;
    if (offset == DMA_COMMAND) { /* allocates a tag */
        while (value < 16 && m->tag_taken[value] != 0) {
            value++;
        }
        if (value == 16) {
            rv_stop(m, id, RV_DMA_FAULT, core->v.pc);
            return 1;
        }
        m->tag_taken[value] = 1;
        core->dma_tag = value;
    } else if (offset == DMA_STATUS) {
        for (uint32_t i = 0; i < 16; i++) {
            value |= (m->tag_busy[i] != 0 ? 1u : 0u) << i | m->tag_taken[i] << (16 + i);
        }
    } else {
        return 0;
    }
    core->v.x[target] = value;
    return 1;
}

static int32_t store_dma(rv_machine *m, uint32_t id, uint32_t offset, uint32_t value)
{
    rv_core *core = &m->core[id];
    core->v.time += m->config.dma_access - 1;
    if (offset == DMA_STATUS) { /* frees tags */
        for (uint32_t i = 0; i < 16; i++) {
            m->tag_taken[i] &= ~(value >> i);
        }
        return 1;
    }
    if (offset != DMA_COMMAND) {
        return 0;
    }
    core->dma_words[core->dma_used++] = value;
    if (core->dma_used == dma_words(core->dma_words[0])) {
        core->dma_used = 0;
        start_transfer(m, id);
    }
    return 1;
}

/* Loads from external memory to L2, one after another. Bytes arrive when a core sees that the load has ended: whoever does
 * not look works on what was there before. */
static int32_t store_loader(rv_machine *m, uint32_t id, uint32_t offset, uint32_t value)
{
    rv_core *core = &m->core[id];
    rv_load *next = &m->next_load;
    core->v.time += m->config.dma_access - 1;
    switch (offset) {
    case LOADER_TO: next->to = value; return 1;
    case LOADER_FROM: next->from = value; return 1;
    case LOADER_BYTES: break;
    default: return 0;
    }
    if (m->loads_started - m->loads_ended == RV_TRANSFERS || value == 0) {
        rv_stop(m, id, RV_DMA_FAULT, next->from);
        return 1;
    }
    next->end = core->v.time;
    if (m->loads_started != m->loads_ended) {
        const uint64_t before = m->load[(m->loads_started - 1) % RV_TRANSFERS].end;
        next->end = before > next->end ? before : next->end;
    }
    next->end += m->config.load_start + (uint64_t)value * m->config.load_byte;
    next->bytes = value;
    m->load[m->loads_started++ % RV_TRANSFERS] = *next;
    return 1;
}

static int32_t load_loader(rv_machine *m, uint32_t id, uint32_t offset, uint32_t target)
{
    rv_core *core = &m->core[id];
    core->v.time += m->config.dma_access - 1;
    if (offset != LOADER_ENDED) {
        return 0;
    }
    while (m->loads_ended != m->loads_started && m->load[m->loads_ended % RV_TRANSFERS].end <= core->v.time) {
        const rv_load *l = &m->load[m->loads_ended % RV_TRANSFERS];
        rv_region *source;
        rv_region *sink;
        const uint8_t *from = rv_find(m, l->from, l->bytes, &source);
        uint8_t *to = rv_find(m, l->to, l->bytes, &sink);
        if (from == 0 || to == 0 || source->kind != KIND_EXTERNAL || sink->kind != KIND_L2) {
            rv_stop(m, id, RV_DMA_FAULT, from == 0 || source->kind != KIND_EXTERNAL ? l->from : l->to);
            return 1;
        }
        for (uint32_t i = 0; i < l->bytes; i++) {
            to[i] = from[i];
        }
        m->loads_ended++;
    }
    core->v.x[target] = m->loads_ended;
    return 1;
}

int32_t rv_device_load(rv_machine *m, uint32_t id, uint32_t address, uint32_t target, uint32_t may_sleep)
{
    const uint32_t offset = address - m->config.cluster_base;
    if (offset >= EVENT_UNIT && offset < DMA) {
        return load_event_unit(m, id, offset - EVENT_UNIT, target, may_sleep);
    }
    if (offset >= LOADER && offset < LOADER + 16 && !may_sleep) {
        return load_loader(m, id, offset - LOADER, target);
    }
    return offset >= DMA && offset < DMA + 8 && !may_sleep ? load_dma(m, id, offset - DMA, target) : 0;
}

int32_t rv_device_store(rv_machine *m, uint32_t id, uint32_t address, uint32_t value)
{
    const uint32_t offset = address - m->config.cluster_base;
    if (offset >= EVENT_UNIT && offset < DMA) {
        return store_event_unit(m, id, offset - EVENT_UNIT, value);
    }
    if (offset >= LOADER && offset < LOADER + 16) {
        return store_loader(m, id, offset - LOADER, value);
    }
    return offset >= DMA && offset < DMA + 8 ? store_dma(m, id, offset - DMA, value) : 0;
}

static uint32_t smallest(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t row_left(uint32_t done, uint32_t row)
{
    return row == 0 ? UINT32_MAX : row - done % row;
}

static uint32_t row_address(uint32_t base, uint32_t done, uint32_t row, uint32_t stride)
{
    return row == 0 ? base + done : base + done / row * stride + done % row;
}

/* Moves one beat: never over the end of a row. Ends the transfer with its last byte. */
static void dma_beat(rv_machine *m)
{
    rv_transfer *t = &m->transfer[m->dma_head % RV_TRANSFERS];
    const uint64_t now = m->dma_time > t->ready ? m->dma_time : t->ready;
    const uint32_t l1 = row_address(t->l1, t->done, t->l1_row, t->l1_stride);
    const uint32_t ext = row_address(t->ext, t->done, t->ext_row, t->ext_stride);
    uint32_t bytes = smallest(t->left, m->config.dma_beat_bytes);
    rv_region *l1_region;
    rv_region *ext_region;
    uint8_t *inside;
    uint8_t *outside;
    uint64_t wait = 0;
    bytes = smallest(bytes, smallest(row_left(t->done, t->l1_row), row_left(t->done, t->ext_row)));
    inside = rv_find(m, l1, bytes, &l1_region);
    outside = rv_find(m, ext, bytes, &ext_region);
    if (inside == 0 || outside == 0 || l1_region->kind != KIND_TCDM || ext_region->kind == KIND_TCDM ||
        ext_region->kind == KIND_EXTERNAL ||
        (!t->to_l1 && ext_region->kind == KIND_FLASH)) {
        rv_stop(m, t->core, RV_DMA_FAULT, inside == 0 || l1_region->kind != KIND_TCDM ? l1 : ext);
        return;
    }
    for (uint32_t i = 0; i < bytes; i++) {
        *(t->to_l1 ? inside + i : outside + i) = *(t->to_l1 ? outside + i : inside + i);
    }
    for (uint32_t i = 0; i < bytes && m->config.banks != 0; i += 4) {
        const uint64_t one = rv_bank_wait(m, l1 + i, now);
        wait = one > wait ? one : wait;
    }
    t->done += bytes;
    t->left -= bytes;
    m->dma_time = now + wait + 1;
    if (t->left == 0) {
        m->tag_busy[t->tag]--;
        m->dma_head++;
        if (t->event) {
            notify(m, t->core, DMA_EVENT, m->dma_time, m->config.dma_end);
        }
    }
}

/* Runs the actor that is furthest behind, as far as it stays so. 0 when nothing can act. */
static int32_t run_next(rv_machine *m)
{
    const uint32_t dma = m->config.cores;
    uint64_t first = NEVER;
    uint64_t second = NEVER;
    uint32_t actor = 0;
    uint32_t other = 0;
    for (uint32_t id = 0; id <= dma; id++) {
        uint64_t time = NEVER;
        if (id < dma && m->core[id].v.state == AWAKE) {
            time = m->core[id].v.time;
        } else if (id == dma && m->dma_head != m->dma_tail) {
            const uint64_t ready = m->transfer[m->dma_head % RV_TRANSFERS].ready;
            time = m->dma_time > ready ? m->dma_time : ready;
        }
        if (time < first) {
            second = first;
            other = actor;
            first = time;
            actor = id;
        } else if (time < second) {
            second = time;
            other = id;
        }
    }
    if (first == NEVER) {
        return 0;
    }
    if (actor == dma) {
        dma_beat(m);
    } else {
        rv_run_core(m, actor, second, other);
    }
    return 1;
}

uint64_t tlf_rv32_bytes(void)
{
    return sizeof(rv_machine);
}

/* The machine must be zeroed memory. */
void tlf_rv32_init(rv_machine *m, const rv_config *config, rv_insn *code, uint32_t code_base, uint32_t code_size)
{
    m->config = *config;
    m->code = code;
    m->code_base = code_base;
    m->code_size = code_size;
    for (uint32_t id = 0; id < RV_MAX_CORES; id++) {
        m->core[id].v.state = HALTED;
    }
}

void tlf_rv32_region(rv_machine *m, uint8_t *host, uint32_t base, uint32_t size, uint32_t kind, uint32_t load_cycles)
{
    const rv_region region = {host, base, size, kind, load_cycles};
    m->region[m->regions++] = region;
}

rv_view *tlf_rv32_core(rv_machine *m, uint32_t id)
{
    return &m->core[id].v;
}

/* All clocks together, all counts zero, all caches cold. */
void tlf_rv32_begin(rv_machine *m, uint32_t caller, uint32_t sentinel, uint64_t *stage_cycles,
                    uint64_t *stage_instructions, uint64_t max_instructions)
{
    uint64_t now = m->dma_time;
    for (uint32_t id = 0; id < m->config.cores; id++) {
        now = m->core[id].v.time > now ? m->core[id].v.time : now;
    }
    m->shared = (rv_cache){0};
    for (uint32_t id = 0; id < m->config.cores; id++) {
        rv_core *core = &m->core[id];
        core->v.time = now;
        core->v.instructions = core->v.asleep = core->v.bank_stalls = core->v.fetch_stalls = 0;
        core->v.memory_stalls = core->v.copy_waits = 0;
        core->line = 0;
        core->cache = m->shared;
    }
    m->core[caller].loaded = 0;
    m->core[caller].loop[0].count = m->core[caller].loop[1].count = 0;
    m->core[caller].v.state = AWAKE;
    m->shared.seed = 1;
    m->caller = caller;
    m->sentinel = sentinel;
    m->stage_cycles = stage_cycles;
    m->stage_instructions = stage_instructions;
    m->stage = 0;
    m->mark_cycles = now;
    m->mark_instructions = m->instructions = 0;
    m->max_instructions = max_instructions;
    m->status = RV_RUNNING;
}

/* How the run ended, and where it went wrong. */
uint32_t tlf_rv32_run(rv_machine *m, uint32_t *fault_core, uint32_t *fault_address)
{
    while (m->status == RV_RUNNING) {
        if (!run_next(m)) {
            rv_stop(m, m->caller, RV_DEADLOCK, m->core[m->caller].v.pc);
        }
    }
    *fault_core = m->fault_core;
    *fault_address = m->fault_address;
    return m->status;
}

/* Lets a core go on at `pc` after the host has served it. */
void tlf_rv32_resume(rv_machine *m, uint32_t id, uint32_t pc)
{
    m->core[id].v.pc = pc;
    m->status = RV_RUNNING;
}

/* Closes the last stage; sleepers have slept until now. */
void tlf_rv32_finish(rv_machine *m)
{
    const rv_core *caller = &m->core[m->caller];
    for (uint32_t id = 0; id < m->config.cores; id++) {
        rv_view *v = &m->core[id].v;
        if (v->state != AWAKE && v->time < caller->v.time) {
            v->asleep += caller->v.time - v->time;
            v->time = caller->v.time;
        }
    }
    m->stage_cycles[m->stage] += caller->v.time - m->mark_cycles;
    m->stage_instructions[m->stage] += m->instructions - m->mark_instructions;
}

/* The other cores and the DMA go on until they rest, uncounted. Call it after a run that ended well. */
void tlf_rv32_settle(rv_machine *m)
{
    m->core[m->caller].v.state = HALTED;
    m->max_instructions = m->instructions + SETTLE_INSTRUCTIONS;
    m->status = RV_RUNNING;
    while (m->status == RV_RUNNING && run_next(m)) {
    }
}

/* The operation number of a word, 0 when it is illegal; for tests. */
uint32_t tlf_rv32_decode(uint32_t word, uint32_t has_xpulp)
{
    return rv_decode(word, has_xpulp).op;
}
