// The linear kernels with twice the unrolling: no turn of the loop up to a depth of 34, for code that does not wait for flash.

#define TLF_NAME(op) tlf_##op##_smlad2x4u16
#define TLF_UNROLL 16

#include "linear_smlad2x4.inc"
