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
 *   pairs       the right-hand operand W of a matrix product with `n` columns of depth `k`. Element (column c, depth d)
 *               lies at byte (c / 2) * stride + (d / 2) * 4 + (d % 2) * 2 + (c % 2): one 32-bit word holds two depths of
 *               two columns. Odd edges are padded with zero. A dense matrix has stride = 4 * ceil(k / 2) and takes
 *               ceil(n / 2) * stride bytes; a slice of the depth (a head of K, a head's share of W_O) is reached by
 *               offsetting the pointer by a multiple of 4 and keeping the stride of the whole.
 *     keys      K as `pairs`: column = key token, depth = head feature
 *     values    V as `pairs`: column = head feature, depth = key token
 *   panels      unsigned 8-bit values widened to int16 for the multiply-accumulate units: rows in groups of R = 4, the
 *               last group holding the remaining 1..3 rows (R = that many). Inside a group the element (row r, depth d)
 *               is halfword ((d / 2) * R + r) * 2 + (d % 2); a group takes R * 2 * ceil(k / 2) halfwords and groups
 *               follow each other. Odd depth is padded with zero.
 *
 * Alignment: every pointer to `pairs`, `panels`, int32 and scratch data is 4-byte aligned, and so are their strides;
 * `rows` operands need no alignment and any stride. Pointers never alias unless a contract says so.
 * Sizes m, n, k are at least 1.
 */
#ifndef TILEFORMER_H
#define TILEFORMER_H

#include <stdint.h>

/* ---- linear: y = requant(x . W^T + bias) -------------------------------------------------------------------------
 * x: (m, k) int8 rows.  w: (n columns, depth k) int8 pairs.  channel: n records {bias, mult} int32.
 * acc = bias[c] + sum_d x[r][d] * w[c][d]; the caller guarantees |acc| < 2^31.
 * scratch: tlf_linear_scratch_bytes(k) bytes.
 * Outputs:
 *   tlf_linear_rows    y: (m, n) int8 rows
 *   tlf_linear_keys    y: int8 pairs with column = row of x, depth = channel; y_stride is the stride of a column pair.
 *                      n even. Writes whole words: an odd last row of x is paired with zeros.
 *   tlf_linear_values  y: int8 pairs with column = channel, depth = row of x; y_stride is the stride of a channel pair.
 *                      n even. Writes whole words: an odd last row of x is paired with zeros.
 *   tlf_linear_add     y: (m, n) int32, y_stride in bytes: y[r][c] += sum_d x[r][d] * w[c][d]. No bias and no
 *                      requantisation: channel, round, preshift and shift are ignored.
 */
typedef struct {
    const int8_t *x;
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
} tlf_linear_args;

/* ---- probs: unnormalised softmax rows of one head ------------------------------------------------------------------
 * q: (m, k) int8 rows.  keys: (n columns, depth k) int8 pairs.  mult: one int32 > 0.  table: 256 uint8, table[0] = 255.
 * score[r][j] = sum_d q[r][d] * keys[j][d];   top[r] = max_j score[r][j];
 * index = min(255, ((top - score) * mult + round) >> shift);   e[r][j] = table[index];   sum[r] = sum_j e[r][j].
 * The caller guarantees (max score - min score) * mult + round < 2^31.
 * scratch: tlf_probs_scratch_bytes(n, k) bytes.
 * Outputs: sum: m int32, and
 *   tlf_probs_rows     e: (m, n) uint8 rows, e_stride bytes a row
 *   tlf_probs_panels   e: panels of (m, n); e_stride is ignored
 */
typedef struct {
    const int8_t *q;
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
    int32_t round;
    int32_t shift;
} tlf_probs_args;

/* ---- attend: softmax . V with the division folded into the requantisation ------------------------------------------
 * e: (m, k) uint8 from probs, as rows (e_stride bytes a row) or as panels.  values: (n columns, depth k) int8 pairs.
 * sum: m int32, all > 0.  scale: one int32 > 0.
 * acc = sum_j e[r][j] * values[j][c];   factor[r] = (scale + sum[r] / 2) / sum[r]   (truncating, all operands positive);
 * v = ((acc + ((1 << preshift) >> 1)) >> preshift) * factor[r]
 * The caller guarantees that v + round fits int32. scratch: tlf_attend_scratch_bytes(k) bytes (the panel variants use none
 * of it; it may be null).
 * Outputs:
 *   tlf_attend_rows, tlf_attend_rows_panels   y: (m, n) int8 rows, y = sat8((v + round) >> shift)
 *   tlf_attend_add,  tlf_attend_add_panels    y: (m, n) int32, y_stride in bytes: y += v; round and shift are ignored
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

/* ---- pack_keys: x (m, k) int8 rows -> y int8 pairs with column = row of x, depth = its elements ----------------------
 * Writes whole words; odd edges (k and m) are padded with zero. y_stride is the stride of a column pair.
 */
typedef struct {
    const int8_t *x;
    int8_t *y;
    int32_t m;
    int32_t k;
    int32_t x_stride;
    int32_t y_stride;
} tlf_pack_keys_args;

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

/* ---- scratch, in bytes (the manifest's `scratch` expressions say the same; a test compares them) -----------------------*/
static inline int32_t tlf_linear_scratch_bytes(int32_t k) { return 16 * ((k + 1) / 2); }
static inline int32_t tlf_probs_scratch_bytes(int32_t n, int32_t k) { return 16 * ((k + 1) / 2) + 16 * ((n + 1) / 2) * 2; }
static inline int32_t tlf_attend_scratch_bytes(int32_t k) { return 16 * ((k + 1) / 2); }

/* ---- functions: the portable definition of every op, then what beats it --------------------------------------------------*/
void tlf_linear_rows_ref(const tlf_linear_args *args);
void tlf_linear_keys_ref(const tlf_linear_args *args);
void tlf_linear_values_ref(const tlf_linear_args *args);
void tlf_linear_add_ref(const tlf_linear_args *args);
void tlf_probs_rows_ref(const tlf_probs_args *args);
void tlf_probs_panels_ref(const tlf_probs_args *args);
void tlf_attend_rows_ref(const tlf_attend_args *args);
void tlf_attend_add_ref(const tlf_attend_args *args);
void tlf_attend_rows_panels_ref(const tlf_attend_args *args);
void tlf_attend_add_panels_ref(const tlf_attend_args *args);
void tlf_narrow_ref(const tlf_narrow_args *args);
void tlf_zero_ref(const tlf_zero_args *args);
void tlf_pack_keys_ref(const tlf_pack_keys_args *args);
void tlf_layernorm_ref(const tlf_layernorm_args *args);
void tlf_lut_ref(const tlf_lut_args *args);
void tlf_add_ref(const tlf_add_args *args);
void tlf_mean_ref(const tlf_mean_args *args);

/* armv7em: SMLAD kernels, microtiles of up to 4 rows x 2 columns */
void tlf_linear_rows_smlad4x2(const tlf_linear_args *args);
void tlf_linear_keys_smlad4x2(const tlf_linear_args *args);
void tlf_linear_values_smlad4x2(const tlf_linear_args *args);
void tlf_linear_add_smlad4x2(const tlf_linear_args *args);
void tlf_probs_rows_smlad4x2(const tlf_probs_args *args);
void tlf_probs_panels_smlad4x2(const tlf_probs_args *args);
void tlf_attend_rows_smlad4x2(const tlf_attend_args *args);
void tlf_attend_add_smlad4x2(const tlf_attend_args *args);
void tlf_attend_rows_panels_smlad4x2(const tlf_attend_args *args);
void tlf_attend_add_panels_smlad4x2(const tlf_attend_args *args);

/* armv7em: packed words and grouped loads for everything that is not a matrix product */
void tlf_narrow_packed(const tlf_narrow_args *args);
void tlf_zero_packed(const tlf_zero_args *args);
void tlf_layernorm_packed(const tlf_layernorm_args *args);
void tlf_lut_packed(const tlf_lut_args *args);
void tlf_add_packed(const tlf_add_args *args);
void tlf_mean_packed(const tlf_mean_args *args);

#endif
