/* narrow, zero, lut, add, pack_keys on RV32IMC: several elements a turn, every load well before its use. Contract:
 * tileformer.h. Outputs may be inputs: a turn reads all of its elements before it writes the first. */
#include "clamp.h"
#include "tileformer.h"

void tlf_narrow_scalar(const tlf_narrow_args *args) {
    const int32_t round = args->round, preshift = args->preshift, shift = args->shift, n = args->n;
    for (int32_t r = 0; r < args->m; r++) {
        const int32_t *x = (const int32_t *)(const void *)((const uint8_t *)args->x + r * args->x_stride);
        const int32_t *channel = args->channel;
        int8_t *y = args->y + r * args->y_stride, *const end = y + n;
        while (end - y >= 4) {
            int32_t v[4];
            for (int32_t i = 0; i < 4; i++) {
                v[i] = (((x[i] + channel[2 * i]) >> preshift) * channel[2 * i + 1] + round) >> shift;
            }
            for (int32_t i = 0; i < 4; i++) {
                y[i] = tlf_clamp(v[i], -128);
            }
            x += 4;
            channel += 8;
            y += 4;
        }
        for (; y != end; channel += 2) {
            *y++ = tlf_clamp((((*x++ + channel[0]) >> preshift) * channel[1] + round) >> shift, -128);
        }
    }
}

void tlf_zero_scalar(const tlf_zero_args *args) {
    int32_t *y = args->y, *const end = y + args->n;
    for (; end - y >= 8; y += 8) {
        for (int32_t i = 0; i < 8; i++) {
            y[i] = 0;
        }
    }
    while (y != end) {
        *y++ = 0;
    }
}

void tlf_lut_scalar(const tlf_lut_args *args) {
    const int8_t *x = args->x, *const table = args->table + 128;
    int8_t *y = args->y, *const end = y + args->n;
    for (; end - y >= 8; x += 8, y += 8) {
        int8_t v[8];
        for (int32_t i = 0; i < 8; i++) {
            v[i] = x[i];
        }
        for (int32_t i = 0; i < 8; i++) {
            v[i] = table[v[i]];
        }
        for (int32_t i = 0; i < 8; i++) {
            y[i] = v[i];
        }
    }
    while (y != end) {
        *y++ = table[*x++];
    }
}

void tlf_add_scalar(const tlf_add_args *args) {
    const int32_t mult_a = args->mult_a, mult_b = args->mult_b, round = args->round, shift = args->shift;
    const int8_t *a = args->a, *b = args->b;
    int8_t *y = args->y, *const end = y + args->n;
    for (; end - y >= 4; a += 4, b += 4, y += 4) {
        int32_t v[4];
        for (int32_t i = 0; i < 4; i++) {
            v[i] = (a[i] * mult_a + b[i] * mult_b + round) >> shift;
        }
        for (int32_t i = 0; i < 4; i++) {
            y[i] = tlf_clamp(v[i], -128);
        }
    }
    while (y != end) {
        *y++ = tlf_clamp((*a++ * mult_a + *b++ * mult_b + round) >> shift, -128);
    }
}

void tlf_pack_keys_scalar(const tlf_pack_args *args) {
    for (int32_t r = 0; r < args->m; r++) {
        const int8_t *x = args->x + r * args->x_stride;
        int8_t *y = args->y + r * args->y_stride, *const end = y + args->k;
        for (; end - y >= 4; x += 4, y += 4) {
            const int8_t v[4] = {x[0], x[1], x[2], x[3]};
            for (int32_t i = 0; i < 4; i++) {
                y[i] = tlf_clamp(v[i], -127);
            }
        }
        while (y != end) {
            *y++ = tlf_clamp(*x++, -127);
        }
    }
}
