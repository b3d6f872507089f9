/* An emulated RISC-V machine: one or more RV32IMC cores with the XpulpV2 extension over shared memory, with the cycles
 * of an in-order four-stage pipeline (RI5CY / CV32E40P). decode.c turns instruction words into rv_insn, execute.c runs
 * one core, xpulp.c holds the arithmetic of the custom instructions, cluster.c interleaves the cores in time and
 * owns event unit, DMA engine and instruction caches. Python (core_rv32.py) owns the memory; no libc is needed.
 */
#ifndef RV32_H
#define RV32_H

#include <stdint.h>

#define RV_MAX_CORES 16
#define RV_MAX_REGIONS 8
#define RV_MAX_BANKS 64
#define RV_BARRIERS 16
#define RV_FIFO 16
#define RV_TRANSFERS 32
#define RV_LINE_SHIFT 4 /* instruction cache lines of 16 bytes */
#define RV_PRIVATE_SETS 8
#define RV_SHARED_SETS 64
#define RV_WAYS 4

#define MARK_STOP UINT16_MAX /* otherwise: the stage that begins here; 0: nothing */
#define NEVER UINT64_MAX

enum rv_status {
    RV_RUNNING,
    RV_STOPPED, /* the called core reached a stop address or the return address of the call */
    RV_OVER_LIMIT,
    RV_ILLEGAL,
    RV_READ_FAULT,
    RV_WRITE_FAULT,
    RV_PROTECTED,
    RV_FETCH_FAULT,
    RV_TRAP,
    RV_SEMIHOST,
    RV_DEADLOCK,
    RV_DMA_FAULT,
    RV_IDLE
};

enum rv_kind { KIND_FLASH, KIND_RAM, KIND_TCDM, KIND_L2, KIND_EXTERNAL }; /* the last: for loads only */

typedef struct {
    uint8_t *host;
    uint32_t base;
    uint32_t size;
    uint32_t kind;
    uint32_t load_cycles; /* of a word, 1 where nothing waits */
} rv_region;

/* Prices and sizes; core_rv32.py mirrors it. All in cycles unless said otherwise. */
typedef struct {
    uint32_t cores;
    uint32_t has_xpulp;
    uint32_t mul;
    uint32_t mulh;
    uint32_t division; /* for a divisor with its top bit set; one more for every leading zero */
    uint32_t load_use;
    uint32_t misaligned; /* more, when an access crosses a word */
    uint32_t jump;
    uint32_t branch;
    uint32_t branch_taken;
    uint32_t banks; /* of the TCDM, a power of two; 0: no conflicts */
    uint32_t barrier; /* from the last arrival to the wake-up */
    uint32_t dispatch; /* from the push to the wake-up */
    uint32_t wake; /* from an event to the wake-up */
    uint32_t event_access; /* a load or store of the event unit */
    uint32_t dma_access; /* a load or store of the DMA's registers */
    uint32_t dma_start; /* from the last command word to the first beat */
    uint32_t dma_end; /* from the last beat to the event */
    uint32_t dma_beat_bytes;
    uint32_t load_start; /* of a load from external memory, to its first byte */
    uint32_t load_byte;
    uint32_t private_miss; /* instruction line found in the shared cache; 0 and 0: no caches */
    uint32_t shared_miss; /* more, when it comes from L2 */
    uint32_t cluster_base; /* the L1 address, the peripherals follow; 0: no cluster */
} rv_config;

typedef struct {
    uint16_t op;
    uint16_t mark;
    int32_t imm;
    uint8_t rd, rs1, rs2;
    uint8_t size; /* bytes; 0: not decoded yet */
    uint8_t reads; /* bits: 1 rs1, 2 rs2, 4 rd */
    uint8_t function; /* of the custom instructions: which one */
    uint8_t mode;
    uint8_t unused;
    uint64_t spent; /* cycles at this address */
} rv_insn;

typedef struct {
    uint32_t start, end, count;
} rv_loop;

typedef struct {
    uint32_t tag[RV_SHARED_SETS][RV_WAYS]; /* line + 1; a private cache uses the first RV_PRIVATE_SETS sets */
    uint8_t next[RV_SHARED_SETS]; /* the way to replace: round robin, or */
    uint32_t seed; /* when it is not 0, by a xorshift generator */
} rv_cache;

enum rv_sleep { AWAKE, WAIT_EVENT, WAIT_DISPATCH, HALTED };

/* What Python reads of a core; the start of rv_core. */
typedef struct {
    uint64_t time;
    uint64_t instructions;
    uint64_t asleep;
    uint64_t copy_waits; /* the part of it that a copy under way caused */
    uint64_t bank_stalls;
    uint64_t fetch_stalls;
    uint64_t memory_stalls; /* L2 and misaligned accesses */
    uint32_t x[32];
    uint32_t pc;
    uint32_t state; /* rv_sleep */
} rv_view;

typedef struct {
    rv_view v;
    rv_loop loop[2];
    uint32_t loaded; /* the register the last instruction loaded, 0 if none */
    uint32_t line; /* of the last fetch */
    uint32_t event_mask;
    uint32_t event_buffer;
    uint32_t clear_on_wake;
    uint32_t wait_register; /* where a sleeping p.elw puts its result */
    uint64_t cycle_zero; /* of mcycle */
    uint32_t dma_words[8];
    uint32_t dma_used;
    uint32_t dma_tag;
    rv_cache cache;
} rv_core;

typedef struct {
    uint32_t trigger_mask, target_mask, status;
} rv_barrier;

typedef struct {
    uint64_t ready; /* when its first beat may happen */
    uint32_t l1, ext; /* addresses of the next beat's row */
    uint32_t left; /* bytes */
    uint32_t done; /* bytes */
    uint32_t ext_row, ext_stride, l1_row, l1_stride; /* row 0: not strided */
    uint32_t to_l1, core, tag, event;
} rv_transfer;

typedef struct {
    uint64_t end;
    uint32_t to, from, bytes;
} rv_load;

typedef struct {
    rv_config config;
    rv_region region[RV_MAX_REGIONS];
    uint32_t regions;
    rv_core core[RV_MAX_CORES];
    rv_insn *code;
    uint32_t code_base, code_size;
    uint32_t caller; /* the core whose stages and return end a run */
    uint32_t sentinel;
    uint64_t instructions, max_instructions;
    uint64_t *stage_cycles, *stage_instructions; /* [0] is the time before the first stage */
    uint32_t stage;
    uint64_t mark_cycles, mark_instructions;
    uint32_t status, fault_core, fault_address;
    uint32_t reschedule; /* another core or the DMA has something to do now */
    uint64_t bank_free[RV_MAX_BANKS];
    rv_barrier barrier[RV_BARRIERS];
    uint32_t fifo_value[RV_FIFO], fifo_pending[RV_FIFO];
    uint32_t fifo_head; /* entries ever pushed */
    uint32_t team;
    rv_transfer transfer[RV_TRANSFERS];
    uint32_t dma_head, dma_tail; /* ever taken, ever pushed */
    uint64_t dma_time;
    uint32_t tag_busy[16], tag_taken[16]; /* transfers under way; allocated */
    rv_load load[RV_TRANSFERS];
    rv_load next_load;
    uint32_t loads_ended, loads_started; /* ever */
    rv_cache shared;
} rv_machine;

/* decode.c: the operation at `word` (its low half alone when compressed); op OP_ILLEGAL if it is none. */
rv_insn rv_decode(uint32_t word, uint32_t has_xpulp);

/* xpulp.c: the value of a custom instruction. */
uint32_t rv_vector(uint32_t function, uint32_t mode, uint32_t a, uint32_t b, int32_t imm, uint32_t d);
uint32_t rv_scalar(uint32_t function, uint32_t a, uint32_t b, int32_t imm, uint32_t d);
uint32_t rv_fixed(uint32_t word_function, uint32_t a, uint32_t b, int32_t imm, uint32_t d);

/* execute.c: runs one core while (time, id) is before (limit, other), until it sleeps or the machine stops. */
void rv_run_core(rv_machine *m, uint32_t id, uint64_t limit, uint32_t other);
uint8_t *rv_find(rv_machine *m, uint32_t address, uint32_t bytes, rv_region **region);
void rv_stop(rv_machine *m, uint32_t core, uint32_t status, uint32_t address);

/* cluster.c */
uint64_t rv_bank_wait(rv_machine *m, uint32_t address, uint64_t time);
void rv_fetch_line(rv_machine *m, rv_core *core, uint32_t line);
int32_t rv_device_load(rv_machine *m, uint32_t id, uint32_t address, uint32_t target, uint32_t may_sleep);
int32_t rv_device_store(rv_machine *m, uint32_t id, uint32_t address, uint32_t value);

enum rv_op {
    OP_ILLEGAL, OP_LUI, OP_AUIPC, OP_JAL, OP_JALR,
    OP_BEQ, OP_BNE, OP_BLT, OP_BGE, OP_BLTU, OP_BGEU, OP_BEQIMM, OP_BNEIMM,
    OP_LB, OP_LH, OP_LW, OP_LBU, OP_LHU,
    OP_SB, OP_SH, OP_SW,
    OP_ADDI, OP_SLTI, OP_SLTIU, OP_XORI, OP_ORI, OP_ANDI, OP_SLLI, OP_SRLI, OP_SRAI,
    OP_ADD, OP_SUB, OP_SLL, OP_SLT, OP_SLTU, OP_XOR, OP_SRL, OP_SRA, OP_OR, OP_AND,
    OP_MUL, OP_MULH, OP_MULHSU, OP_MULHU, OP_DIV, OP_DIVU, OP_REM, OP_REMU,
    OP_FENCE, OP_ECALL, OP_EBREAK, OP_CSR,
    OP_ELW,
    OP_LB_POST, OP_LH_POST, OP_LW_POST, OP_LBU_POST, OP_LHU_POST, /* rs1 += imm */
    OP_LB_POSTR, OP_LH_POSTR, OP_LW_POSTR, OP_LBU_POSTR, OP_LHU_POSTR, /* rs1 += rs2 */
    OP_LB_REG, OP_LH_REG, OP_LW_REG, OP_LBU_REG, OP_LHU_REG, /* rs1 + rs2 */
    OP_SB_POST, OP_SH_POST, OP_SW_POST, /* rs1 += imm */
    OP_SB_POSTR, OP_SH_POSTR, OP_SW_POSTR, /* rs1 += rd field */
    OP_SB_REG, OP_SH_REG, OP_SW_REG, /* rs1 + rd field */
    OP_LP_START, OP_LP_END, OP_LP_COUNT, OP_LP_COUNTI, OP_LP_SETUP, OP_LP_SETUPI,
    OP_SDOTSP_B, OP_SDOTUP_B, OP_SDOTUSP_B,
    OP_MAC, OP_MSU, OP_VECTOR, OP_SCALAR, OP_FIXED
};

/* Functions of OP_SCALAR. */
enum rv_scalar_function {
    S_CLIP, S_CLIPU, S_CLIPR, S_CLIPUR, S_ABS, S_SLET, S_SLETU, S_MIN, S_MINU, S_MAX, S_MAXU, S_EXTHS, S_EXTHZ, S_EXTBS,
    S_EXTBZ, S_FF1, S_FL1, S_CLB, S_CNT, S_ROR, S_EXTRACT, S_EXTRACTU, S_INSERT, S_BCLR, S_BSET
};

#endif
