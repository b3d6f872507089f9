/* One core, one instruction at a time: architectural effect and cycles. */
#include "rv32.h"

#define SIGN_BIT 0x80000000u
#define SEMIHOST_BEFORE 0x01f01013u /* slli zero, zero, 31 */
#define SEMIHOST_AFTER 0x40705013u /* srai zero, zero, 7 */

/* What an instruction does to the flow and the clock, besides registers and memory. */
typedef struct {
    uint32_t next;
    uint32_t cycles;
} rv_effect;

void rv_stop(rv_machine *m, uint32_t core, uint32_t status, uint32_t address)
{
    if (m->status == RV_RUNNING) {
        m->status = status;
        m->fault_core = core;
        m->fault_address = address;
    }
}

uint8_t *rv_find(rv_machine *m, uint32_t address, uint32_t bytes, rv_region **region)
{
    for (uint32_t i = 0; i < m->regions; i++) {
        rv_region *r = &m->region[i];
        const uint32_t offset = address - r->base;
        if (offset < r->size && r->size - offset >= bytes) {
            *region = r;
            return r->host + offset;
        }
    }
    return 0;
}

static uint32_t read_bytes(const uint8_t *p, uint32_t bytes)
{
    if (bytes == 4) {
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    return bytes == 2 ? (uint32_t)p[0] | (uint32_t)p[1] << 8 : p[0];
}

static void write_bytes(uint8_t *p, uint32_t bytes, uint32_t value)
{
    for (uint32_t i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

static int32_t is_device(const rv_machine *m, uint32_t address)
{
    return m->config.cluster_base != 0 && address - m->config.cluster_base < 0x400000u;
}

/* Cycles beyond the first of an access: crossing a word, waiting for a bank, or for L2. */
static uint32_t access_cycles(rv_machine *m, rv_core *core, const rv_region *r, uint32_t address, uint32_t bytes)
{
    uint32_t extra = r->load_cycles - 1;
    uint64_t wait = 0;
    if (r->kind == KIND_TCDM && m->config.banks != 0) {
        wait = rv_bank_wait(m, address, core->v.time);
        core->v.bank_stalls += wait;
    }
    if ((address & 3u) + bytes > 4) {
        extra += m->config.misaligned;
        if (r->kind == KIND_TCDM && m->config.banks != 0) {
            const uint64_t more = rv_bank_wait(m, address + 4, core->v.time + wait + 1);
            core->v.bank_stalls += more;
            wait += more;
        }
    }
    core->v.memory_stalls += extra;
    return extra + (uint32_t)wait;
}

static void load(rv_machine *m, rv_core *core, uint32_t id, uint32_t address, uint32_t width, uint32_t rd, rv_effect *e)
{
    static const uint8_t sizes[5] = {1, 2, 4, 1, 2}; /* lb lh lw lbu lhu */
    rv_region *region;
    const uint32_t bytes = sizes[width];
    const uint8_t *p = rv_find(m, address, bytes, &region);
    uint32_t value;
    if (p == 0 || region->kind == KIND_EXTERNAL) {
        if (!is_device(m, address) || !rv_device_load(m, id, address, rd, 0)) {
            rv_stop(m, id, RV_READ_FAULT, address);
        }
        return;
    }
    e->cycles += access_cycles(m, core, region, address, bytes);
    value = read_bytes(p, bytes);
    if (width < 2) {
        const uint32_t top = 1u << (8 * bytes - 1);
        value = (value ^ top) - top;
    }
    core->v.x[rd] = value;
    core->loaded = rd;
}

static void store(rv_machine *m, rv_core *core, uint32_t id, uint32_t address, uint32_t bytes, uint32_t value,
                  rv_effect *e)
{
    rv_region *region;
    uint8_t *p = rv_find(m, address, bytes, &region);
    if (p == 0) {
        if (!is_device(m, address) || !rv_device_store(m, id, address, value)) {
            rv_stop(m, id, RV_WRITE_FAULT, address);
        }
    } else if (region->kind == KIND_FLASH || region->kind == KIND_EXTERNAL) {
        rv_stop(m, id, RV_PROTECTED, address);
    } else {
        e->cycles += access_cycles(m, core, region, address, bytes);
        write_bytes(p, bytes, value);
    }
}

static uint32_t high_product(uint32_t a, uint32_t b, uint32_t a_signed, uint32_t b_signed)
{
    uint32_t high = (uint32_t)(((uint64_t)a * b) >> 32);
    high -= a_signed && a >= SIGN_BIT ? b : 0u;
    high -= b_signed && b >= SIGN_BIT ? a : 0u;
    return high;
}

static uint32_t divide(uint32_t op, uint32_t a, uint32_t b)
{
    const uint32_t is_signed = op == OP_DIV || op == OP_REM;
    const uint32_t x = is_signed && a >= SIGN_BIT ? 0u - a : a;
    const uint32_t y = is_signed && b >= SIGN_BIT ? 0u - b : b;
    const uint32_t negative = is_signed && ((op == OP_DIV ? a ^ b : a) >= SIGN_BIT);
    uint32_t value;
    if (b == 0) {
        return op == OP_DIV || op == OP_DIVU ? UINT32_MAX : a;
    }
    value = op == OP_DIV || op == OP_DIVU ? x / y : x % y;
    return negative ? 0u - value : value;
}

static uint32_t division_cycles(const rv_machine *m, uint32_t op, uint32_t b)
{
    uint32_t divisor = (op == OP_DIV || op == OP_REM) && b >= SIGN_BIT ? 0u - b : b;
    uint32_t cycles = m->config.division;
    for (uint32_t bit = 0; bit < 32 && divisor < SIGN_BIT; bit++) {
        divisor <<= 1;
        cycles++;
    }
    return cycles;
}

/* 1 when the CSR exists; the value it holds. */
static int32_t read_csr(const rv_core *core, uint32_t id, uint32_t csr, uint32_t *value)
{
    const uint64_t cycles = core->v.time - core->cycle_zero;
    *value = 0;
    switch (csr) {
    case 0xf14: *value = id; return 1; /* mhartid */
    case 0xb00: case 0xc00: case 0x780: case 0x7e2: *value = (uint32_t)cycles; return 1;
    case 0xb80: case 0xc80: *value = (uint32_t)(cycles >> 32); return 1;
    case 0xb02: case 0xc02: *value = (uint32_t)core->v.instructions; return 1;
    case 0x300: case 0x301: case 0x304: case 0x305: case 0x306: case 0x320: case 0x340: case 0x341: case 0x342:
    case 0x7a0: case 0x7a1: case 0x7e0: case 0x7e1: case 0xcc0: case 0xcc1: return 1; /* accepted and ignored */
    default: return 0;
    }
}

static void csr(rv_machine *m, rv_core *core, uint32_t id, const rv_insn *insn)
{
    const uint32_t operand = insn->function < 4 ? core->v.x[insn->rs1] : insn->rs1;
    const uint32_t number = (uint32_t)insn->imm;
    uint32_t old;
    if (!read_csr(core, id, number, &old)) {
        rv_stop(m, id, RV_ILLEGAL, core->v.pc);
        return;
    }
    if ((insn->function & 3u) == 1 && (number == 0xb00 || number == 0x780 || number == 0x7e2)) {
        core->cycle_zero = core->v.time - operand;
    }
    core->v.x[insn->rd] = old;
}

static void breakpoint(rv_machine *m, rv_core *core, uint32_t id)
{
    rv_region *region;
    const uint8_t *p = rv_find(m, core->v.pc - 4, 12, &region);
    const int32_t is_semihost =
        p != 0 && read_bytes(p, 4) == SEMIHOST_BEFORE && read_bytes(p + 8, 4) == SEMIHOST_AFTER;
    rv_stop(m, id, is_semihost ? RV_SEMIHOST : RV_TRAP, core->v.pc);
}

static void branch(const rv_machine *m, int32_t taken, uint32_t target, rv_effect *e)
{
    e->cycles = taken ? m->config.branch_taken : m->config.branch;
    e->next = taken ? target : e->next;
}

static uint32_t immediate_value(uint32_t op, uint32_t a, uint32_t imm)
{
    switch (op) {
    case OP_ADDI: return a + imm;
    case OP_SLTI: return (a ^ SIGN_BIT) < (imm ^ SIGN_BIT);
    case OP_SLTIU: return a < imm;
    case OP_XORI: return a ^ imm;
    case OP_ORI: return a | imm;
    case OP_ANDI: return a & imm;
    case OP_SLLI: return a << imm;
    case OP_SRLI: return a >> imm;
    default: return (a >> imm) | (a >= SIGN_BIT && imm != 0 ? UINT32_MAX << (32 - imm) : 0u); /* OP_SRAI */
    }
}

static uint32_t register_value(uint32_t op, uint32_t a, uint32_t b)
{
    switch (op) {
    case OP_ADD: return a + b;
    case OP_SUB: return a - b;
    case OP_SLL: return a << (b & 31u);
    case OP_SLT: return (a ^ SIGN_BIT) < (b ^ SIGN_BIT);
    case OP_SLTU: return a < b;
    case OP_XOR: return a ^ b;
    case OP_SRL: return a >> (b & 31u);
    case OP_SRA: return immediate_value(OP_SRAI, a, b & 31u);
    case OP_OR: return a | b;
    default: return a & b;
    }
}

static uint32_t sdot_byte(uint32_t op, uint32_t a, uint32_t b, uint32_t d)
{
    for (uint32_t shift = 0; shift < 32; shift += 8) {
        const uint32_t x = (a >> shift) & 0xffu;
        const uint32_t y = (b >> shift) & 0xffu;
        const uint32_t sx = op == OP_SDOTSP_B ? (x ^ 0x80u) - 0x80u : x;
        const uint32_t sy = op == OP_SDOTUP_B ? y : (y ^ 0x80u) - 0x80u;
        d += sx * sy;
    }
    return d;
}

static void set_loop(rv_machine *m, rv_core *core, uint32_t id, const rv_insn *insn)
{
    rv_loop *loop = &core->loop[insn->rd];
    const uint32_t target = core->v.pc + 2 * (uint32_t)insn->imm;
    switch (insn->op) {
    case OP_LP_START: loop->start = target; break;
    case OP_LP_END: loop->end = target; break;
    case OP_LP_COUNT: loop->count = core->v.x[insn->rs1]; break;
    case OP_LP_COUNTI: loop->count = (uint32_t)insn->imm; break;
    case OP_LP_SETUP:
        loop->start = core->v.pc + 4;
        loop->end = target;
        loop->count = core->v.x[insn->rs1];
        break;
    default: /* OP_LP_SETUPI: the count is the long immediate, the end the short one */
        loop->start = core->v.pc + 4;
        loop->end = core->v.pc + 2 * insn->rs1;
        loop->count = (uint32_t)insn->imm;
        break;
    }
    if (insn->op >= OP_LP_SETUP && loop->end <= loop->start) { /* the hardware needs two instructions */
        rv_stop(m, id, RV_ILLEGAL, core->v.pc);
    }
}

/* Loads and stores with a moving pointer or a register offset. The pointer moves after the access. */
static void custom_memory(rv_machine *m, rv_core *core, uint32_t id, const rv_insn *insn, rv_effect *e)
{
    const uint32_t op = insn->op;
    const uint32_t base = core->v.x[insn->rs1];
    const uint32_t offset = op >= OP_SB_POSTR ? core->v.x[insn->rd] : core->v.x[insn->rs2];
    if (op <= OP_LHU_POST) {
        core->v.x[insn->rs1] = base + (uint32_t)insn->imm;
        load(m, core, id, base, op - OP_LB_POST, insn->rd, e);
    } else if (op <= OP_LHU_POSTR) {
        core->v.x[insn->rs1] = base + offset;
        load(m, core, id, base, op - OP_LB_POSTR, insn->rd, e);
    } else if (op <= OP_LHU_REG) {
        load(m, core, id, base + offset, op - OP_LB_REG, insn->rd, e);
    } else if (op <= OP_SW_POST) {
        store(m, core, id, base, 1u << (op - OP_SB_POST), core->v.x[insn->rs2], e);
        core->v.x[insn->rs1] = base + (uint32_t)insn->imm;
    } else if (op <= OP_SW_POSTR) {
        store(m, core, id, base, 1u << (op - OP_SB_POSTR), core->v.x[insn->rs2], e);
        core->v.x[insn->rs1] = base + offset;
    } else {
        store(m, core, id, base + offset, 1u << (op - OP_SB_REG), core->v.x[insn->rs2], e);
    }
}

static void execute_other(rv_machine *m, rv_core *core, uint32_t id, const rv_insn *insn, rv_effect *e)
{
    const uint32_t a = core->v.x[insn->rs1];
    const uint32_t b = core->v.x[insn->rs2];
    uint32_t *d = &core->v.x[insn->rd];
    switch (insn->op) {
    case OP_MULH: case OP_MULHSU: case OP_MULHU:
        *d = high_product(a, b, insn->op != OP_MULHU, insn->op == OP_MULH);
        e->cycles = m->config.mulh;
        break;
    case OP_DIV: case OP_DIVU: case OP_REM: case OP_REMU:
        *d = divide(insn->op, a, b);
        e->cycles = division_cycles(m, insn->op, b);
        break;
    case OP_FENCE: break;
    case OP_CSR: csr(m, core, id, insn); break;
    case OP_ECALL: rv_stop(m, id, RV_TRAP, core->v.pc); break;
    case OP_EBREAK: breakpoint(m, core, id); break;
    case OP_ELW:
        if (!is_device(m, a + (uint32_t)insn->imm) || !rv_device_load(m, id, a + (uint32_t)insn->imm, insn->rd, 1)) {
            rv_stop(m, id, RV_READ_FAULT, a + (uint32_t)insn->imm);
        }
        break;
    case OP_LP_START: case OP_LP_END: case OP_LP_COUNT: case OP_LP_COUNTI: case OP_LP_SETUP: case OP_LP_SETUPI:
        set_loop(m, core, id, insn);
        break;
    case OP_MSU: *d -= a * b; break;
    case OP_VECTOR: *d = rv_vector(insn->function, insn->mode, a, b, insn->imm, *d); break;
    case OP_SCALAR: *d = rv_scalar(insn->function, a, b, insn->imm, *d); break;
    case OP_FIXED: *d = rv_fixed(insn->function, a, b, insn->imm, *d); break;
    case OP_ILLEGAL: rv_stop(m, id, RV_ILLEGAL, core->v.pc); break;
    default: custom_memory(m, core, id, insn, e); break;
    }
}

static void execute(rv_machine *m, rv_core *core, uint32_t id, const rv_insn *insn, rv_effect *e)
{
    const uint32_t pc = core->v.pc;
    const uint32_t imm = (uint32_t)insn->imm;
    const uint32_t a = core->v.x[insn->rs1];
    const uint32_t b = core->v.x[insn->rs2];
    uint32_t *d = &core->v.x[insn->rd];
    switch (insn->op) {
    case OP_LUI: *d = imm; break;
    case OP_AUIPC: *d = pc + imm; break;
    case OP_JAL:
        *d = e->next;
        e->next = pc + imm;
        e->cycles = m->config.jump;
        break;
    case OP_JALR:
        *d = e->next;
        e->next = (a + imm) & ~1u;
        e->cycles = m->config.jump;
        break;
    case OP_BEQ: branch(m, a == b, pc + imm, e); break;
    case OP_BNE: branch(m, a != b, pc + imm, e); break;
    case OP_BLT: branch(m, (a ^ SIGN_BIT) < (b ^ SIGN_BIT), pc + imm, e); break;
    case OP_BGE: branch(m, (a ^ SIGN_BIT) >= (b ^ SIGN_BIT), pc + imm, e); break;
    case OP_BLTU: branch(m, a < b, pc + imm, e); break;
    case OP_BGEU: branch(m, a >= b, pc + imm, e); break;
    case OP_BEQIMM: branch(m, a == (insn->rs2 ^ 16u) - 16u, pc + imm, e); break;
    case OP_BNEIMM: branch(m, a != (insn->rs2 ^ 16u) - 16u, pc + imm, e); break;
    case OP_LB: case OP_LH: case OP_LW: case OP_LBU: case OP_LHU:
        load(m, core, id, a + imm, insn->op - OP_LB, insn->rd, e);
        break;
    case OP_SB: store(m, core, id, a + imm, 1, b, e); break;
    case OP_SH: store(m, core, id, a + imm, 2, b, e); break;
    case OP_SW: store(m, core, id, a + imm, 4, b, e); break;
    case OP_ADDI: case OP_SLTI: case OP_SLTIU: case OP_XORI: case OP_ORI: case OP_ANDI: case OP_SLLI: case OP_SRLI:
    case OP_SRAI:
        *d = immediate_value(insn->op, a, imm);
        break;
    case OP_ADD: case OP_SUB: case OP_SLL: case OP_SLT: case OP_SLTU: case OP_XOR: case OP_SRL: case OP_SRA: case OP_OR:
    case OP_AND:
        *d = register_value(insn->op, a, b);
        break;
    case OP_MUL:
        *d = a * b;
        e->cycles = m->config.mul;
        break;
    case OP_LW_POST:
        core->v.x[insn->rs1] = a + imm;
        load(m, core, id, a, 2, insn->rd, e);
        break;
    case OP_SDOTSP_B: case OP_SDOTUP_B: case OP_SDOTUSP_B: *d = sdot_byte(insn->op, a, b, *d); break;
    case OP_MAC: *d += a * b; break;
    default: execute_other(m, core, id, insn, e); break;
    }
}

/* The instruction at the program counter; 0 when there is none or the run ends there. */
static rv_insn *fetch(rv_machine *m, rv_core *core, uint32_t id)
{
    const uint32_t pc = core->v.pc;
    const uint32_t offset = pc - m->code_base;
    rv_insn *insn;
    if (offset >= m->code_size) {
        rv_stop(m, id, pc == m->sentinel && id == m->caller ? RV_STOPPED : RV_FETCH_FAULT, pc);
        return 0;
    }
    insn = &m->code[offset >> 1];
    if (insn->size == 0) {
        rv_region *region;
        const uint8_t *p = rv_find(m, pc, 2, &region);
        const uint64_t spent = insn->spent;
        const uint16_t mark = insn->mark;
        const uint32_t low = p == 0 ? 0 : read_bytes(p, 2);
        *insn = rv_decode((low & 3u) == 3 && rv_find(m, pc, 4, &region) != 0 ? read_bytes(p, 4) : low,
                          m->config.has_xpulp);
        insn->spent = spent;
        insn->mark = mark;
    }
    return insn;
}

static void close_stage(rv_machine *m, const rv_core *core)
{
    m->stage_cycles[m->stage] += core->v.time - m->mark_cycles;
    m->stage_instructions[m->stage] += m->instructions - m->mark_instructions;
    m->mark_cycles = core->v.time;
    m->mark_instructions = m->instructions;
}

/* Stage borders and stop addresses of the called core; 1 when the run ends here. */
static int32_t pass_mark(rv_machine *m, const rv_core *core, uint32_t id, uint32_t mark)
{
    if (id != m->caller) {
        return 0;
    }
    if (mark == MARK_STOP) {
        rv_stop(m, id, RV_STOPPED, core->v.pc);
        return 1;
    }
    close_stage(m, core);
    m->stage = mark;
    return 0;
}

static uint32_t stalls(const rv_machine *m, const rv_core *core, const rv_insn *insn)
{
    const uint32_t r = core->loaded;
    const uint32_t waits = ((insn->reads & 1u) != 0 && insn->rs1 == r) || ((insn->reads & 2u) != 0 && insn->rs2 == r) ||
                           ((insn->reads & 4u) != 0 && insn->rd == r);
    return waits ? m->config.load_use : 0;
}

/* A jump or branch as the last instruction of a loop is forbidden by the hardware: it faults here. */
static void loop_back(rv_machine *m, rv_core *core, uint32_t id, const rv_insn *insn, rv_effect *e)
{
    for (uint32_t i = 0; i < 2; i++) {
        rv_loop *loop = &core->loop[i];
        if (loop->count != 0 && core->v.pc == loop->end) {
            if (insn->op >= OP_JAL && insn->op <= OP_BNEIMM) {
                rv_stop(m, id, RV_ILLEGAL, core->v.pc);
                return;
            }
            if (--loop->count != 0) {
                e->next = loop->start;
                return;
            }
        }
    }
}

static void step(rv_machine *m, rv_core *core, uint32_t id)
{
    const uint64_t begun = core->v.time - core->v.asleep; /* a barrier that this core completes is sleep, too */
    rv_effect effect;
    rv_insn *insn = fetch(m, core, id);
    if (insn == 0 || (insn->mark != 0 && pass_mark(m, core, id, insn->mark))) {
        return;
    }
    if (m->config.private_miss != 0) {
        const uint32_t first = core->v.pc >> RV_LINE_SHIFT;
        const uint32_t last = (core->v.pc + insn->size - 1) >> RV_LINE_SHIFT;
        if (first != core->line) {
            rv_fetch_line(m, core, first);
        }
        if (last != first) {
            rv_fetch_line(m, core, last);
        }
    }
    effect.next = core->v.pc + insn->size;
    effect.cycles = 1;
    if (core->loaded != 0) {
        core->v.time += stalls(m, core, insn);
        core->loaded = 0;
    }
    execute(m, core, id, insn, &effect);
    core->v.x[0] = 0;
    if (m->status != RV_RUNNING) {
        return;
    }
    if ((core->loop[0].count | core->loop[1].count) != 0) {
        loop_back(m, core, id, insn, &effect);
        if (m->status != RV_RUNNING) {
            return;
        }
    }
    core->v.pc = effect.next;
    core->v.time += effect.cycles;
    core->v.instructions++;
    insn->spent += core->v.time - core->v.asleep - begun;
    if (++m->instructions > m->max_instructions) {
        rv_stop(m, id, RV_OVER_LIMIT, core->v.pc);
    }
}

void rv_run_core(rv_machine *m, uint32_t id, uint64_t limit, uint32_t other)
{
    rv_core *core = &m->core[id];
    m->reschedule = 0;
    while (m->status == RV_RUNNING && core->v.state == AWAKE && !m->reschedule &&
           (core->v.time < limit || (core->v.time == limit && id < other))) {
        step(m, core, id);
    }
}
