"""Instruction words by hand, and an engine that holds nothing else: no compiler is involved."""

import struct

from codegen.device.cores import CORES
from codegen.device.elf import Elf, Segment
from codegen.device.engine import Setup
from codegen.device.memory import MemoryMap
from codegen.device.riscv import RiscvEngine

CODE, DATA = 0x1000, 0x0010_0000
BOARD = MemoryMap((("flash", CODE, 0x8000), ("ram", DATA, 0x1000)))


def engine_of(code: bytes, cpu: str = "rv32imc") -> RiscvEngine:
    """An engine with that code at CODE and nothing else."""
    elf = Elf("riscv", CODE, (Segment(CODE, code, True),), {})
    engine = CORES[cpu](Setup(elf, BOARD, hex, 0, False))
    assert isinstance(engine, RiscvEngine)
    engine.write(CODE, code)
    for view in engine._views:
        view.state = 3
    return engine


def i_type(opcode: int, f3: int, rd: int, rs1: int, imm: int) -> int:
    return (imm & 0xFFF) << 20 | rs1 << 15 | f3 << 12 | rd << 7 | opcode


def r_type(opcode: int, f3: int, f7: int, rd: int, rs1: int, rs2: int) -> int:
    return f7 << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | rd << 7 | opcode


def s_type(opcode: int, f3: int, rs1: int, rs2: int, imm: int) -> int:
    return (imm >> 5 & 127) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | (imm & 31) << 7 | opcode


def branch(f3: int, rs1: int, rs2: int, offset: int) -> int:
    return s_type(0x63, f3, rs1, rs2, (offset & 0x7FE) | offset >> 11 & 1)


RETURN = struct.pack("<I", i_type(0x67, 0, 0, 1, 0))
NOP = i_type(0x13, 0, 0, 0, 0)
