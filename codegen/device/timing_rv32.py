"""What RISC-V instructions and the cluster cost, in cycles: the tables that rv32/ charges.

Pipeline (RI5CY / CV32E40P user manual, as condensed in the project's facts): ALU, packed and saturating instructions,
loads and stores 1; the value of a load used by the next instruction 1 more; an access over a word border 1 more; jumps
2; branches 1, taken 3; hardware loops 0; division 3 and one more for every leading zero of the divisor's magnitude (35
for 0), remainder the same. Memory answers at once unless a region says otherwise; there is no branch prediction. The
manual's extra cycle for a jump to an unaligned 32-bit instruction, and for a `jalr` right after its address was made,
is not modelled.

Cluster (an independent simulator's figures, not silicon): `mul` 2 there. The TCDM serves one access a bank and cycle,
first come first served, lower core first. L2 answers a core in 15 cycles, loads and stores alike (stores: assumed). The
instruction caches are 512 B private and 4 KB shared, 16-byte lines, 4 ways, replaced
round robin (private) and at random from a fixed seed (shared): sizes from the
facts, organisation assumed; prices chosen so that straight loops cost what the facts say. The DMA moves 8 bytes a cycle
in order of issue; a beat waits for its banks like a core does and never crosses the end of a row. Loads from external
memory (L3) are one byte a cycle, the upper end of what the facts say, after an assumed latency.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rv32Core:
    """Cores and prices of one machine; `rv_config` of rv32/rv32.h says what each is. 0 banks: no conflicts.

    `l2_cycles`: a word from a region called "l2". `cluster_base` 0: no event unit, no DMA. `caller`: which core is
    called; the others are workers that the start-up code parks.
    """

    cores: int = 1
    caller: int = 0
    has_xpulp: bool = False
    mul: int = 1
    mulh: int = 5
    division: int = 3
    load_use: int = 1
    misaligned: int = 1
    jump: int = 2
    branch: int = 1
    branch_taken: int = 3
    banks: int = 0
    barrier: int = 0
    dispatch: int = 0
    wake: int = 0
    event_access: int = 1
    dma_access: int = 1
    dma_start: int = 0
    dma_end: int = 0
    dma_beat_bytes: int = 8
    load_start: int = 0
    load_byte: int = 1
    private_miss: int = 0
    shared_miss: int = 0
    cluster_base: int = 0
    l2_cycles: int = 1


CV32E40P = Rv32Core()
RI5CY = Rv32Core(has_xpulp=True)
GAP9_CLUSTER = Rv32Core(
    cores=9,
    caller=8,
    has_xpulp=True,
    mul=2,
    banks=16,
    barrier=5,
    dispatch=3,
    wake=2,
    dma_access=1,
    dma_start=2,
    dma_end=1,
    load_start=200,
    load_byte=1,
    private_miss=2,
    shared_miss=16,
    cluster_base=0x1000_0000,
    l2_cycles=15,
)
