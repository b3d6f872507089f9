/* Tileformer kernels: int8 encoder-transformer primitives for microcontrollers.
 *
 * This header is the whole public interface and its contracts. Every function takes one pointer to a constant argument
 * record, so that a call reads like its own documentation and an assembly variant finds each operand at a fixed offset.
 * No function allocates, keeps state, uses floating point or writes outside the operands named as outputs.
 *
 * Arithmetic (dse/quant.py is the bit-exact twin)
 *   >>          arithmetic shift towards minus infinity (floor), on int32
 *   sat8(v)     clamp to [-128, 127]
 *   requant     y = sat8(((acc >> preshift) * mult + round) >> shift)
 *               The caller guarantees that every intermediate fits int32. The rounding of the pre-shift, and the input
 *               zero point, are folded into the bias; the output zero point is folded into `round`.
 *
 * Layouts
 *   rows        element (r, c) of an (m, n) matrix at byte r * stride + c
 *   panels      an (m, k) matrix widened to int16 for the dual multiply-accumulate units: rows in groups of 2. Inside a group the
 *               element (row r, depth d) is halfword ((d / 2) * 2 + r) * 2 + (d % 2): one word a depth pair and row. Groups
 *               follow each other at `stride` bytes; a dense matrix has stride = 8 * ceil(k / 2) and takes ceil(m / 2) * stride
 *               bytes. Odd depth is padded with zero; the second row of the last group of an odd m is neither written nor read.
 *               A slice of the depth that starts at an even d is reached by offsetting the pointer by 4 * d bytes.
 *   The right-hand operand W of a matrix product has `n` columns of depth `k` and values in [-127, 127]:
 *   columns     element (column c, depth d) at byte c * stride + d: each column contiguous. A dense matrix has stride = k.
 *   quads       columns in groups of 4: one pair of words a depth pair. Element pair: halfword d % 2 of the 32-bit word at byte
 *               (c / 4) * stride + (d / 2) * 8 + (c % 4 / 2) * 4 holds  W[c] + 256 * W[c + 1]  (c even; arithmetic, modulo
 *               2^16), so SXTB16 yields the even columns, and the raw word times the panel accumulates 256 * odd + even.
 *               Edges are padded with zero columns and zero depth. A dense matrix has stride = 8 * ceil(k / 2) and takes
 *               ceil(n / 4) * stride bytes. A slice of the depth (a head of K, a head's share of W_O) that starts at an
 *               even d is reached by offsetting the pointer by 4 * d bytes; a slice of columns starts at a multiple of 4, one
 *               of 1 or 2 columns at any even c, (c % 4 / 2) * 4 bytes into its group: the other word is not read.
 *   pairs       (weights only) widened to int16, columns in groups of 4: four words a depth pair. W[c][d] is halfword d % 2 of the
 *               32-bit word at byte (c / 4) * stride + (d / 2) * 16 + (c % 4) * 4. Odd depth is padded with zero; words of columns
 *               beyond the last are read but mean nothing. A dense matrix has stride = 16 * ceil(k / 2) and takes ceil(n / 4) *
 *               stride bytes. A slice of the depth that starts at an even d is reached by offsetting the pointer by 8 * d bytes;
 *               a slice of columns starts at a multiple of 4. Kernels with weights in pairs write keys and values as quads.
 *   blocks      weights only, columns in groups of 4 by depths in fours: element (c, d) at byte (c / 4) * stride + (d / 4) * 16 +
 *               (c % 4) * 4 + d % 4. Edges are padded with zero columns and zero depth. A dense matrix has stride = 16 * ceil(k / 4).
 *               A slice of the depth starts at a multiple of 4, one of columns too. Channel parameters are records, of whole
 *               groups; keys and values beside such weights are columns.
 *   keys, values  K and V as right-hand operand of the scores and of softmax . V: keys have column = key token, depth =
 *               head feature; values have column = head feature, depth = key token.
 *   Channel parameters of n output columns:
 *   records     n records {bias, mult} int32
 *   quads       ceil(n / 4) groups {bias[4], mult[4]} int32; the bias of an odd column c holds
 *               256 * bias[c] + bias[c - 1] (modulo 2^32). With `high` = 1 mult[c] is stored as mult << (32 - shift) in even
 *               columns and mult << (24 - shift) in odd ones.
 *   pairs       the same groups; every bias as it is and, with `high` = 1, mult << (32 - shift) in all columns.
 *
 * `high` = 1 promises preshift = 0, 17 <= shift <= 24, 0 <= mult < 2^(shift - 1), and round = 2^(shift - 1) modulo 2^shift: the
 * requantisation is then the rounded high word of a 32 x 32 product plus the offset round >> shift (SMMLAR).
 *
 * Alignment: every pointer to `quads`, `pairs`, `panels`, int32 and scratch data is 4-byte aligned, and so are their strides;
 * `rows` and `columns` operands need no alignment and any stride. Pointers never alias unless a contract says so.
 * Sizes m, n, k are at least 1. Which layouts a variant reads and writes is in its manifest entry (kernels.toml).
 */
#ifndef TILEFORMER_H
#define TILEFORMER_H

#include <stdint.h>

/* ---- linear: y = requant(x . W^T + bias) -------------------------------------------------------------------------
 * x: (m, k) int8 rows (x_panels = 0), or panels (x_panels = 1; x_stride from a group of rows to the next).
 * w: (n columns, depth k) right-hand operand.  channel: parameters of n columns.
 * acc = bias[c] + sum_d x[r][d] * w[c][d]; the caller guarantees |acc| < 2^31, and < 2^23 where the manifest says so.
 * scratch: the manifest's bytes; may be null where those are 0. A call on fewer rows than those that the scratch was made for
 * takes what there is, null included.
 * Outputs:
 *   tlf_linear_rows    y: (m, n) int8 rows
 *   tlf_linear_panels  y: (m, n) panels of the int8 results; y_stride from a group of rows to the next; n even
 *   tlf_linear_keys    y: right-hand operand with column = row of x, depth = output channel, results clamped to
 *                      [-127, 127]; y_stride is the stride of the operand. quads: n even; writes whole words, an odd last row
 *                      of x is paired with zeros.
 *   tlf_linear_values  y: right-hand operand with column = output channel, depth = row of x, results clamped to [-127, 127].
 *                      quads: writes whole words; an odd last row of x is paired with zeros, an odd last channel with
 *                      zeros; the second word of the last group is written only when n % 4 is 0 or 3.
 *   tlf_linear_add     y: (m, n) int32, y_stride in bytes: y[r][c] += sum_d x[r][d] * w[c][d]. No bias and no
 *                      requantisation: channel, round, preshift, shift and high are ignored.
 *   tlf_linear_residual  y: (m, n) int8 rows, after the linear's own requantisation v to int8:
 *                      y = sat8((v * mult_y + r * mult_r + add_round) >> add_shift); r: (m, n) int8 rows; y may be r.
 */
typedef struct {
    const void *x;
    const int8_t *w;
    const int32_t *channel;
    void *y;
    void *scratch;
    int32_t m;
    int32_t n;
    int32_t k;
    int32_t x_stride;
    int32_t w_stride;
    int32_t y_stride;
    int32_t round;
    int32_t preshift;
    int32_t shift;
    int32_t high;
    int32_t x_panels;
} tlf_linear_args;

typedef struct {
    const void *x;
    const int8_t *w;
    const int32_t *channel;
    void *y;
    void *scratch;
    int32_t m;
    int32_t n;
    int32_t k;
    int32_t x_stride;
    int32_t w_stride;
    int32_t y_stride;
    int32_t round;
    int32_t preshift;
    int32_t shift;
    int32_t high;
    int32_t x_panels;
    const int8_t *r;
    int32_t r_stride;
    int32_t mult_y;
    int32_t mult_r;
    int32_t add_round;
    int32_t add_shift;
} tlf_linear_residual_args;

/* ---- probs: unnormalised softmax rows of one head ------------------------------------------------------------------
 * q: (m, k) int8 rows (q_panels = 0), or panels (q_panels = 1; q_stride from a group of rows to the next).
 * keys: (n columns, depth k) right-hand operand.  mult: one int32 > 0.  table: 256 uint8, table[0] = 255.
 * score[r][j] = sum_d q[r][d] * keys[j][d];   step[r][j] = ((1 << (shift - 1)) - score[r][j] * mult) >> shift;
 * e[r][j] = table[min(255, step[r][j] - min_j step[r][j])];   sum[r] = sum_j e[r][j].
 * The caller guarantees that score * mult + (1 << shift) fits int32, 1 <= shift <= 30; where the manifest says so also
 * |step| < 2^15 - 256 and mult < 2^(shift - 1).
 * Outputs: sum: m int32, and
 *   tlf_probs_rows     e: (m, n) uint8 rows, e_stride bytes a row
 *   tlf_probs_panels   e: panels of (m, n), e_stride from a group of rows to the next
 */
typedef struct {
    const void *q;
    const int8_t *keys;
    const int32_t *mult;
    const uint8_t *table;
    void *e;
    int32_t *sum;
    void *scratch;
    int32_t m;
    int32_t n;
    int32_t k;
    int32_t q_stride;
    int32_t keys_stride;
    int32_t e_stride;
    int32_t shift;
    int32_t q_panels;
} tlf_probs_args;

/* ---- attend: softmax . V with the division folded into the requantisation ------------------------------------------
 * e: (m, k) uint8 from probs, as rows (e_panels = 0, e_stride bytes a row) or as panels (e_panels = 1, e_stride from a group
 * of rows to the next).  values: (n columns, depth k) right-hand operand.  sum: m int32, all > 0.  scale: one int32 > 0.
 * acc = sum_j e[r][j] * values[j][c];   factor[r] = (scale + sum[r] / 2) / sum[r]   (truncating, all operands positive);
 * v = ((acc + ((1 << preshift) >> 1)) >> preshift) * factor[r]
 * The caller guarantees that v + round fits int32, and |acc| < 2^23 where the manifest says so.
 * Outputs:
 *   tlf_attend_rows    y: (m, n) int8 rows, y = sat8((v + round) >> shift)
 *   tlf_attend_panels  the same, as panels; y_stride from a group of rows to the next; n even
 *   tlf_attend_add     y: (m, n) int32, y_stride in bytes: y += v; round and shift are ignored
 */
typedef struct {
    const void *e;
    const int8_t *values;
    const int32_t *sum;
    const int32_t *scale;
    void *y;
    void *scratch;
    int32_t m;
    int32_t n;
    int32_t k;
    int32_t e_stride;
    int32_t values_stride;
    int32_t y_stride;
    int32_t round;
    int32_t preshift;
    int32_t shift;
    int32_t e_panels;
} tlf_attend_args;

/* ---- narrow: int32 accumulators to int8 ----------------------------------------------------------------------------
 * x: (m, n) int32, x_stride in bytes.  channel: n records {bias, mult} int32.  y: (m, n) int8 rows.
 * y[r][c] = requant(x[r][c] + bias[c]).
 */
typedef struct {
    const int32_t *x;
    const int32_t *channel;
    int8_t *y;
    int32_t m;
    int32_t n;
    int32_t x_stride;
    int32_t y_stride;
    int32_t round;
    int32_t preshift;
    int32_t shift;
} tlf_narrow_args;

/* ---- zero: y: n int32 set to zero ----------------------------------------------------------------------------------*/
typedef struct {
    int32_t *y;
    int32_t n;
} tlf_zero_args;

/* ---- pack_keys: x (m, k) int8 rows -> right-hand operand with column = row of x, depth = its elements -------------------
 * -128 becomes -127. quads: writes whole words; odd edges (k and m) are padded with zero. y_stride is the stride of y.
 * ---- pack_rows: x (m, k) int8 rows -> the same rows, y_stride apart
 */
typedef struct {
    const int8_t *x;
    int8_t *y;
    int32_t m;
    int32_t k;
    int32_t x_stride;
    int32_t y_stride;
} tlf_pack_args;

/* ---- pack_panels: x (m, k) int8 rows -> y panels; y_stride from a group of rows to the next ------------------------------
 */
typedef struct {
    const int8_t *x;
    void *y;
    int32_t m;
    int32_t k;
    int32_t x_stride;
    int32_t y_stride;
} tlf_pack_panels_args;

/* ---- layernorm: normalise each row, then scale and shift each channel ------------------------------------------------
 * x, y: (m, n) int8 rows; y may be x with the same stride.  channel: n records {mult, round} int32.  1 <= n <= 256.
 * epsilon: int32 >= 1, the epsilon of the layer in units of V.  guard: ceil(log2(sqrt(n))), 0..4.
 *   S = sum_c x[c];  V = n * sum_c x[c]^2 - S^2 + epsilon     (uint32, < 2^30 + epsilon <= 2^30 is the caller's promise)
 *   t = the largest integer with V * 4^t < 2^30;   root = floor(sqrt(V * 4^t))  in [2^14, 2^15)
 *   recip = (2^29 + root / 2) / root
 *   a[c] = (((n * x[c] - S) << t) + ((1 << guard) >> 1)) >> guard
 *   h[c] = (a[c] * recip + (1 << (16 - guard))) >> (17 - guard)            the normalised value in Q12
 *   y[c] = sat8((h[c] * mult[c] + round[c]) >> shift)
 */
typedef struct {
    const int8_t *x;
    const int32_t *channel;
    int8_t *y;
    int32_t m;
    int32_t n;
    int32_t x_stride;
    int32_t y_stride;
    int32_t epsilon;
    int32_t guard;
    int32_t shift;
} tlf_layernorm_args;

/* ---- lut: y[i] = table[x[i] + 128] ---------------------------------------------------------------------------------
 * x, y: n int8, any alignment; y may be x.  table: 256 int8.
 */
typedef struct {
    const int8_t *x;
    const int8_t *table;
    int8_t *y;
    int32_t n;
} tlf_lut_args;

/* ---- add: y[i] = sat8((a[i] * mult_a + b[i] * mult_b + round) >> shift) ------------------------------------------------
 * a, b, y: n int8, any alignment; y may be a or b.
 */
typedef struct {
    const int8_t *a;
    const int8_t *b;
    int8_t *y;
    int32_t n;
    int32_t mult_a;
    int32_t mult_b;
    int32_t round;
    int32_t shift;
} tlf_add_args;

/* ---- mean: y[c] = sat8(((sum_r x[r][c]) * mult + round) >> shift) ------------------------------------------------------
 * x: (m, n) int8 rows.  y: n int8.
 */
typedef struct {
    const int8_t *x;
    int8_t *y;
    int32_t m;
    int32_t n;
    int32_t x_stride;
    int32_t mult;
    int32_t round;
    int32_t shift;
} tlf_mean_args;

/* ---- functions: the portable definition of every op, then what beats it --------------------------------------------------*/
void tlf_linear_rows_ref(const tlf_linear_args *args);
void tlf_linear_keys_ref(const tlf_linear_args *args);
void tlf_linear_values_ref(const tlf_linear_args *args);
void tlf_linear_add_ref(const tlf_linear_args *args);
void tlf_linear_residual_ref(const tlf_linear_residual_args *args);
void tlf_probs_rows_ref(const tlf_probs_args *args);
void tlf_attend_rows_ref(const tlf_attend_args *args);
void tlf_attend_add_ref(const tlf_attend_args *args);
void tlf_narrow_ref(const tlf_narrow_args *args);
void tlf_zero_ref(const tlf_zero_args *args);
void tlf_pack_keys_ref(const tlf_pack_args *args);
void tlf_layernorm_ref(const tlf_layernorm_args *args);
void tlf_lut_ref(const tlf_lut_args *args);
void tlf_add_ref(const tlf_add_args *args);
void tlf_mean_ref(const tlf_mean_args *args);

/* armv7em: weights as pairs */
void tlf_linear_rows_smlad2x4w16(const tlf_linear_args *args);
void tlf_linear_panels_smlad2x4w16(const tlf_linear_args *args);
void tlf_linear_keys_smlad2x4w16(const tlf_linear_args *args);
void tlf_linear_values_smlad2x4w16(const tlf_linear_args *args);
void tlf_linear_add_smlad2x4w16(const tlf_linear_args *args);
void tlf_linear_residual_smlad2x4w16(const tlf_linear_residual_args *args);

/* armv7em: SMLAD kernels on quads and panels, microtiles of up to 2 rows x 4 columns */
void tlf_linear_rows_smlad2x4(const tlf_linear_args *args);
void tlf_linear_panels_smlad2x4(const tlf_linear_args *args);
void tlf_linear_keys_smlad2x4(const tlf_linear_args *args);
void tlf_linear_values_smlad2x4(const tlf_linear_args *args);
void tlf_linear_add_smlad2x4(const tlf_linear_args *args);
void tlf_linear_residual_smlad2x4(const tlf_linear_residual_args *args);
void tlf_probs_rows_smlad2x4(const tlf_probs_args *args);
void tlf_probs_panels_smlad2x4(const tlf_probs_args *args);
void tlf_attend_rows_smlad2x4(const tlf_attend_args *args);
void tlf_attend_panels_smlad2x4(const tlf_attend_args *args);
void tlf_attend_add_smlad2x4(const tlf_attend_args *args);

/* armv7em: heads of 1 or 2 features, at most 512 keys */
void tlf_probs_rows_shallow(const tlf_probs_args *args);
void tlf_probs_panels_shallow(const tlf_probs_args *args);
void tlf_probs_rows_small(const tlf_probs_args *args);
void tlf_probs_panels_small(const tlf_probs_args *args);
void tlf_attend_rows_shallow(const tlf_attend_args *args);
void tlf_attend_panels_shallow(const tlf_attend_args *args);

/* armv7em: softmax . V of so many keys that the sums pass 23 bits */
void tlf_attend_rows_deep(const tlf_attend_args *args);
void tlf_attend_panels_deep(const tlf_attend_args *args);
void tlf_attend_add_deep(const tlf_attend_args *args);

/* armv7em: smlad2x4 with a longer loop over the depth */
void tlf_linear_rows_smlad2x4u16(const tlf_linear_args *args);
void tlf_linear_panels_smlad2x4u16(const tlf_linear_args *args);
void tlf_linear_keys_smlad2x4u16(const tlf_linear_args *args);
void tlf_linear_values_smlad2x4u16(const tlf_linear_args *args);
void tlf_linear_add_smlad2x4u16(const tlf_linear_args *args);
void tlf_linear_residual_smlad2x4u16(const tlf_linear_residual_args *args);
void tlf_probs_rows_smlad2x4u16(const tlf_probs_args *args);
void tlf_probs_panels_smlad2x4u16(const tlf_probs_args *args);
void tlf_attend_rows_smlad2x4u16(const tlf_attend_args *args);
void tlf_attend_panels_smlad2x4u16(const tlf_attend_args *args);
void tlf_attend_add_smlad2x4u16(const tlf_attend_args *args);

/* armv7em-m7: weights as pairs */
void tlf_linear_rows_smlad2x4m7w16(const tlf_linear_args *args);
void tlf_linear_panels_smlad2x4m7w16(const tlf_linear_args *args);
void tlf_linear_keys_smlad2x4m7w16(const tlf_linear_args *args);
void tlf_linear_values_smlad2x4m7w16(const tlf_linear_args *args);
void tlf_linear_add_smlad2x4m7w16(const tlf_linear_args *args);
void tlf_linear_residual_smlad2x4m7w16(const tlf_linear_residual_args *args);

/* armv7em: SMLAD kernels on quads, microtiles of 4, 3, 2 or 1 rows x 2 columns, on panels of four rows in the scratch */
void tlf_linear_rows_smlad4x2(const tlf_linear_args *args);
void tlf_linear_panels_smlad4x2(const tlf_linear_args *args);
void tlf_linear_keys_smlad4x2(const tlf_linear_args *args);
void tlf_linear_values_smlad4x2(const tlf_linear_args *args);
void tlf_linear_add_smlad4x2(const tlf_linear_args *args);
void tlf_linear_residual_smlad4x2(const tlf_linear_residual_args *args);

/* armv7em-m7: smlad2x4 in the order of the Cortex-M7 */
void tlf_linear_rows_smlad2x4m7(const tlf_linear_args *args);
void tlf_linear_panels_smlad2x4m7(const tlf_linear_args *args);
void tlf_linear_keys_smlad2x4m7(const tlf_linear_args *args);
void tlf_linear_values_smlad2x4m7(const tlf_linear_args *args);
void tlf_linear_add_smlad2x4m7(const tlf_linear_args *args);
void tlf_linear_residual_smlad2x4m7(const tlf_linear_residual_args *args);
void tlf_probs_rows_smlad2x4m7(const tlf_probs_args *args);
void tlf_probs_panels_smlad2x4m7(const tlf_probs_args *args);
void tlf_probs_rows_smallm7(const tlf_probs_args *args);
void tlf_probs_panels_smallm7(const tlf_probs_args *args);
void tlf_attend_rows_smlad2x4m7(const tlf_attend_args *args);
void tlf_attend_panels_smlad2x4m7(const tlf_attend_args *args);
void tlf_attend_add_smlad2x4m7(const tlf_attend_args *args);

/* armv7em-m7: smlad4x2 in the order of the Cortex-M7 */
void tlf_linear_rows_smlad4x2m7(const tlf_linear_args *args);
void tlf_linear_panels_smlad4x2m7(const tlf_linear_args *args);
void tlf_linear_keys_smlad4x2m7(const tlf_linear_args *args);
void tlf_linear_values_smlad4x2m7(const tlf_linear_args *args);
void tlf_linear_add_smlad4x2m7(const tlf_linear_args *args);
void tlf_linear_residual_smlad4x2m7(const tlf_linear_residual_args *args);

/* armv7em: packed words and grouped loads for everything that is not a matrix product */
void tlf_narrow_packed(const tlf_narrow_args *args);
void tlf_zero_packed(const tlf_zero_args *args);
void tlf_layernorm_packed(const tlf_layernorm_args *args);
void tlf_lut_packed(const tlf_lut_args *args);
void tlf_add_packed(const tlf_add_args *args);
void tlf_mean_packed(const tlf_mean_args *args);
void tlf_pack_keys_packed(const tlf_pack_args *args);
void tlf_pack_panels_packed(const tlf_pack_panels_args *args);

/* rv32imc: tiles of up to 3 rows by 4 columns, byte loads and one multiplication a product */
void tlf_linear_rows_scalar3x4(const tlf_linear_args *args);
void tlf_linear_keys_scalar3x4(const tlf_linear_args *args);
void tlf_linear_values_scalar3x4(const tlf_linear_args *args);
void tlf_linear_add_scalar3x4(const tlf_linear_args *args);
void tlf_linear_residual_scalar3x4(const tlf_linear_residual_args *args);
void tlf_probs_rows_scalar3x4(const tlf_probs_args *args);
void tlf_attend_rows_scalar3x4(const tlf_attend_args *args);
void tlf_attend_add_scalar3x4(const tlf_attend_args *args);

/* rv32imc: everything that is not a matrix product, several elements a turn */
void tlf_narrow_scalar(const tlf_narrow_args *args);
void tlf_zero_scalar(const tlf_zero_args *args);
void tlf_layernorm_scalar(const tlf_layernorm_args *args);
void tlf_lut_scalar(const tlf_lut_args *args);
void tlf_add_scalar(const tlf_add_args *args);
void tlf_mean_scalar(const tlf_mean_args *args);
void tlf_pack_keys_scalar(const tlf_pack_args *args);

/* xpulpv2: tiles of 4 rows by 4 columns, dot products of 4 bytes in hardware loops. They read whole words: up to 3 bytes after an
 * operand are read and ignored. int32 sums wrap, so no bound but that of the contract holds. */
void tlf_linear_rows_sdot5x4(const tlf_linear_args *args);
void tlf_linear_keys_sdot5x4(const tlf_linear_args *args);
void tlf_linear_values_sdot5x4(const tlf_linear_args *args);
void tlf_linear_add_sdot5x4(const tlf_linear_args *args);
void tlf_linear_residual_sdot5x4(const tlf_linear_residual_args *args);
void tlf_probs_rows_sdot4x4(const tlf_probs_args *args);
void tlf_attend_rows_sdot4x4(const tlf_attend_args *args);
void tlf_attend_add_sdot4x4(const tlf_attend_args *args);

/* xpulpv2: everything that is not a matrix product, in hardware loops */
void tlf_narrow_pulp(const tlf_narrow_args *args);
void tlf_zero_pulp(const tlf_zero_args *args);
void tlf_layernorm_pulp(const tlf_layernorm_args *args);
void tlf_lut_pulp(const tlf_lut_args *args);
void tlf_add_pulp(const tlf_add_args *args);
void tlf_mean_pulp(const tlf_mean_args *args);
void tlf_pack_keys_pulp(const tlf_pack_args *args);
void tlf_pack_rows_pulp(const tlf_pack_args *args);

#endif
