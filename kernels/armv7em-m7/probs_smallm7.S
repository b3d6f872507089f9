// The scores of heads of few features in the order of the Cortex-M7.

#define TLF_NAME(op) tlf_##op##_smallm7
#define TLF_PIPELINED

#include "../armv7em/probs_small.inc"
