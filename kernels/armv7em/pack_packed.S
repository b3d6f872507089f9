// tlf_pack_keys_packed, tlf_pack_panels_packed (contract: tileformer.h): rows to the operands of the SMLAD kernels, two rows
// and four bytes of each at a time.

#define F_SIZE 4

#include "gemm_smlad2x4.inc"

        TLF_FUNCTION tlf_pack_panels_packed
        push    {r3-r11, lr}
        ldmia   r0, {r1, r4, r5, r10, r11, r12} // x, y, m, k, x_stride, y_stride
        str     r12, [sp]
        mov     r12, r1
        subs    r5, r5, #2
        blt     2f
1:      mov     r1, r12
        mov     r0, r4
        add     r2, r12, r11
        mov     r3, r10
        bl      tlf_unpack_s8
        ldr     r0, [sp]
        add     r12, r12, r11, lsl #1
        add     r4, r4, r0
        subs    r5, r5, #2
        bge     1b
2:      adds    r5, r5, #2
        beq     3f
        mov     r1, r12
        mov     r0, r4
        mov     r3, r10
        bl      tlf_unpack_s8_1
3:      pop     {r3-r11, pc}
        TLF_END tlf_pack_panels_packed

// Bytes of two rows in r7, r8 to the words of depths 0, 1 in r7 and 2, 3 in r8. r10 = 0x01010101, r11 = 0x7f7f7f7f.
.macro KEYS
        eor     r7, r7, #0x80808080
        eor     r8, r8, #0x80808080
        uqsub8  r7, r7, r10                 // 0..254: -128 has become -127
        uqsub8  r8, r8, r10
        uxtb16  r9, r7                      // depths 0 2
        uxtb16  lr, r8
        uxtb16  r7, r7, ror #8              // depths 1 3
        uxtb16  r8, r8, ror #8
        orr     r9, r9, lr, lsl #8
        orr     lr, r7, r8, lsl #8
        usub16  r9, r9, r11
        usub16  lr, lr, r11
        pkhbt   r7, r9, lr, lsl #16
        pkhtb   r8, lr, r9, asr #16
.endm

// The last r6 = 1..3 bytes of the row at \p.
.macro KEYS_TAIL w, p
        ldrb    \w, [\p]
        cmp     r6, #2
        it      hs
        ldrbhs  r9, [\p, #1]
        it      hs
        orrhs   \w, \w, r9, lsl #8
        it      hi
        ldrbhi  r9, [\p, #2]
        it      hi
        orrhi   \w, \w, r9, lsl #16
.endm

// r0 outputs, r4 (r5) the two rows, r3 depth in the frame.
.macro KEYS_ROWS rows
        ldr     r6, [sp, #12]
        subs    r6, r6, #4
        blo     2f
1:      ldr     r7, [r4], #4
    .if \rows == 2
        ldr     r8, [r5], #4
    .else
        mov     r8, #0
    .endif
        KEYS
        str     r8, [r0, #8]
        str     r7, [r0], #16
        subs    r6, r6, #4
        bhs     1b
2:      adds    r6, r6, #4
        beq     3f
        KEYS_TAIL r7, r4
    .if \rows == 2
        KEYS_TAIL r8, r5
    .else
        mov     r8, #0
    .endif
        KEYS
        cmp     r6, #3
        str     r7, [r0]
        it      hs
        strhs   r8, [r0, #8]
3:
.endm

        TLF_FUNCTION tlf_pack_keys_packed
        push    {r0-r11, lr}
        sub     sp, sp, #4
        ldmia   r0, {r1-r6}                 // x, y, m, k, x_stride, y_stride
        str     r4, [sp, #12]
        str     r5, [sp, #4]
        str     r6, [sp, #8]
        mov     r12, #4                     // to the next column pair
        mov     r10, #0x01010101
        mov     r11, #0x7f7f7f7f
        subs    r3, r3, #2
        blt     5f
4:      ldr     r5, [sp, #4]
        mov     r0, r2
        mov     r4, r1
        add     r5, r5, r1
        KEYS_ROWS 2
        ldr     r5, [sp, #4]
        ldr     r6, [sp, #8]
        add     r1, r1, r5, lsl #1
        add     r2, r2, r12
        sub     r12, r6, r12
        subs    r3, r3, #2
        bge     4b
5:      adds    r3, r3, #2
        beq     6f
        mov     r0, r2
        mov     r4, r1
        KEYS_ROWS 1
6:      add     sp, sp, #20
        pop     {r4-r11, pc}
        TLF_END tlf_pack_keys_packed
