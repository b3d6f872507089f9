"""Every kernel variant against the header's arithmetic: on the host under UBSan, and on the emulated devices."""

from __future__ import annotations

import random
import re
import subprocess
import sys

import cases
import numpy as np
import pytest
from cases import HEADER, case_of, served, serves
from runners import Board, Host

from codegen.build import find_toolchains
from dse.kernel import ISA_CHAIN, kernels_root, load_kernels
from dse.target import load_target

KERNELS = load_kernels()
ON_BOARD = [kernel for kernel in KERNELS.values() if kernel.isa in (*ISA_CHAIN["armv7em-m7"], *ISA_CHAIN["xpulpv2"])]
PORTABLE = [kernel for kernel in KERNELS.values() if kernel.isa in ("any", "rv32imc")]
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 16, 17, 18, 33, 35)
COLUMNS = (1, 2, 3, 4, 5, 8, 13)
DEPTHS = (1, 2, 3, 4, 7, 8, 16, 17, 18, 31, 33, 50, 81)


def _sizes(kernel, count: int) -> list[tuple[int, int, int]]:
    """Each height, width and depth at least once, in random company; others where the contract of the variant asks."""
    rng = random.Random(kernel.name)
    drawn = [(m, rng.choice(COLUMNS), rng.choice(DEPTHS)) for m in ROWS]
    drawn += [(rng.choice(ROWS), n, rng.choice(DEPTHS)) for n in COLUMNS]
    drawn += [(rng.choice(ROWS), rng.choice(COLUMNS), k) for k in DEPTHS] + [(3, 37, 4), (2, 66, 1)]
    drawn += [(rng.choice(ROWS), rng.choice(COLUMNS), rng.choice(DEPTHS)) for _ in range(count - len(drawn))]
    return [size for sizes in drawn for size in served(kernel, *sizes)]


BOARDS = [
    (load_target(name), toolchain.name)
    for name in ("stm32l476", "stm32h743", "esp32c3", "gap9")
    for toolchain in find_toolchains(load_target(name).isa)
]


@pytest.fixture(scope="module", params=BOARDS, ids=lambda pair: f"{pair[0].name}-{pair[1]}")
def board(request, tmp_path_factory):
    target, toolchain = request.param
    return Board(toolchain, tmp_path_factory.mktemp(toolchain), target)


@pytest.fixture(scope="module")
def host():
    return Host()


@pytest.mark.parametrize("kernel", ON_BOARD, ids=lambda kernel: kernel.name)
def test_on_the_emulated_device(board, kernel):
    if kernel not in board.kernels:
        pytest.skip("a variant for another core")
    for seed, (m, n, k) in enumerate(_sizes(kernel, 80 if kernel.isa != "any" else 30)):
        board.check(kernel, case_of(kernel, m, n, k, seed))


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("kernel", [k for k in ON_BOARD if k.layout == "quads"], ids=lambda kernel: kernel.name)
def test_accumulators_at_their_bound(board, kernel, low, monkeypatch):
    """Every product at an end of its range, as deep as |acc| < 2^23 lets it be, of both signs."""
    if kernel not in board.kernels:
        pytest.skip("a variant for another core")
    deepest = 258 if kernel.op.startswith("attend") else 515

    def ends(rng, shape, extreme, least=-128):
        return np.full(shape, least if low or least == -127 else 127, np.int8)

    monkeypatch.setattr(cases, "int8", ends)
    for seed, (m, n) in enumerate(((1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 2), (3, 512))):
        for depth in (deepest, 2, 7, 600):
            if n * depth < 4096 and serves(kernel, m, n, depth):
                board.check(kernel, case_of(kernel, m, n, depth, 4 * seed))


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("kernel", [k for k in ON_BOARD if k.layout == "pairs"], ids=lambda kernel: kernel.name)
def test_accumulators_of_the_whole_int32(board, kernel, low, monkeypatch):
    """Products at the ends of their range, deeper than 23 bits hold, and biases that bring the sums of a column as far as
    the requantisation may go in int32, of both signs."""
    if kernel not in board.kernels:
        pytest.skip("a variant for another core")
    ends = 2**31 - 2**29  # less the rounding at the largest shift

    def operands(rng, shape, extreme, least=-128):
        return np.full(shape, least if low or least == -127 else 127, np.int8)

    monkeypatch.setattr(cases, "int8", operands)
    monkeypatch.setattr(cases, "biases", lambda rng, acc: np.sign(acc[0]) * ends - acc[0])
    for seed, (m, n) in enumerate(((1, 1), (2, 2), (3, 3), (4, 4), (5, 6))):
        for depth in (2, 515, 600, 2000):
            assert depth < 600 or 127 * 127 * depth > 2**23
            board.check(kernel, case_of(kernel, m, n, depth, 4 * seed))


@pytest.mark.parametrize("hot", [False, True], ids=["zeros", "one-hot"])
@pytest.mark.parametrize("kernel", [k for k in ON_BOARD if k.layout], ids=lambda kernel: kernel.name)
def test_zeros_and_one_hot_operands(board, kernel, hot, monkeypatch):
    """Products of nothing, and of single elements: every product stands alone in its sum."""
    if kernel not in board.kernels:
        pytest.skip("a variant for another core")

    def sparse(rng, shape, extreme, least=-128):
        found = np.zeros(shape, np.int8)
        if hot:
            at = tuple(rng.integers(0, size, shape[0]) for size in shape[1:])
            found[(np.arange(shape[0]), *at)] = rng.choice([least, 127], shape[0])
        return found

    monkeypatch.setattr(cases, "int8", sparse)
    for seed, (m, n, k) in enumerate(_sizes(kernel, 32)):
        board.check(kernel, case_of(kernel, m, n, k, seed))


@pytest.mark.parametrize("kernel", PORTABLE, ids=lambda kernel: kernel.name)
def test_on_the_host(host, kernel):
    for seed, (m, n, k) in enumerate(_sizes(kernel, 120)):
        host.check(kernel, case_of(kernel, m, n, k, seed))


SANITISED = """
import sys
sys.path[:0] = ["tests/kernels"]
from cases import case_of
from runners import Host
from dse.kernel import load_kernels
from test_kernels import _sizes
host = Host(("-O1", "-fsanitize=undefined", "-fsanitize-trap=undefined"))
for kernel in load_kernels().values():
    if kernel.isa in ("any", "rv32imc"):
        for seed, (m, n, k) in enumerate(_sizes(kernel, 40)):
            host.check(kernel, case_of(kernel, m, n, k, seed))
print("clean")
"""


def test_no_undefined_behaviour():
    # In a process of its own: undefined behaviour traps, which ends the process.
    root = kernels_root().parent
    done = subprocess.run([sys.executable, "-c", SANITISED], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "clean", done.stderr


def test_the_header_declares_every_variant_and_the_manifest_has_every_declaration():
    declared = set(re.findall(r"^void (tlf_\w+)\(const", HEADER, re.MULTILINE))
    assert declared == {kernel.symbol for kernel in KERNELS.values()}
