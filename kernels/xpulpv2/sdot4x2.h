/* Tiles of 4 rows by 2 columns on XpulpV2: a hardware loop of 6 post-increment loads and 8 dot products of 4 bytes.
 * Encodings as .insn, so that stock compilers build it. Words may lie at any address (the core splits them). */
#ifndef TLF_SDOT4X2_H
#define TLF_SDOT4X2_H

#include <stdint.h>

static inline int32_t tlf_min(int32_t a, int32_t b) {
    int32_t v;
    __asm__(".insn r 0x33, 4, 2, %0, %1, %2" : "=r"(v) : "r"(a), "r"(b));
    return v;
}

static inline int32_t tlf_max(int32_t a, int32_t b) {
    int32_t v;
    __asm__(".insn r 0x33, 6, 2, %0, %1, %2" : "=r"(v) : "r"(a), "r"(b));
    return v;
}

/* v clamped to int8 */
static inline int8_t tlf_clip8(int32_t v) {
    __asm__(".insn r 0x33, 1, 0x0a, %0, %1, x8" : "=r"(v) : "r"(v));
    return (int8_t)v;
}

typedef struct {
    int32_t row[4]; /* the rows of the tile; past the last one its repetition, whose results nobody stores */
    int32_t column[2];
    int32_t rows;
    int32_t columns;
} tlf_tile;

/* The tile at (r, c) of an (m, n) result. */
static inline tlf_tile tlf_tile_at(int32_t r, int32_t c, int32_t m, int32_t n) {
    tlf_tile tile = {.rows = m - r < 4 ? m - r : 4, .columns = n - c < 2 ? n - c : 2};
    for (int32_t i = 0; i < 4; i++) {
        tile.row[i] = r + (i < tile.rows ? i : tile.rows - 1);
    }
    tile.column[0] = c;
    tile.column[1] = c + tile.columns - 1;
    return tile;
}

#define TLF_LOAD(to, from) ".insn i 0x0b, 2, " to ", 4(" from ")\n"
#define TLF_DOT(f7, acc, x, w) ".insn r 0x57, 1, " f7 ", " acc ", " x ", " w "\n"
#define TLF_FOUR(f7, a, b, c, d, w)                                                                                    \
    TLF_DOT(f7, a, "t0", w) TLF_DOT(f7, b, "t1", w) TLF_DOT(f7, c, "t2", w) TLF_DOT(f7, d, "t3", w)

/* acc[2 * i + j] += sum_d x[i][d] * w[j][d] with depth % 4 of the depth left to the caller; the pointers advance. The loop has
 * 14 words of code: its last one lies 14 words after lp.setup. */
#define TLF_SDOT4X2(f7, acc, x, w, quads)                                                                              \
    __asm__ volatile(".option push\n.option norvc\n.insn i 0x7b, 4, x0, %14, 28\n" TLF_LOAD("t4", "%12") TLF_LOAD(     \
                         "t5", "%13") TLF_LOAD("t0", "%8") TLF_LOAD("t1", "%9") TLF_LOAD("t2", "%10")                  \
                         TLF_LOAD("t3", "%11") TLF_FOUR(f7, "%0", "%2", "%4", "%6", "t4")                              \
                             TLF_FOUR(f7, "%1", "%3", "%5", "%7", "t5") ".option pop\n"                                \
                     : "+r"((acc)[0]), "+r"((acc)[1]), "+r"((acc)[2]), "+r"((acc)[3]), "+r"((acc)[4]), "+r"((acc)[5]), \
                       "+r"((acc)[6]), "+r"((acc)[7]), "+r"((x)[0]), "+r"((x)[1]), "+r"((x)[2]), "+r"((x)[3]),         \
                       "+r"((w)[0]), "+r"((w)[1])                                                                      \
                     : "r"(quads)                                                                                      \
                     : "t0", "t1", "t2", "t3", "t4", "t5", "memory")

/* acc[2 * row + column] of one tile; x: int8 rows. */
static inline void tlf_products_s8(int32_t acc[8], const tlf_tile *tile, const int8_t *x, int32_t x_stride,
                                   const int8_t *w, int32_t w_stride, int32_t k) {
    const int8_t *left[4], *right[2] = {w + tile->column[0] * w_stride, w + tile->column[1] * w_stride};
    for (int32_t i = 0; i < 4; i++) {
        left[i] = x + tile->row[i] * x_stride;
    }
    for (int32_t i = 0; i < 8; i++) {
        acc[i] = 0;
    }
    if (k >= 4) {
        TLF_SDOT4X2("0x5c", acc, left, right, k / 4);
    }
    for (int32_t d = 0; d < k % 4; d++) {
        for (int32_t i = 0; i < 8; i++) {
            acc[i] += left[i / 2][d] * right[i % 2][d];
        }
    }
}

/* The same; x: uint8 rows. */
static inline void tlf_products_u8(int32_t acc[8], const tlf_tile *tile, const uint8_t *x, int32_t x_stride,
                                   const int8_t *w, int32_t w_stride, int32_t k) {
    const uint8_t *left[4];
    const int8_t *right[2] = {w + tile->column[0] * w_stride, w + tile->column[1] * w_stride};
    for (int32_t i = 0; i < 4; i++) {
        left[i] = x + tile->row[i] * x_stride;
    }
    for (int32_t i = 0; i < 8; i++) {
        acc[i] = 0;
    }
    if (k >= 4) {
        TLF_SDOT4X2("0x54", acc, left, right, k / 4);
    }
    for (int32_t d = 0; d < k % 4; d++) {
        for (int32_t i = 0; i < 8; i++) {
            acc[i] += left[i / 2][d] * right[i % 2][d];
        }
    }
}

#endif
