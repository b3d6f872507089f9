/* The values of the XpulpV2 arithmetic: packed lanes, saturation, fixed point, bit counting. Pure functions. */
#include "rv32.h"

#define SIGN_BIT 0x80000000u

static int32_t to_signed(uint32_t value)
{
    return value < SIGN_BIT ? (int32_t)value : (int32_t)(value - SIGN_BIT) + INT32_MIN;
}

static uint32_t arithmetic_right(uint32_t value, uint32_t shift)
{
    return shift == 0 ? value : (value >> shift) | (value >= SIGN_BIT ? ~(UINT32_MAX >> shift) : 0u);
}

static int32_t extend(uint32_t value, uint32_t bits)
{
    const uint32_t top = 1u << (bits - 1);
    return (int32_t)((value & (top - 1))) - (int32_t)(value & top);
}

static uint32_t lane(uint32_t value, uint32_t index, uint32_t bits)
{
    return (value >> (index * bits)) & ((1u << bits) - 1);
}

enum {
    V_ADD, V_SUB, V_AVG, V_AVGU, V_MIN, V_MINU, V_MAX, V_MAXU, V_SRL, V_SRA, V_SLL, V_OR, V_XOR, V_AND, V_ABS, V_EXTRACT,
    V_DOTUP, V_DOTUSP, V_EXTRACTU, V_DOTSP, V_SDOTUP, V_SDOTUSP, V_INSERT, V_SDOTSP, V_SHUFFLE, V_SHUFFLE2, V_PACK,
    V_PACKHI, V_PACKLO
};

/* The sum of the products of the lanes; `a_signed` and `b_signed` say how each side is read. */
static uint32_t dot(uint32_t a, uint32_t b, uint32_t bits, int32_t a_signed, int32_t b_signed)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 32 / bits; i++) {
        const uint32_t x = lane(a, i, bits);
        const uint32_t y = lane(b, i, bits);
        sum += (a_signed ? (uint32_t)extend(x, bits) : x) * (b_signed ? (uint32_t)extend(y, bits) : y);
    }
    return sum;
}

static uint32_t lane_value(uint32_t function, uint32_t x, uint32_t y, uint32_t bits)
{
    const int32_t sx = extend(x, bits);
    const int32_t sy = extend(y, bits);
    const uint32_t shift = y & (bits - 1);
    switch (function) {
    case V_ADD: return x + y;
    case V_SUB: return x - y;
    case V_AVG: return arithmetic_right((uint32_t)(sx + sy), 1);
    case V_AVGU: return (x + y) >> 1;
    case V_MIN: return sx < sy ? x : y;
    case V_MINU: return x < y ? x : y;
    case V_MAX: return sx > sy ? x : y;
    case V_MAXU: return x > y ? x : y;
    case V_SRL: return x >> shift;
    case V_SRA: return arithmetic_right((uint32_t)sx, shift);
    case V_SLL: return x << shift;
    case V_OR: return x | y;
    case V_XOR: return x ^ y;
    case V_AND: return x & y;
    default: return (uint32_t)(sx < 0 ? -sx : sx); /* V_ABS */
    }
}

static uint32_t by_lane(uint32_t function, uint32_t a, uint32_t b, uint32_t bits)
{
    const uint32_t mask = (1u << bits) - 1;
    uint32_t value = 0;
    for (uint32_t i = 0; i < 32 / bits; i++) {
        value |= (lane_value(function, lane(a, i, bits), lane(b, i, bits), bits) & mask) << (i * bits);
    }
    return value;
}

/* Lane i of the result is lane b[i] of a, or of d when `two` and the next bit of b[i] is clear. */
static uint32_t shuffle(uint32_t a, uint32_t b, uint32_t d, uint32_t bits, int32_t two)
{
    const uint32_t lanes = 32 / bits;
    uint32_t value = 0;
    for (uint32_t i = 0; i < lanes; i++) {
        const uint32_t pick = lane(b, i, bits);
        const uint32_t from = two && (pick & lanes) == 0 ? d : a;
        value |= lane(from, pick & (lanes - 1), bits) << (i * bits);
    }
    return value;
}

static int32_t is_unsigned(uint32_t function)
{
    return function == V_AVGU || function == V_MINU || function == V_MAXU || function == V_DOTUP || function == V_SDOTUP;
}

/* mode: funct3, bit 0: bytes; 4 and 5 replicate lane 0 of b, 6 and 7 the six-bit immediate. */
static uint32_t second_operand(uint32_t function, uint32_t mode, uint32_t b, int32_t imm, uint32_t bits)
{
    const uint32_t mask = (1u << bits) - 1;
    const uint32_t value = mode < 6 ? b : is_unsigned(function) ? (uint32_t)imm & 63u : (uint32_t)imm;
    return mode < 4 ? b : (value & mask) * (bits == 8 ? 0x01010101u : 0x00010001u);
}

uint32_t rv_vector(uint32_t function, uint32_t mode, uint32_t a, uint32_t b, int32_t imm, uint32_t d)
{
    const uint32_t bits = (mode & 1) != 0 ? 8 : 16;
    const uint32_t index = (uint32_t)imm & (32 / bits - 1);
    const uint32_t mask = ((1u << bits) - 1) << (index * bits);
    const uint32_t y = second_operand(function, mode, b, imm, bits);
    switch (function) {
    case V_EXTRACT: return (uint32_t)extend(lane(a, index, bits), bits);
    case V_EXTRACTU: return lane(a, index, bits);
    case V_INSERT: return (d & ~mask) | ((a << (index * bits)) & mask);
    case V_DOTUP: return dot(a, y, bits, 0, 0);
    case V_DOTUSP: return dot(a, y, bits, 0, 1);
    case V_DOTSP: return dot(a, y, bits, 1, 1);
    case V_SDOTUP: return d + dot(a, y, bits, 0, 0);
    case V_SDOTUSP: return d + dot(a, y, bits, 0, 1);
    case V_SDOTSP: return d + dot(a, y, bits, 1, 1);
    case V_SHUFFLE: return shuffle(a, y, d, bits, 0);
    case V_SHUFFLE2: return shuffle(a, y, d, bits, 1);
    case V_PACK: return (a << 16) | (b & 0xffffu);
    case V_PACKHI: return (d & 0xffffu) | ((a & 0xffu) << 24) | ((b & 0xffu) << 16);
    case V_PACKLO: return (d & 0xffff0000u) | ((a & 0xffu) << 8) | (b & 0xffu);
    default: return by_lane(function, a, y, bits);
    }
}

static uint32_t clip(uint32_t value, int32_t low, int32_t high)
{
    const int32_t x = to_signed(value);
    return (uint32_t)(x < low ? low : x > high ? high : x);
}

static uint32_t count_ones(uint32_t value)
{
    uint32_t count = 0;
    for (; value != 0; value &= value - 1) {
        count++;
    }
    return count;
}

static uint32_t last_one(uint32_t value)
{
    uint32_t index = 31;
    while (value >> index == 0) {
        index--;
    }
    return index;
}

/* Leading bits equal to the sign bit, without it; 0 for 0 as the vendor's manual has it. */
static uint32_t leading_bits(uint32_t value)
{
    const uint32_t folded = value >= SIGN_BIT ? ~value : value;
    return value == 0 ? 0 : folded == 0 ? 31 : 30 - last_one(folded);
}

static uint32_t clip_bits(uint32_t a, int32_t bits, int32_t is_signed)
{
    const int32_t high = bits == 0 ? 0 : to_signed((1u << (bits - 1)) - 1);
    return clip(a, is_signed ? -high - 1 : 0, high);
}

uint32_t rv_scalar(uint32_t function, uint32_t a, uint32_t b, int32_t imm, uint32_t d)
{
    const int32_t x = to_signed(a);
    const int32_t y = to_signed(b);
    const uint32_t field_mask = (uint32_t)((2ull << ((imm >> 5) & 31)) - 1);
    const uint32_t shift = (uint32_t)imm & 31u;
    switch (function) {
    case S_CLIP: return clip_bits(a, imm, 1);
    case S_CLIPU: return clip_bits(a, imm, 0);
    case S_CLIPR: return clip(a, to_signed(~b), y);
    case S_CLIPUR: return clip(a, 0, y);
    case S_ABS: return x < 0 ? 0u - a : a;
    case S_SLET: return x <= y;
    case S_SLETU: return a <= b;
    case S_MIN: return x < y ? a : b;
    case S_MINU: return a < b ? a : b;
    case S_MAX: return x > y ? a : b;
    case S_MAXU: return a > b ? a : b;
    case S_EXTHS: return (uint32_t)extend(a, 16);
    case S_EXTHZ: return a & 0xffffu;
    case S_EXTBS: return (uint32_t)extend(a, 8);
    case S_EXTBZ: return a & 0xffu;
    case S_FF1: return a == 0 ? 32 : last_one(a & (0u - a));
    case S_FL1: return a == 0 ? 32 : last_one(a);
    case S_CLB: return leading_bits(a);
    case S_CNT: return count_ones(a);
    case S_ROR: return (b & 31u) == 0 ? a : (a >> (b & 31u)) | (a << (32 - (b & 31u)));
    case S_EXTRACT: return arithmetic_right((a >> shift) << (31 - ((imm >> 5) & 31)), (uint32_t)(31 - ((imm >> 5) & 31)));
    case S_EXTRACTU: return (a >> shift) & field_mask;
    case S_INSERT: return (d & ~(field_mask << shift)) | ((a & field_mask) << shift);
    case S_BCLR: return a & ~(field_mask << shift);
    default: return a | (field_mask << shift); /* S_BSET */
    }
}

/* Opcode 0x5b. selector: funct3 in bits 0-2, the two top bits of the word in bits 3-4; imm: the shift, but for additions
 * with bit 3 set, which add a to d and shift by b. */
uint32_t rv_fixed(uint32_t selector, uint32_t a, uint32_t b, int32_t imm, uint32_t d)
{
    const uint32_t top = selector >> 3;
    const int32_t is_add = (selector & 2u) != 0;
    const int32_t by_register = is_add && (top & 1u) != 0;
    const int32_t is_signed = is_add ? top < 2 : top >= 2;
    const uint32_t shift = by_register ? b & 31u : (uint32_t)imm;
    const uint32_t round = (selector & 4u) != 0 && shift != 0 ? 1u << (shift - 1) : 0u;
    uint32_t value;
    if (is_add) {
        const uint32_t second = by_register ? d : b;
        value = (selector & 1u) != 0 ? a - second : a + second;
    } else {
        const uint32_t high = (top & 1u) != 0 ? 16 : 0;
        const uint32_t x = (a >> high) & 0xffffu;
        const uint32_t y = (b >> high) & 0xffffu;
        value = is_signed ? (uint32_t)(extend(x, 16) * extend(y, 16)) : x * y;
        value += (selector & 1u) != 0 ? d : 0u;
    }
    value += round;
    return is_signed ? arithmetic_right(value, shift) : value >> shift;
}
