// The scores of heads of few features in the order of the Cortex-M4: loads in groups, so that they overlap.

#define TLF_NAME(op) tlf_##op##_small

#include "probs_small.inc"
