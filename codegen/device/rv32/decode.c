/* Instruction words -> rv_insn: RV32IM, Zicsr, the C extension (expanded to the same operations) and XpulpV2. */
#include "rv32.h"

#define READS_1 1u
#define READS_2 2u
#define READS_D 4u

static int32_t sign_extend(uint32_t value, uint32_t bits)
{
    const uint32_t top = 1u << (bits - 1);
    return (int32_t)(value & (top - 1)) - (int32_t)(value & top);
}

/* Bits high..low of the word. */
static uint32_t field(uint32_t word, uint32_t high, uint32_t low)
{
    return (word >> low) & ((2u << (high - low)) - 1);
}

static rv_insn make(uint32_t op, uint32_t rd, uint32_t rs1, uint32_t rs2, int32_t imm, uint32_t reads)
{
    rv_insn insn = {0};
    insn.op = (uint16_t)op;
    insn.rd = (uint8_t)rd;
    insn.rs1 = (uint8_t)rs1;
    insn.rs2 = (uint8_t)rs2;
    insn.imm = imm;
    insn.reads = (uint8_t)reads;
    return insn;
}

static rv_insn illegal(void)
{
    return make(OP_ILLEGAL, 0, 0, 0, 0, 0);
}

static rv_insn functional(uint32_t op, uint32_t function, rv_insn insn)
{
    insn.op = (uint16_t)op;
    insn.function = (uint8_t)function;
    return insn;
}

static int32_t imm_i(uint32_t w)
{
    return sign_extend(w >> 20, 12);
}

static int32_t imm_s(uint32_t w)
{
    return sign_extend((field(w, 31, 25) << 5) | field(w, 11, 7), 12);
}

static int32_t imm_b(uint32_t w)
{
    return sign_extend(
        (field(w, 31, 31) << 12) | (field(w, 7, 7) << 11) | (field(w, 30, 25) << 5) | (field(w, 11, 8) << 1), 13);
}

static int32_t imm_j(uint32_t w)
{
    return sign_extend(
        (field(w, 31, 31) << 20) | (field(w, 19, 12) << 12) | (field(w, 20, 20) << 11) | (field(w, 30, 21) << 1), 21);
}

/* The load of that funct3 (or of that width code), counted from the first load of a group; 0 if there is none. */
static uint32_t load_of(uint32_t code, uint32_t first)
{
    static const uint8_t offset[8] = {1, 2, 3, 0, 4, 5, 0, 0};
    return offset[code] == 0 ? OP_ILLEGAL : first + offset[code] - 1;
}

static rv_insn decode_branch(uint32_t w, uint32_t rs1, uint32_t rs2, uint32_t xpulp)
{
    static const uint8_t plain[8] = {OP_BEQ, OP_BNE, 0, 0, OP_BLT, OP_BGE, OP_BLTU, OP_BGEU};
    const uint32_t f3 = field(w, 14, 12);
    if (f3 == 2 || f3 == 3) {
        return xpulp ? make(f3 == 2 ? OP_BEQIMM : OP_BNEIMM, 0, rs1, rs2, imm_b(w), READS_1) : illegal();
    }
    return make(plain[f3], 0, rs1, rs2, imm_b(w), READS_1 | READS_2);
}

static rv_insn decode_immediate(uint32_t w, uint32_t rd, uint32_t rs1)
{
    static const uint8_t plain[8] = {OP_ADDI, OP_SLLI, OP_SLTI, OP_SLTIU, OP_XORI, OP_SRLI, OP_ORI, OP_ANDI};
    const uint32_t f3 = field(w, 14, 12);
    const uint32_t f7 = w >> 25;
    if (f3 == 1 || f3 == 5) {
        const uint32_t op = f7 == 0 ? plain[f3] : f3 == 5 && f7 == 0x20 ? (uint32_t)OP_SRAI : (uint32_t)OP_ILLEGAL;
        return make(op, rd, rs1, 0, (int32_t)field(w, 24, 20), READS_1);
    }
    return make(plain[f3], rd, rs1, 0, imm_i(w), READS_1);
}

/* p.extract, extractu, insert, bclr, bset: the field is I3 + 1 bits wide and starts at bit I2. */
static rv_insn decode_bits(rv_insn insn, uint32_t f3, uint32_t f7)
{
    static const uint8_t names[8] = {S_EXTRACT, S_EXTRACTU, S_INSERT, S_BCLR, S_BSET, 0, 0, 0};
    if (f3 > 4) {
        return illegal();
    }
    insn.imm = (int32_t)(((f7 & 31u) << 5) | insn.rs2);
    insn.reads = f3 == 2 ? READS_1 | READS_D : READS_1;
    return functional(OP_SCALAR, names[f3], insn);
}

static rv_insn decode_scalar(rv_insn insn, uint32_t f3, uint32_t f7)
{
    static const uint8_t compare[8] = {S_ABS, 0, S_SLET, S_SLETU, S_MIN, S_MINU, S_MAX, S_MAXU};
    static const uint8_t count[8] = {S_FF1, S_FL1, S_CLB, S_CNT, S_EXTHS, S_EXTHZ, S_EXTBS, S_EXTBZ};
    static const uint8_t clips[8] = {0, S_CLIP, S_CLIPU, 0, 0, S_CLIPR, S_CLIPUR, 0};
    if (f7 >= 0x60) {
        return decode_bits(insn, f3, f7);
    }
    if (f7 == 0x21 && f3 < 2) {
        insn.reads |= READS_D;
        return functional(f3 == 0 ? OP_MAC : OP_MSU, 0, insn);
    }
    if (f7 == 2 && f3 != 1) {
        return f3 == 0 && insn.rs2 != 0 ? illegal() : functional(OP_SCALAR, compare[f3], insn);
    }
    if (f7 == 8) {
        return insn.rs2 != 0 ? illegal() : functional(OP_SCALAR, count[f3], insn);
    }
    if (f7 == 4 && f3 == 5) {
        return functional(OP_SCALAR, S_ROR, insn);
    }
    if (f7 == 0x0a && (f3 == 1 || f3 == 2 || f3 == 5 || f3 == 6)) {
        insn.imm = (int32_t)insn.rs2;
        insn.reads = f3 < 3 ? READS_1 : READS_1 | READS_2;
        return functional(OP_SCALAR, clips[f3], insn);
    }
    return illegal();
}

static rv_insn decode_register(uint32_t w, uint32_t rd, uint32_t rs1, uint32_t rs2, uint32_t xpulp)
{
    static const uint8_t plain[8] = {OP_ADD, OP_SLL, OP_SLT, OP_SLTU, OP_XOR, OP_SRL, OP_OR, OP_AND};
    static const uint8_t multiply[8] = {OP_MUL, OP_MULH, OP_MULHSU, OP_MULHU, OP_DIV, OP_DIVU, OP_REM, OP_REMU};
    const uint32_t f3 = field(w, 14, 12);
    const uint32_t f7 = w >> 25;
    rv_insn insn = make(OP_ILLEGAL, rd, rs1, rs2, 0, READS_1 | READS_2);
    if (f7 == 0) {
        insn.op = plain[f3];
    } else if (f7 == 1) {
        insn.op = multiply[f3];
    } else if (f7 == 0x20 && (f3 == 0 || f3 == 5)) {
        insn.op = f3 == 0 ? OP_SUB : OP_SRA;
    } else if (xpulp) {
        return decode_scalar(insn, f3, f7);
    }
    return insn;
}

static rv_insn decode_vector(uint32_t w, uint32_t rd, uint32_t rs1, uint32_t rs2)
{
    const uint32_t f3 = field(w, 14, 12);
    const uint32_t function = w >> 27;
    const uint32_t accumulates = function >= 20 && function != 24 && function != 26 && function < 29;
    rv_insn insn = make(OP_VECTOR, rd, rs1, rs2, sign_extend((rs2 << 1) | field(w, 25, 25), 6), READS_1);
    if (f3 == 2 || f3 == 3 || function > 28 || field(w, 26, 26) != 0 || (f3 < 6 && field(w, 25, 25) != 0)) {
        return illegal();
    }
    if ((function == 15 || function == 18 || function == 22) && f3 < 6) {
        return illegal(); /* extract and insert exist with an immediate only */
    }
    if ((function >= 24 && f3 > 1) || (function == 26 && f3 != 0) || (function > 26 && f3 != 1)) {
        return illegal(); /* shuffles and packs exist with registers only */
    }
    insn.function = (uint8_t)function;
    insn.mode = (uint8_t)f3;
    insn.reads = (uint8_t)(READS_1 | (f3 < 6 ? READS_2 : 0u) | (accumulates ? READS_D : 0u));
    if (f3 == 1 && function == 23) {
        insn.op = OP_SDOTSP_B;
    } else if (f3 == 1 && function == 20) {
        insn.op = OP_SDOTUP_B;
    } else if (f3 == 1 && function == 21) {
        insn.op = OP_SDOTUSP_B;
    }
    return insn;
}

static rv_insn decode_fixed(uint32_t w, uint32_t rd, uint32_t rs1, uint32_t rs2)
{
    const uint32_t f3 = field(w, 14, 12);
    const uint32_t is_mac = f3 == 1 || f3 == 5;
    rv_insn insn = make(OP_FIXED, rd, rs1, rs2, (int32_t)field(w, 29, 25), READS_1 | READS_2 | (is_mac ? READS_D : 0u));
    if ((f3 & 2u) != 0 && field(w, 30, 30) != 0) { /* p.addNr and the like: what to shift by is in a register */
        insn.reads |= READS_D;
        if ((f3 & 1u) != 0 || insn.imm != 0) {
            return illegal();
        }
    }
    insn.function = (uint8_t)(((w >> 30) << 3) | f3);
    return insn;
}

static rv_insn decode_loop(uint32_t w, uint32_t rd, uint32_t rs1)
{
    static const uint8_t ops[8] = {OP_LP_START, OP_LP_END, OP_LP_COUNT, OP_LP_COUNTI, OP_LP_SETUP, OP_LP_SETUPI, 0, 0};
    const uint32_t f3 = field(w, 14, 12);
    const uint32_t reads = f3 == 2 || f3 == 4 ? READS_1 : 0u;
    return rd > 1 ? illegal() : make(ops[f3], rd, rs1, 0, (int32_t)(w >> 20), reads);
}

/* Opcode 0x0b: loads that move their pointer, and 0x03 with funct3 7: loads with a register offset. */
static rv_insn decode_custom_load(uint32_t w, uint32_t rd, uint32_t rs1, uint32_t rs2, uint32_t post)
{
    static const uint8_t code[8] = {0, 1, 2, 3, 4, 5, 3, 3};
    const uint32_t f3 = field(w, 14, 12);
    const uint32_t f7 = w >> 25;
    if (f3 != 7) {
        return make(load_of(f3, OP_LB_POST), rd, rs1, 0, imm_i(w), READS_1);
    }
    if ((f7 & 7u) != 0 || f7 > 0x28) {
        return illegal();
    }
    return make(load_of(code[f7 >> 3], post ? OP_LB_POSTR : OP_LB_REG), rd, rs1, rs2, 0, READS_1 | READS_2);
}

static rv_insn decode_store(uint32_t w, uint32_t rd, uint32_t rs1, uint32_t rs2, uint32_t opcode, uint32_t xpulp)
{
    const uint32_t f3 = field(w, 14, 12);
    const uint32_t post = opcode == 0x2b;
    if (f3 < 3) {
        return make((post ? OP_SB_POST : OP_SB) + f3, 0, rs1, rs2, imm_s(w), READS_1 | READS_2);
    }
    if (!xpulp || f3 == 3 || f3 == 7 || w >> 25 != 0) {
        return illegal();
    }
    return make((post ? OP_SB_POSTR : OP_SB_REG) + f3 - 4, rd, rs1, rs2, 0, READS_1 | READS_2 | READS_D);
}

static rv_insn decode_system(uint32_t w, uint32_t rd, uint32_t rs1)
{
    const uint32_t f3 = field(w, 14, 12);
    if (w == 0x00000073u || w == 0x00100073u) {
        return make(w == 0x73u ? OP_ECALL : OP_EBREAK, 0, 0, 0, 0, 0);
    }
    if (w == 0x10500073u) {
        return make(OP_FENCE, 0, 0, 0, 0, 0); /* wfi */
    }
    if (f3 == 0 || f3 == 4) {
        return illegal();
    }
    return functional(OP_CSR, f3, make(OP_CSR, rd, rs1, 0, (int32_t)(w >> 20), f3 < 4 ? READS_1 : 0u));
}

static rv_insn decode_word(uint32_t w, uint32_t xpulp)
{
    const uint32_t rd = field(w, 11, 7);
    const uint32_t rs1 = field(w, 19, 15);
    const uint32_t rs2 = field(w, 24, 20);
    const uint32_t f3 = field(w, 14, 12);
    switch (w & 0x7fu) {
    case 0x37: return make(OP_LUI, rd, 0, 0, (int32_t)(w & 0x7ffff000u) + (w >> 31 ? INT32_MIN : 0), 0);
    case 0x17: return make(OP_AUIPC, rd, 0, 0, (int32_t)(w & 0x7ffff000u) + (w >> 31 ? INT32_MIN : 0), 0);
    case 0x6f: return make(OP_JAL, rd, 0, 0, imm_j(w), 0);
    case 0x67: return f3 == 0 ? make(OP_JALR, rd, rs1, 0, imm_i(w), READS_1) : illegal();
    case 0x63: return decode_branch(w, rs1, rs2, xpulp);
    case 0x03:
        if (xpulp && f3 == 6) {
            return make(OP_ELW, rd, rs1, 0, imm_i(w), READS_1);
        }
        if (xpulp && f3 == 7) {
            return decode_custom_load(w, rd, rs1, rs2, 0);
        }
        return make(load_of(f3, OP_LB), rd, rs1, 0, imm_i(w), READS_1);
    case 0x23: return decode_store(w, rd, rs1, rs2, 0x23, xpulp);
    case 0x13: return decode_immediate(w, rd, rs1);
    case 0x33: return decode_register(w, rd, rs1, rs2, xpulp);
    case 0x0f: return make(OP_FENCE, 0, 0, 0, 0, 0);
    case 0x73: return decode_system(w, rd, rs1);
    default: break;
    }
    if (!xpulp) {
        return illegal();
    }
    switch (w & 0x7fu) {
    case 0x0b: return decode_custom_load(w, rd, rs1, rs2, 1);
    case 0x2b: return decode_store(w, rd, rs1, rs2, 0x2b, 1);
    case 0x57: return decode_vector(w, rd, rs1, rs2);
    case 0x5b: return decode_fixed(w, rd, rs1, rs2);
    case 0x7b: return decode_loop(w, rd, rs1);
    default: return illegal();
    }
}

/* Offset of c.j and c.jal. */
static int32_t imm_cj(uint32_t w)
{
    return sign_extend((field(w, 12, 12) << 11) | (field(w, 8, 8) << 10) | (field(w, 10, 9) << 8) |
                           (field(w, 6, 6) << 7) | (field(w, 7, 7) << 6) | (field(w, 2, 2) << 5) |
                           (field(w, 11, 11) << 4) | (field(w, 5, 3) << 1),
                       12);
}

static rv_insn decode_c0(uint32_t w)
{
    const uint32_t low = 8 + field(w, 4, 2);
    const uint32_t high = 8 + field(w, 9, 7);
    const uint32_t add = (field(w, 10, 7) << 6) | (field(w, 12, 11) << 4) | (field(w, 5, 5) << 3) | (field(w, 6, 6) << 2);
    const int32_t offset = (int32_t)((field(w, 5, 5) << 6) | (field(w, 12, 10) << 3) | (field(w, 6, 6) << 2));
    switch (field(w, 15, 13)) {
    case 0: return add == 0 ? illegal() : make(OP_ADDI, low, 2, 0, (int32_t)add, READS_1);
    case 2: return make(OP_LW, low, high, 0, offset, READS_1);
    case 6: return make(OP_SW, 0, high, low, offset, READS_1 | READS_2);
    default: return illegal();
    }
}

static rv_insn decode_c1_arithmetic(uint32_t w, int32_t imm)
{
    static const uint8_t ops[4] = {OP_SUB, OP_XOR, OP_OR, OP_AND};
    const uint32_t rd = 8 + field(w, 9, 7);
    const uint32_t kind = field(w, 11, 10);
    if (kind == 3) {
        return field(w, 12, 12) ? illegal()
                                : make(ops[field(w, 6, 5)], rd, rd, 8 + field(w, 4, 2), 0, READS_1 | READS_2);
    }
    if (kind == 2) {
        return make(OP_ANDI, rd, rd, 0, imm, READS_1);
    }
    return imm < 0 ? illegal() : make(kind == 0 ? OP_SRLI : OP_SRAI, rd, rd, 0, imm, READS_1);
}

static rv_insn decode_c1(uint32_t w)
{
    const uint32_t rd = field(w, 11, 7);
    const int32_t imm = sign_extend((field(w, 12, 12) << 5) | field(w, 6, 2), 6);
    const int32_t wide = sign_extend((field(w, 12, 12) << 9) | (field(w, 4, 3) << 7) | (field(w, 5, 5) << 6) |
                                         (field(w, 2, 2) << 5) | (field(w, 6, 6) << 4),
                                     10);
    const int32_t branch = sign_extend((field(w, 12, 12) << 8) | (field(w, 6, 5) << 6) | (field(w, 2, 2) << 5) |
                                           (field(w, 11, 10) << 3) | (field(w, 4, 3) << 1),
                                       9);
    switch (field(w, 15, 13)) {
    case 0: return make(OP_ADDI, rd, rd, 0, imm, READS_1);
    case 1: return make(OP_JAL, 1, 0, 0, imm_cj(w), 0);
    case 2: return make(OP_ADDI, rd, 0, 0, imm, 0);
    case 3:
        if (rd == 2) {
            return wide == 0 ? illegal() : make(OP_ADDI, 2, 2, 0, wide, READS_1);
        }
        return imm == 0 ? illegal() : make(OP_LUI, rd, 0, 0, imm * 4096, 0);
    case 4: return decode_c1_arithmetic(w, imm);
    case 5: return make(OP_JAL, 0, 0, 0, imm_cj(w), 0);
    default:
        return make(field(w, 15, 13) == 6 ? OP_BEQ : OP_BNE, 0, 8 + field(w, 9, 7), 0, branch, READS_1 | READS_2);
    }
}

static rv_insn decode_c2(uint32_t w)
{
    const uint32_t rd = field(w, 11, 7);
    const uint32_t rs2 = field(w, 6, 2);
    const int32_t load = (int32_t)((field(w, 3, 2) << 6) | (field(w, 12, 12) << 5) | (field(w, 6, 4) << 2));
    const int32_t store = (int32_t)((field(w, 8, 7) << 6) | (field(w, 12, 9) << 2));
    switch (field(w, 15, 13)) {
    case 0: return field(w, 12, 12) ? illegal() : make(OP_SLLI, rd, rd, 0, (int32_t)rs2, READS_1);
    case 2: return rd == 0 ? illegal() : make(OP_LW, rd, 2, 0, load, READS_1);
    case 6: return make(OP_SW, 0, 2, rs2, store, READS_1 | READS_2);
    case 4: break;
    default: return illegal();
    }
    if (rs2 != 0) { /* c.add, c.mv */
        const uint32_t adds = field(w, 12, 12);
        return make(OP_ADD, rd, adds ? rd : 0, rs2, 0, adds ? READS_1 | READS_2 : READS_2);
    }
    if (rd == 0) {
        return field(w, 12, 12) ? make(OP_EBREAK, 0, 0, 0, 0, 0) : illegal();
    }
    return make(OP_JALR, field(w, 12, 12), rd, 0, 0, READS_1);
}

rv_insn rv_decode(uint32_t word, uint32_t has_xpulp)
{
    rv_insn insn;
    switch (word & 3u) {
    case 0: insn = decode_c0(word & 0xffffu); break;
    case 1: insn = decode_c1(word & 0xffffu); break;
    case 2: insn = decode_c2(word & 0xffffu); break;
    default: insn = decode_word(word, has_xpulp); break;
    }
    insn.size = (word & 3u) == 3 ? 4 : 2;
    return insn;
}
