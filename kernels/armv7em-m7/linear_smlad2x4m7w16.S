// The linear kernels of the Cortex-M7 with weights of 16 bits: twice the bytes, nothing to extend, sums of the whole int32.

#define TLF_NAME(op) tlf_##op##_smlad2x4m7w16
#define TLF_PIPELINED
#define TLF_WIDE
#define TLF_UNROLL 16

#include "../armv7em/linear_smlad2x4.inc"
