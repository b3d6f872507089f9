// The probs kernels in the order of the Cortex-M7: a load or an extension beside every product.

#define TLF_NAME(op) tlf_##op##_smlad2x4m7
#define TLF_PIPELINED
#define TLF_UNROLL 16

#include "probs_smlad2x4m7.inc"
