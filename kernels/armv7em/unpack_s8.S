// Rows of int8 to panels: what linear, probs and pack_panels share, whatever their variant.

#include "function.inc"
#include "unpack_smlad2x4.inc"

        .global tlf_unpack_s8
        .global tlf_unpack_s8_1

        UNPACK  tlf_unpack_s8, s, ldrsb
