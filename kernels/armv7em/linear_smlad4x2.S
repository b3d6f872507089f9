// The linear kernels on panels of 4, 3, 2 and 1 rows, in the order of the Cortex-M4.

#define TLF_NAME(op) tlf_##op##_smlad4x2
#define TLF_UNROLL 8

#include "linear_smlad4x2.inc"
