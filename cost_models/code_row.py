"""Where the code of a network lies: kernels one after another in the order of their first calls, then the stages.

The emitter prints this order into the linker script, so that what a loop calls lies side by side, and the cost model knows
which kernels share sets of a cache. Only distances count: where the row begins moves all sets alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dse.program import Program

Functions = Mapping[str, Mapping[str, int]]  # kernel -> function -> bytes
Span = tuple[float, float]  # bytes of the row: where a piece of code begins and ends
_ELSEWHERE = "tlf_mem"  # routines of the port, which lie before the row


def code_order(program: Program, functions: Functions) -> tuple[str, ...]:
    """The functions of the kernels that a program calls, by first call."""
    return tuple(_sizes((call.kernel for call in program.calls()), functions))


def code_row(program: Program, functions: Functions) -> dict[str, Span]:
    """Function -> where it lies in the row of `code_order`."""
    found, end = {}, 0.0
    for name, size in _sizes((call.kernel for call in program.calls()), functions).items():
        found[name] = (end, end + size)
        end += size
    return found


def _sizes(kernels: Iterable[str], functions: Functions) -> dict[str, int]:
    """Function -> bytes, in the order of the kernels; what several of them call lies with the first."""
    sizes: dict[str, int] = {}
    for kernel in dict.fromkeys(kernels):
        sizes |= {k: v for k, v in functions[kernel].items() if k not in sizes and not k.startswith(_ELSEWHERE)}
    return sizes
