// The attend kernels in the order of the Cortex-M4: loads in groups, so that they overlap.

#define TLF_NAME(op) tlf_##op##_smlad2x4

#include "attend_smlad2x4.inc"
