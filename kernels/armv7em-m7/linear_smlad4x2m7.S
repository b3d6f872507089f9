// The linear kernels on panels of 4, 3, 2 and 1 rows, in the order of the Cortex-M7.

#define TLF_NAME(op) tlf_##op##_smlad4x2m7
#define TLF_PIPELINED
#define TLF_UNROLL 16

#include "../armv7em/linear_smlad4x2.inc"
