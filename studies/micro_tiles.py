"""Inner loops of micro-tiles with int8 and int16 weights on the timing of the emulated cores: cycles a depth pair.

python studies/micro_tiles.py prints a Markdown table (that of kernels/README.md). Straight code, steady state.
"""

from codegen.device.mca import timed_cycles
from codegen.device.timing_m4 import M4Timing
from codegen.device.timing_m7 import M7Timing

# name -> (multiply-accumulates, bytes of weights, body in the order of that core). r0 activations, r1 weights.
M4 = {
    "int8 in quads, 2 x 4": (
        16,
        8,
        """
        ldr.w r3, [r1, #4]; ldr.w r2, [r1], #8; ldr.w lr, [r0, #4]; ldr.w r12, [r0], #8
        smlad r5, r2, r12, r5; smlad r7, r3, r12, r7; smlad r11, r3, lr, r11; smlad r9, r2, lr, r9
        sxtb16 r2, r2; sxtb16 r3, r3
        smlad r4, r2, r12, r4; smlad r6, r3, r12, r6; smlad r10, r3, lr, r10; smlad r8, r2, lr, r8
        """,
    ),
    "int8 in quads, 4 x 2": (
        16,
        4,
        """
        ldr.w lr, [r0, #4]; ldr.w r12, [r0], #8; ldr.w r2, [r1], #4
        smlad r5, r2, r12, r5; smlad r7, r2, lr, r7; sxtb16 r3, r2; smlad r4, r3, r12, r4; smlad r6, r3, lr, r6
        ldr.w lr, [r0, #4]; ldr.w r12, [r0], #8
        smlad r9, r2, r12, r9; smlad r11, r2, lr, r11; smlad r8, r3, r12, r8; smlad r10, r3, lr, r10
        """,
    ),
    "int8 in quads, 3 x 2": (
        12,
        4,
        """
        ldr.w r11, [r0, #8]; ldr.w lr, [r0, #4]; ldr.w r12, [r0], #12; ldr.w r2, [r1], #4
        smlad r5, r2, r12, r5; smlad r7, r2, lr, r7; smlad r9, r2, r11, r9; sxtb16 r3, r2
        smlad r4, r3, r12, r4; smlad r6, r3, lr, r6; smlad r8, r3, r11, r8
        """,
    ),
    "int16, 2 x 4": (
        16,
        16,
        """
        ldr.w r3, [r1, #4]; ldr.w r2, [r1], #16; ldr.w lr, [r0, #4]; ldr.w r12, [r0], #8
        smlad r4, r2, r12, r4; smlad r8, r2, lr, r8; smlad r5, r3, r12, r5; smlad r9, r3, lr, r9
        ldr r3, [r1, #-4]; ldr r2, [r1, #-8]
        smlad r7, r3, r12, r7; smlad r11, r3, lr, r11; smlad r6, r2, r12, r6; smlad r10, r2, lr, r10
        """,
    ),
    "int16, 4 x 2": (
        16,
        8,
        """
        ldr.w r3, [r1, #4]; ldr.w r2, [r1], #8; ldr.w lr, [r0, #4]; ldr.w r12, [r0], #8
        smlad r4, r12, r2, r4; smlad r5, r12, r3, r5; smlad r6, lr, r2, r6; smlad r7, lr, r3, r7
        ldr.w lr, [r0, #4]; ldr.w r12, [r0], #8
        smlad r8, r12, r2, r8; smlad r9, r12, r3, r9; smlad r10, lr, r2, r10; smlad r11, lr, r3, r11
        """,
    ),
}
M7 = {
    "int8 in quads, 2 x 4": (
        16,
        8,
        """
        smlad r5, r2, r12, r5; ldr lr, [r0, #-4]; smlad r7, r3, r12, r7; smlad r9, r2, lr, r9; sxtb16 r2, r2
        smlad r11, r3, lr, r11; sxtb16 r3, r3; smlad r4, r2, r12, r4; smlad r8, r2, lr, r8; ldr.w r2, [r1], #8
        smlad r6, r3, r12, r6; ldr.w r12, [r0], #8; smlad r10, r3, lr, r10; ldr r3, [r1, #-4]
        """,
    ),
    "int8 in quads, 4 x 2": (
        16,
        4,
        """
        sxtb16 r3, r2; smlad r5, r2, r12, r5; smlad r7, r2, lr, r7; smlad r4, r3, r12, r4; ldr r12, [r0, #-8]
        smlad r6, r3, lr, r6; ldr lr, [r0, #-4]; smlad r9, r2, r12, r9; smlad r11, r2, lr, r11; ldr.w r2, [r1], #8
        smlad r8, r3, r12, r8; ldr.w r12, [r0], #16; smlad r10, r3, lr, r10; ldr lr, [r0, #-12]
        """,
    ),
    "int8 in quads, 3 x 2": (
        12,
        4,
        """
        sxtb16 r3, r2; smlad r5, r2, r12, r5; smlad r7, r2, lr, r7; smlad r9, r2, r11, r9; ldr.w r2, [r1], #8
        smlad r4, r3, r12, r4; ldr.w r12, [r0], #16; smlad r6, r3, lr, r6; ldr lr, [r0, #-12]; smlad r8, r3, r11, r8
        ldr r11, [r0, #-8]
        """,
    ),
    "int8 in quads, 2 x 2": (
        8,
        4,
        """
        sxtb16 r3, r2; smlad r5, r2, r12, r5; smlad r7, r2, lr, r7; ldr.w r2, [r1], #8
        smlad r4, r3, r12, r4; ldr.w r12, [r0], #8; smlad r6, r3, lr, r6; ldr lr, [r0, #-4]
        """,
    ),
    "int16, 2 x 4": (
        16,
        16,
        """
        smlad r8, r2, lr, r8; ldr r3, [r1, #-12]; smlad r4, r2, r12, r4; ldr r2, [r1, #-8]; smlad r5, r3, r12, r5
        smlad r9, r3, lr, r9; ldr r3, [r1, #-4]; smlad r6, r2, r12, r6; smlad r10, r2, lr, r10; ldr.w r2, [r1], #16
        smlad r11, r3, lr, r11; ldr.w lr, [r0, #4]; smlad r7, r3, r12, r7; ldr.w r12, [r0], #8
        """,
    ),
    "int16, 4 x 2": (
        16,
        8,
        """
        smlad r4, r12, r2, r4; smlad r5, r12, r3, r5; ldr r12, [r0, #16]; smlad r6, lr, r2, r6
        smlad r7, lr, r3, r7; ldr lr, [r0, #20]; smlad r8, r12, r2, r8; smlad r9, r12, r3, r9; ldr r12, [r0, #24]
        smlad r10, lr, r2, r10; ldr r2, [r1, #8]; smlad r11, lr, r3, r11; ldr r3, [r1, #12]; ldr lr, [r0, #28]
        """,
    ),
}

if __name__ == "__main__":
    print("| core | weights, tile | cycles | MAC/cycle | bytes a weight |\n|---|---|---:|---:|---:|")
    for core, loops, timing, isa in (
        ("Cortex-M4", M4, M4Timing(), "armv7em"),
        ("Cortex-M7", M7, M7Timing(), "armv7em-m7"),
    ):
        cycles = timed_cycles({name: body for name, (_, _, body) in loops.items()}, timing, isa)
        for name, (macs, size, _) in loops.items():
            columns = int(name[-1])
            print(f"| {core} | {name} | {cycles[name]:.1f} | {macs / cycles[name]:.2f} | {size / columns / 2:.0f} |")
