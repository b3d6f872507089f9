// The linear kernels with weights of 16 bits: twice the bytes, nothing to extend, sums of the whole int32.

#define TLF_NAME(op) tlf_##op##_smlad2x4w16
#define TLF_WIDE

#include "linear_smlad2x4.inc"
