"""XpulpV2 on one core: every encoding of the project's table against a model in plain Python, loops, pointers, cycles."""

import itertools
import random
import struct
from collections.abc import Callable

import pytest
from rv32_words import DATA, NOP, RETURN, engine_of, i_type, r_type, s_type

from codegen.device import DeviceFault

A, B, D = 10, 11, 12  # the registers of the operands: a0, a1, and the destination a2
WORDS = [0, 1, 0xFFFF_FFFF, 0x8000_0000, 0x7FFF_FFFF, 0x8080_8080, 0x7F7F_7F7F, 0x8001_7FFE, 0x0102_0304, 0x00FF_FF00]
RNG = random.Random(5)
PAIRS = [*itertools.product(WORDS, WORDS), *((RNG.getrandbits(32), RNG.getrandbits(32)) for _ in range(60))]


def signed(value: int, bits: int = 32) -> int:
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)


def lanes(value: int, bits: int, is_signed: bool = True) -> list[int]:
    parts = [value >> shift & (1 << bits) - 1 for shift in range(0, 32, bits)]
    return [signed(part, bits) for part in parts] if is_signed else parts


def pack(parts: list[int], bits: int) -> int:
    return sum((part & (1 << bits) - 1) << bits * i for i, part in enumerate(parts))


def dot(a: int, b: int, bits: int, a_signed: bool, b_signed: bool) -> int:
    return sum(x * y for x, y in zip(lanes(a, bits, a_signed), lanes(b, bits, b_signed), strict=True))


def by_lane(function: Callable[[int, int], int], is_signed: bool = True) -> Callable[[int, int, int], int]:
    def apply(a: int, b: int, bits: int) -> int:
        pairs = zip(lanes(a, bits, is_signed), lanes(b, bits, is_signed), strict=True)
        return pack([function(x, y) for x, y in pairs], bits)

    return apply


def sum_of_products(a_signed: bool, b_signed: bool) -> Callable[[int, int, int], int]:
    return lambda a, b, bits: dot(a, b, bits, a_signed, b_signed)


# name -> (funct7, adds to the destination, the immediate is unsigned, model)
VECTOR: dict[str, tuple[int, bool, bool, Callable[[int, int, int], int]]] = {
    "add": (0x00, False, False, by_lane(lambda x, y: x + y)),
    "sub": (0x04, False, False, by_lane(lambda x, y: x - y)),
    "avg": (0x08, False, False, by_lane(lambda x, y: (x + y) >> 1)),
    "avgu": (0x0C, False, True, by_lane(lambda x, y: (x + y) >> 1, False)),
    "min": (0x10, False, False, by_lane(min)),
    "minu": (0x14, False, True, by_lane(min, False)),
    "max": (0x18, False, False, by_lane(max)),
    "maxu": (0x1C, False, True, by_lane(max, False)),
    "or": (0x2C, False, False, by_lane(lambda x, y: x | y)),
    "xor": (0x30, False, False, by_lane(lambda x, y: x ^ y)),
    "and": (0x34, False, False, by_lane(lambda x, y: x & y)),
    "dotup": (0x40, False, True, sum_of_products(False, False)),
    "dotusp": (0x44, False, False, sum_of_products(False, True)),
    "dotsp": (0x4C, False, False, sum_of_products(True, True)),
    "sdotup": (0x50, True, True, sum_of_products(False, False)),
    "sdotusp": (0x54, True, False, sum_of_products(False, True)),
    "sdotsp": (0x5C, True, False, sum_of_products(True, True)),
}


def shuffle(a: int, b: int, d: int, bits: int, two: bool) -> int:
    count = 32 // bits
    sources = lanes(d, bits, False) + lanes(a, bits, False) if two else lanes(a, bits, False)
    return pack([sources[pick & len(sources) - 1] for pick in lanes(b, bits, False)], bits) if count else 0


def leading(a: int) -> int:
    text = f"{a:032b}"
    return 0 if a == 0 else len(text) - len(text.lstrip(text[0])) - 1


def clip_model(bits: int, is_signed: bool) -> Callable[[int, int, int], int]:
    high = (1 << bits - 1) - 1 if bits else 0
    low = -high - 1 if is_signed else 0
    return lambda a, _b, _d: max(low, min(high, signed(a)))


def ranged(low_of: Callable[[int], int]) -> Callable[[int, int, int], int]:
    def model(a: int, b: int, _d: int) -> int:
        low, high = low_of(signed(b)), signed(b)
        return low if signed(a) < low else min(high, signed(a))

    return model


def fixed(sign: int, shift: int, rounds: bool) -> Callable[[int, int, int], int]:
    half = (1 << shift - 1) if rounds and shift else 0
    return lambda a, b, _d: signed(a + sign * b + half) >> shift


def product(shift: int, rounds: bool, adds: bool) -> Callable[[int, int, int], int]:
    half = (1 << shift - 1) if rounds and shift else 0
    return lambda a, b, d: signed(signed(a, 16) * signed(b, 16) + (d if adds else 0) + half) >> shift


Model = Callable[[int, int, int], int]


def scalar_cases() -> dict[str, tuple[int, Model]]:
    """name -> (word on a2, a0, a1, model of (a0, a1, old a2))."""

    def op(f3: int, f7: int, rs2: int = B, opcode: int = 0x33) -> int:
        return r_type(opcode, f3, f7, D, A, rs2)

    cases: dict[str, tuple[int, Model]] = {
        "mac": (op(0, 0x21), lambda a, b, d: d + a * b),
        "msu": (op(1, 0x21), lambda a, b, d: d - a * b),
        "abs": (op(0, 2, 0), lambda a, _b, _d: abs(signed(a))),
        "min": (op(4, 2), lambda a, b, _d: min(signed(a), signed(b))),
        "minu": (op(5, 2), lambda a, b, _d: min(a, b)),
        "max": (op(6, 2), lambda a, b, _d: max(signed(a), signed(b))),
        "maxu": (op(7, 2), lambda a, b, _d: max(a, b)),
        "slet": (op(2, 2), lambda a, b, _d: signed(a) <= signed(b)),
        "sletu": (op(3, 2), lambda a, b, _d: a <= b),
        "ror": (op(5, 4), lambda a, b, _d: a >> b % 32 | a << (-b % 32)),
        "ff1": (op(0, 8, 0), lambda a, _b, _d: (a & -a).bit_length() - 1 if a else 32),
        "fl1": (op(1, 8, 0), lambda a, _b, _d: a.bit_length() - 1 if a else 32),
        "clb": (op(2, 8, 0), lambda a, _b, _d: leading(a)),
        "cnt": (op(3, 8, 0), lambda a, _b, _d: a.bit_count()),
        "exths": (op(4, 8, 0), lambda a, _b, _d: signed(a, 16)),
        "exthz": (op(5, 8, 0), lambda a, _b, _d: a & 0xFFFF),
        "extbs": (op(6, 8, 0), lambda a, _b, _d: signed(a, 8)),
        "extbz": (op(7, 8, 0), lambda a, _b, _d: a & 0xFF),
        "clipur": (op(6, 0x0A), ranged(lambda _b: 0)),
        "clipr": (op(5, 0x0A), ranged(lambda b: -b - 1)),
        "pack.h": (op(0, 0x68, B, 0x57), lambda a, b, _d: a << 16 | b & 0xFFFF),
        "packhi.b": (op(1, 0x6C, B, 0x57), lambda a, b, d: (a & 255) << 24 | (b & 255) << 16 | d & 0xFFFF),
        "packlo.b": (op(1, 0x70, B, 0x57), lambda a, b, d: d & 0xFFFF_0000 | (a & 255) << 8 | b & 255),
    }
    for f3, bits in ((1, 8), (0, 16)):
        cases[f"shuffle.{bits}"] = (op(f3, 0x60, B, 0x57), lambda a, b, d, n=bits: shuffle(a, b, d, n, False))
        cases[f"shuffle2.{bits}"] = (op(f3, 0x64, B, 0x57), lambda a, b, d, n=bits: shuffle(a, b, d, n, True))
    for bits in (0, 1, 8, 9, 16, 31):
        cases[f"clip {bits}"] = (op(1, 0x0A, bits), clip_model(bits, True))
        cases[f"clipu {bits}"] = (op(2, 0x0A, bits), clip_model(bits, False))
    cases["addNr"] = (op(2, 0x20, B, 0x5B), lambda a, b, d: signed(d + a) >> b % 32)
    cases["adduNr"] = (op(2, 0x60, B, 0x5B), lambda a, b, d: (d + a & 0xFFFF_FFFF) >> b % 32)
    cases["addRNr"] = (op(6, 0x20, B, 0x5B), lambda a, b, d: signed(d + a + (1 << b % 32 >> 1)) >> b % 32)
    for shift in (0, 1, 7, 31):
        cases[f"addN {shift}"] = (op(2, shift, B, 0x5B), fixed(1, shift, False))
        cases[f"addRN {shift}"] = (op(6, shift, B, 0x5B), fixed(1, shift, True))
        cases[f"subN {shift}"] = (op(3, shift, B, 0x5B), fixed(-1, shift, False))
        cases[f"muls {shift}"] = (op(0, 0x40 | shift, B, 0x5B), product(shift, False, False))
        cases[f"mulsRN {shift}"] = (op(4, 0x40 | shift, B, 0x5B), product(shift, True, False))
        cases[f"macsN {shift}"] = (op(1, 0x40 | shift, B, 0x5B), product(shift, False, True))
        cases[f"macsRN {shift}"] = (op(5, 0x40 | shift, B, 0x5B), product(shift, True, True))
    return cases


SCALAR = scalar_cases()


def run_words(*words: int, args: tuple[int, ...] = (), cpu: str = "ri5cy", data: bytes = b"") -> tuple[object, object]:
    """(run, engine) of those instructions and a return; the data lies at DATA."""
    engine = engine_of(struct.pack(f"<{len(words)}I", *words) + RETURN, cpu)
    engine.write(DATA, data)
    return engine.call(0x1000, args, DATA + 0x1000, [], [], 1_000_000), engine


def check(word: int, model: Model) -> None:
    """The word gives the model's value for every pair, in one cycle."""
    engine = engine_of(struct.pack("<2I", word, i_type(0x13, 0, A, D, 0)) + RETURN, "ri5cy")
    for index, (a, b) in enumerate(PAIRS):
        d = PAIRS[-index - 1][0]
        run = engine.call(0x1000, [a, b, d], DATA + 0x1000, [], [], 10)
        assert run.value == model(a, b, d) & 0xFFFF_FFFF, f"a {a:08x} b {b:08x} d {d:08x}"
        assert run.cycles == 1 + 1 + 2


@pytest.mark.parametrize("mode", ["", "sc", "sci"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", VECTOR)
def test_vector_instruction(name: str, bits: int, mode: str) -> None:
    f7, adds, unsigned, function = VECTOR[name]
    f3 = {"": 0, "sc": 4, "sci": 6}[mode] + (bits == 8)
    for imm in (0, 1, 31, 32, 63) if mode == "sci" else (0,):
        value = imm if unsigned else signed(imm, 6)
        word = r_type(0x57, f3, f7 | (imm & 1 if mode == "sci" else 0), D, A, imm >> 1 if mode == "sci" else B)

        def model(a: int, b: int, d: int, fill: int = value) -> int:
            lane = {"": None, "sc": b, "sci": fill}[mode]
            y = b if lane is None else pack([lane] * (32 // bits), bits)
            return function(a, y, bits) + (d if adds else 0)

        check(word, model)


@pytest.mark.parametrize("name", SCALAR)
def test_scalar_instruction(name: str) -> None:
    check(*SCALAR[name])


BYTES = bytes(range(0x78, 0x98))


@pytest.mark.parametrize(("f3", "size", "is_signed"), [(0, 1, 1), (1, 2, 1), (2, 4, 1), (4, 1, 0), (5, 2, 0)])
@pytest.mark.parametrize("step", [4, -8, 1])
def test_loads_that_move_their_pointer(f3: int, size: int, is_signed: int, step: int) -> None:
    at = DATA + 8
    expected = int.from_bytes(BYTES[8 : 8 + size], "little", signed=bool(is_signed)) & 0xFFFF_FFFF
    code = {0: 0x00, 1: 0x08, 2: 0x10, 4: 0x20, 5: 0x28}[f3]
    for word, moved in (
        (i_type(0x0B, f3, D, A, step), at + step),
        (r_type(0x0B, 7, code, D, A, B), at + step),
        (r_type(0x03, 7, code, D, A, 0), at),
    ):
        run, engine = run_words(word, NOP, args=(at, step), data=BYTES)
        assert (engine._caller.x[D], engine._caller.x[A]) == (expected, moved)
        assert run.cycles == 2 + 2


@pytest.mark.parametrize(("f3", "size"), [(0, 1), (1, 2), (2, 4)])
def test_stores_that_move_their_pointer(f3: int, size: int) -> None:
    at, value = DATA + 8, 0x8182_8384
    for word, moved in ((s_type(0x2B, f3, A, B, 12), at + 12), (r_type(0x2B, f3 + 4, 0, D, A, B), at + 20)):
        run, engine = run_words(word, args=(at, value, 20), data=BYTES)
        expected = BYTES[:8] + value.to_bytes(4, "little")[:size] + BYTES[8 + size :]
        assert engine.read(DATA, len(BYTES)) == expected
        assert engine._caller.x[A] == moved
        assert run.cycles == 1 + 2
    _, engine = run_words(r_type(0x23, f3 + 4, 0, D, A, B), args=(at, value, 4), data=BYTES)
    assert engine.read(at + 4, size) == value.to_bytes(4, "little")[:size]
    assert engine._caller.x[A] == at


def test_loaded_value_stalls_its_user_but_the_moved_pointer_does_not() -> None:
    load = i_type(0x0B, 2, D, A, 4)
    sdot = r_type(0x57, 1, 0x5C, 13, D, B)
    assert run_words(load, load, args=(DATA,))[0].cycles == 2 + 2
    assert run_words(load, sdot, args=(DATA,))[0].cycles == 3 + 2
    assert run_words(load, NOP, sdot, args=(DATA,))[0].cycles == 3 + 2
    accumulate = r_type(0x57, 1, 0x5C, D, B, B)
    assert run_words(load, accumulate, args=(DATA,))[0].cycles == 3 + 2  # the accumulator is read, too
    assert run_words(sdot, sdot, sdot)[0].cycles == 3 + 2


def setup(loop: int, last: int, counter: int = A) -> int:
    """lp.setup whose last body instruction is `last` words further."""
    return i_type(0x7B, 4, loop, counter, 2 * last)


INCREMENT = i_type(0x13, 0, D, D, 1)


def test_hardware_loop_costs_nothing() -> None:
    for rounds in (1, 2, 100):
        run, engine = run_words(setup(0, 2), INCREMENT, INCREMENT, args=(rounds, 0, 0))
        assert engine._caller.x[D] == 2 * rounds
        assert run.cycles == 1 + 2 * rounds + 2
        assert run.instructions == 1 + 2 * rounds + 1


def test_both_levels_and_the_parts_of_a_loop() -> None:
    parts = [i_type(0x7B, 0, 1, 0, 6), i_type(0x7B, 1, 1, 0, 10), i_type(0x7B, 2, 1, B, 0)]  # start, end, count
    words = [*parts, i_type(0x7B, 5, 0, 4, 7), INCREMENT, INCREMENT, i_type(0x13, 0, 13, 13, 1)]
    run, engine = run_words(*words, args=(0, 5, 0, 0))
    assert (engine._caller.x[D], engine._caller.x[13]) == (5 * 7 * 2, 5)
    assert run.cycles == 3 + 5 * (1 + 14 + 1) + 2
    words[2] = i_type(0x7B, 3, 1, 0, 3)  # counti
    assert run_words(*words, args=(0, 0, 0, 0))[1]._caller.x[D] == 3 * 7 * 2


def test_loops_that_end_together_and_software_loops() -> None:
    words = [setup(1, 3, A), setup(0, 2, B), INCREMENT, INCREMENT]
    _, engine = run_words(*words, args=(3, 4, 0))
    assert engine._caller.x[D] == 3 * 4 * 2
    count = i_type(0x13, 0, A, A, -1)
    run, _ = run_words(count, s_type(0x63, 3, A, 0, -3 & ~1 | 1), args=(100,))  # p.bneimm a0, 0, -4
    assert run.cycles == 4 * 100 - 2 + 2


def test_a_loop_that_ends_with_a_branch_faults() -> None:
    with pytest.raises(DeviceFault, match="illegal") as caught:
        run_words(setup(0, 2), NOP, s_type(0x63, 1, 0, 0, 8), args=(2,))
    assert caught.value.pc == 0x1008


def test_inner_loop_of_the_best_kernel() -> None:
    """4 rows x 2 columns: 6 loads and 8 dot products in 14 cycles for 32 MACs."""
    loads = [i_type(0x0B, 2, 14 + i, A if i < 2 else B, 4) for i in range(6)]
    dots = [r_type(0x57, 1, 0x5C, 20 + i, 14 + i % 2, 16 + i // 2) for i in range(8)]
    counter = i_type(0x13, 0, 13, 0, 50)
    run, _ = run_words(counter, setup(0, 14, 13), *loads, *dots, args=(DATA, DATA + 512))
    assert run.cycles == 2 + 14 * 50 + 2


@pytest.mark.parametrize(
    "word",
    [
        r_type(0x57, 2, 0x5C, D, A, B),  # no such lane width
        r_type(0x57, 1, 0x7C, D, A, B),
        r_type(0x33, 1, 2, D, A, B),
        r_type(0x33, 0, 2, D, A, B),  # p.abs has no second operand
        i_type(0x7B, 6, 0, A, 4),
        i_type(0x7B, 4, 2, A, 4),  # loops 0 and 1 only
        i_type(0x0B, 3, D, A, 4),
        r_type(0x5B, 3, 0x20, D, A, B),
        r_type(0x5B, 2, 0x21, D, A, B),
        setup(0, 1),  # a loop of one instruction
    ],
)
def test_holes_of_the_encoding_fault(word: int) -> None:
    with pytest.raises(DeviceFault, match="illegal"):
        run_words(word)


@pytest.mark.parametrize("word", [r_type(0x57, 1, 0x5C, D, A, B), setup(0, 2), r_type(0x33, 0, 0x21, D, A, B)])
def test_a_plain_core_has_none_of_it(word: int) -> None:
    with pytest.raises(DeviceFault, match="illegal"):
        run_words(word, NOP, NOP, cpu="rv32imc")


def test_mul_is_a_parameter_of_the_core() -> None:
    word = r_type(0x33, 0, 1, D, A, B)
    assert run_words(word)[0].cycles == 1 + 2


def test_five_million_custom_instructions_in_one_call() -> None:
    engine = engine_of(
        struct.pack("<3I", setup(0, 2), r_type(0x57, 1, 0x5C, D, B, B), r_type(0x57, 1, 0, 13, B, B)) + RETURN, "ri5cy"
    )
    run = engine.call(0x1000, [2_500_000, 0x0101_0101, 0], DATA + 0x1000, [], [], 10_000_000)
    assert run.cycles == 5_000_000 + 1 + 2
    assert engine._caller.x[D] == 4 * 2_500_000
