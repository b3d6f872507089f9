"""What the random cases do not reach: outputs in place of an input, and the widest rows of layernorm."""

import struct

import cases
import numpy as np
import pytest
from cases import Case, case_of, record_fields
from runners import Board

from codegen.build import find_toolchains
from dse.kernel import Kernel, load_kernels
from dse.target import load_target

IN_PLACE = [
    (kernel, field)
    for kernel in load_kernels().values()
    for op, field in (("lut", "x"), ("add", "a"), ("add", "b"), ("layernorm", "x"))
    if kernel.op == op
]


BOARDS = [
    (load_target(name), toolchain.name)
    for name in ("stm32l476", "esp32c3")
    for toolchain in find_toolchains(load_target(name).isa)
]


@pytest.fixture(scope="module", params=BOARDS, ids=lambda pair: f"{pair[0].name}-{pair[1]}")
def board(request, tmp_path_factory):
    target, toolchain = request.param
    return Board(toolchain, tmp_path_factory.mktemp(toolchain), target)


def _in_place(board: Board, kernel: Kernel, case: Case, field: str, size: int) -> bytes:
    """The first bytes of the operand `field` after a call whose output it is."""
    cursor, addresses = board.base, {}
    for name, is_pointer in record_fields(kernel.args):
        if is_pointer and name != "y":
            board.device.write(cursor, case.operands[name])
            addresses[name] = cursor
            cursor += (len(case.operands[name]) + 7) // 4 * 4
    addresses["y"] = addresses[field]
    record = [
        addresses[name] if is_pointer else case.integers[name] & 0xFFFFFFFF
        for name, is_pointer in record_fields(kernel.args)
    ]
    board.device.write(cursor, struct.pack(f"<{len(record)}I", *record))
    board.device.call(kernel.symbol, [cursor])
    return board.device.read(addresses["y"], size)


@pytest.mark.parametrize(("kernel", "field"), IN_PLACE, ids=lambda v: v if isinstance(v, str) else v.name)
def test_output_in_place_of_an_input(board, kernel, field):
    if kernel not in board.kernels:
        pytest.skip("a variant for another core")
    for seed in range(24):
        case = case_of(kernel, 3, 1, 1 + 3 * seed, seed)
        expected = case.expected["y"]
        if kernel.op == "layernorm":  # in place means the stride of x, whose gaps keep their bytes
            n, x_stride, y_stride = (case.integers[name] for name in ("n", "x_stride", "y_stride"))
            merged = bytearray(case.operands["x"])
            for r in range(case.integers["m"]):
                merged[r * x_stride : r * x_stride + n] = expected[r * y_stride : r * y_stride + n]
            case.integers["y_stride"], expected = x_stride, bytes(merged)
        assert _in_place(board, kernel, case, field, len(expected)) == expected


@pytest.mark.parametrize("width", [100, 129, 255, 256])
def test_wide_layernorm(board, width):
    for kernel in board.kernels:
        for seed in range(4 if kernel.op == "layernorm" else 0):
            rng = np.random.default_rng([seed, width])
            board.check(kernel, cases.layernorm(kernel, 5, width, 1, rng, seed % 2 == 0))
