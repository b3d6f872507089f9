"""Kernel calls with known answers: operands as bytes in the header's layouts, and what every operand must hold after.

The answers are written from tileformer.h with int64 numpy, independently of the C and of dse/quant.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from dse.kernel import kernels_root

HEADER = (kernels_root() / "include" / "tileformer.h").read_text(encoding="utf-8")


def record_fields(args: str) -> list[tuple[str, bool]]:
    """(field, is a pointer) of an argument record, in the order of the header."""
    body = re.search(r"typedef struct \{([^}]*)\} " + args + ";", HEADER)
    assert body, args
    found = re.findall(r"(\*?)(\w+);", body[1])
    return [(name, bool(star)) for star, name in found]


@dataclass
class Case:
    """integers of the record; operands: bytes before the call; expected: bytes after it, of those that change."""

    integers: dict[str, int]
    operands: dict[str, bytes] = field(default_factory=dict)
    expected: dict[str, bytes] = field(default_factory=dict)
    unaligned: tuple[str, ...] = ()
    scratch: str = ""  # the operand whose content after the call is not specified


def sat8(v):
    return np.clip(v, -128, 127).astype(np.int8)


def pairs(matrix, stride, fill=0):
    """(columns, depth) int8 as `pairs` with this stride; odd edges zero, bytes between columns 0x33."""
    columns, depth = matrix.shape
    out = np.full(((columns + 1) // 2, stride), 0x33, np.uint8).view(np.int8)
    out[:, : 4 * ((depth + 1) // 2)] = 0
    for c in range(columns):
        for d in range(depth):
            out[c // 2, d // 2 * 4 + d % 2 * 2 + c % 2] = matrix[c, d]
    return out.tobytes()[: (len(out) - 1) * stride + 4 * ((depth + 1) // 2)]


def panels(e):
    """(m, k) uint8 as `panels`."""
    m, k = e.shape
    wide = np.zeros((m, k + k % 2), np.int16)
    wide[:, :k] = e
    groups = [wide[r : r + 4] for r in range(0, m, 4)]
    return b"".join(g.reshape(len(g), -1, 2).transpose(1, 0, 2).tobytes() for g in groups)


def rows(matrix, stride_bytes, fill=0x5A):
    """A matrix as rows of this stride; bytes between rows hold `fill`."""
    matrix = np.ascontiguousarray(matrix)
    m = len(matrix)
    raw = matrix.view(np.uint8).reshape(m, -1)
    out = np.full((m, stride_bytes), fill, np.uint8)
    out[:, : raw.shape[1]] = raw
    return out.tobytes()[: (m - 1) * stride_bytes + raw.shape[1]]


def s32(values):
    return np.asarray(values, np.int64).astype(np.int32).tobytes()


def int8(rng, shape, extreme):
    return rng.choice([-128, 127], shape).astype(np.int8) if extreme else rng.integers(-128, 128, shape).astype(np.int8)


def linear(op, m, n, k, rng, extreme):
    """A linear call; shift, pre-shift and rounding vary so that every form of requantisation is taken."""
    x, w = int8(rng, (m, k), extreme), int8(rng, (n, k), extreme)
    bias = rng.integers(-3000, 3000, n)
    acc = x.astype(np.int64) @ w.T.astype(np.int64)
    preshift, shift = int(rng.choice([0, 0, 0, 2, 5])), int(rng.choice([8, 14, 17, 20, 22]))
    room = (2**31 - 2**shift * 200) // (int(np.abs(acc + bias).max() >> preshift) + 2)
    limit = max(1, min(room, int(2**shift * 300 / (np.abs(acc).max() / 2**preshift + 1))))
    mult = rng.integers(1, limit + 1, n)
    rounding = (int(rng.integers(-90, 90)) << shift) + (1 << shift >> 1) + int(rng.choice([0, 0, 77]))
    y = sat8((((acc + bias) >> preshift) * mult + rounding) >> shift)
    x_stride, w_stride = k + int(rng.integers(0, 4)), 4 * ((k + 1) // 2) + 4 * int(rng.integers(0, 3))
    integers = {"m": m, "n": n, "k": k, "x_stride": x_stride, "w_stride": w_stride}
    integers |= {"round": rounding, "preshift": preshift, "shift": shift}
    operands = {"x": rows(x, x_stride), "w": pairs(w, w_stride), "channel": s32(np.stack([bias, mult], 1))}
    case = Case(integers, operands, unaligned=("x", "y") if op == "linear_rows" else ("x",), scratch="scratch")
    extra = int(rng.integers(0, 3))
    if op == "linear_rows":
        integers["y_stride"] = n + extra
        before, after = rows(np.zeros_like(y), n + extra, 0x11), rows(y, n + extra, 0x11)
    elif op == "linear_add":
        integers["y_stride"] = 4 * (n + extra)
        start = rng.integers(-(10**6), 10**6, (m, n))
        before, after = (rows(v.astype(np.int32), 4 * (n + extra)) for v in (start, start + acc))
    else:
        matrix = y if op == "linear_keys" else y.T
        integers["y_stride"] = 4 * ((matrix.shape[1] + 1) // 2) + 4 * extra
        before, after = (pairs(v, integers["y_stride"]) for v in (np.zeros_like(matrix), matrix))
    operands["y"], case.expected["y"] = before, after
    return case


def probs(op, m, n, k, rng, extreme):
    """A probs call, from nearly flat to nearly one-hot rows."""
    q, keys = int8(rng, (m, k), extreme), int8(rng, (n, k), extreme)
    score = q.astype(np.int64) @ keys.T.astype(np.int64)
    distance = score.max(axis=1, keepdims=True) - score
    shift = int(rng.choice([6, 12, 18]))
    mult = max(1, min(int(2**shift * 300 / (distance.max() + 1)), (2**31 - 2**shift) // (int(distance.max()) + 1)))
    rounding = (1 << shift >> 1) + int(rng.choice([0, 3]))
    table = np.round(255 * np.exp(-12 * np.arange(256) / 255)).astype(np.uint8)
    e = table[np.minimum(255, (distance * mult + rounding) >> shift)]
    q_stride, keys_stride = k + int(rng.integers(0, 4)), 4 * ((k + 1) // 2) + 4 * int(rng.integers(0, 3))
    integers = {"m": m, "n": n, "k": k, "q_stride": q_stride, "keys_stride": keys_stride}
    integers |= {"e_stride": n + int(rng.integers(0, 3)), "round": rounding, "shift": shift}
    operands = {"q": rows(q, q_stride), "keys": pairs(keys, keys_stride), "mult": s32([mult]), "table": table.tobytes()}
    as_panels = op == "probs_panels"
    after = panels(e) if as_panels else rows(e, integers["e_stride"])
    before = bytes(len(after)) if as_panels else rows(np.zeros_like(e), integers["e_stride"])
    operands |= {"e": before, "sum": bytes(4 * m)}
    expected = {"e": after, "sum": s32(e.astype(np.int64).sum(axis=1))}
    return Case(integers, operands, expected, ("q",) if as_panels else ("q", "e"), "scratch")


def attend(op, m, n, k, rng, extreme):
    """An attend call; every row has a 255, as probs leaves it."""
    e = np.full((m, k), 255) if extreme else rng.integers(0, 256, (m, k))
    e[np.arange(m), rng.integers(0, k, m)] = 255
    e, values = e.astype(np.uint8), int8(rng, (n, k), extreme)
    sums = e.astype(np.int64).sum(axis=1)
    acc = e.astype(np.int64) @ values.T.astype(np.int64)
    preshift, shift, scale = (
        int(rng.choice([0, 0, 1, 4])),
        int(rng.choice([12, 20, 22])),
        int(rng.integers(10**3, 10**8)),
    )
    rounding = (int(rng.integers(-10, 10)) << shift) + (1 << shift >> 1) + int(rng.choice([0, 0, 345]))
    while True:
        product = ((acc + (1 << preshift >> 1)) >> preshift) * ((scale + sums // 2) // sums)[:, None]
        if np.abs(product).max() + abs(rounding) + 10**6 < 2**31:
            break
        scale //= 2
    e_stride, values_stride = k + int(rng.integers(0, 4)), 4 * ((k + 1) // 2) + 4 * int(rng.integers(0, 3))
    extra = int(rng.integers(0, 3))
    integers = {"m": m, "n": n, "k": k, "e_stride": e_stride, "values_stride": values_stride}
    integers |= {"round": rounding, "preshift": preshift, "shift": shift}
    as_panels = op.endswith("panels")
    operands = {"e": panels(e) if as_panels else rows(e, e_stride), "values": pairs(values, values_stride)}
    operands |= {"sum": s32(sums), "scale": s32([scale])}
    if "add" in op:
        integers["y_stride"] = 4 * (n + extra)
        start = rng.integers(-(10**6), 10**6, (m, n))
        before, after = (rows(v.astype(np.int32), 4 * (n + extra)) for v in (start, start + product))
    else:
        integers["y_stride"] = n + extra
        y = sat8((product + rounding) >> shift)
        before, after = (rows(v, n + extra) for v in (np.zeros_like(y), y))
    operands["y"] = before
    unaligned = (() if as_panels else ("e",)) + (() if "add" in op else ("y",))
    return Case(integers, operands, {"y": after}, unaligned, "scratch")


def narrow(op, m, n, k, rng, extreme):
    """int32 accumulators to int8."""
    x, bias, mult = rng.integers(-(10**5), 10**5, (m, n)), rng.integers(-999, 999, n), rng.integers(1, 2000, n)
    preshift = int(rng.choice([0, 1, 3]))
    y = sat8((((x + bias) >> preshift) * mult + 12345) >> 15)
    integers = {"m": m, "n": n, "x_stride": 4 * n + 8, "y_stride": n + 1, "round": 12345, "shift": 15}
    integers["preshift"] = preshift
    operands = {"x": rows(x.astype(np.int32), 4 * n + 8), "channel": s32(np.stack([bias, mult], 1))}
    return Case(integers, operands | {"y": rows(np.zeros_like(y), n + 1)}, {"y": rows(y, n + 1)}, ("y",))


def zero(op, m, n, k, rng, extreme):
    """n int32 set to zero."""
    return Case({"n": n}, {"y": rng.bytes(4 * n)}, {"y": bytes(4 * n)})


def pack_keys(op, m, n, k, rng, extreme):
    """Rows to pairs."""
    x, x_stride, y_stride = int8(rng, (m, k), extreme), k + 2, 4 * ((k + 1) // 2) + 4
    before, after = (pairs(v, y_stride) for v in (np.zeros_like(x), x))
    integers = {"m": m, "k": k, "x_stride": x_stride, "y_stride": y_stride}
    return Case(integers, {"x": rows(x, x_stride), "y": before}, {"y": after}, ("x",))


def layernorm(op, m, n, k, rng, extreme):
    """One number at a time, in Python integers."""
    x, epsilon = int8(rng, (m, n), extreme), int(rng.integers(1, 5000))
    x[0] = x[0, 0]  # a constant row, and one that is nearly so: V is epsilon or a little more
    x[-1, 1:] = x[-1, 0] // 2
    guard, shift = max(0, int(np.ceil(np.log2(np.sqrt(n))))), 14
    mult, rounding = rng.integers(-900, 900, n), rng.integers(-(2**18), 2**18, n)
    y = np.zeros((m, n), np.int8)
    for r in range(m):
        total, squares = int(x[r].sum(dtype=np.int64)), int((x[r].astype(np.int64) ** 2).sum())
        v, t = n * squares - total * total + epsilon, 0
        while v << 2 * (t + 1) < 1 << 30:
            t += 1
        root = int(np.floor(np.sqrt(float(v << 2 * t))))
        recip = ((1 << 29) + root // 2) // root
        for c in range(n):
            a = (((n * int(x[r, c]) - total) << t) + ((1 << guard) >> 1)) >> guard
            h = (a * recip + (1 << (16 - guard))) >> (17 - guard)
            y[r, c] = max(-128, min(127, (h * int(mult[c]) + int(rounding[c])) >> shift))
    integers = {
        "m": m,
        "n": n,
        "x_stride": n + 1,
        "y_stride": n + 2,
        "epsilon": epsilon,
        "guard": guard,
        "shift": shift,
    }
    operands = {"x": rows(x, n + 1), "channel": s32(np.stack([mult, rounding], 1)), "y": rows(np.zeros_like(y), n + 2)}
    return Case(integers, operands, {"y": rows(y, n + 2)}, ("x", "y"))


def lut(op, m, n, k, rng, extreme):
    """A table of 256."""
    x, table = int8(rng, n, extreme), rng.integers(-128, 128, 256).astype(np.int8)
    operands = {"x": x.tobytes(), "table": table.tobytes(), "y": bytes(n)}
    return Case({"n": n}, operands, {"y": table[x.astype(int) + 128].tobytes()}, ("x", "y"))


def add(op, m, n, k, rng, extreme):
    """A residual sum, with multipliers of 16 and of more bits."""
    a, b = int8(rng, n, extreme), int8(rng, n, extreme)
    shift, most = [(14, 32767), (14, 40000), (13, 9000), (20, 1 << 21)][rng.integers(4)]
    mult_a, mult_b = (int(v) for v in rng.choice([-most, -1, 0, most // 3, most], 2))
    rounding = (int(rng.integers(-90, 90)) << shift) + (1 << shift >> 1)
    z = {"mult_a": mult_a, "mult_b": mult_b, "round": rounding, "shift": shift}
    y = sat8((a.astype(np.int64) * mult_a + b.astype(np.int64) * mult_b + rounding) >> shift)
    return Case({"n": n, **z}, {"a": a.tobytes(), "b": b.tobytes(), "y": bytes(n)}, {"y": y.tobytes()}, ("a", "b", "y"))


def mean(op, m, n, k, rng, extreme):
    """A pooled row; every fourth one of so many rows that their sums pass 16 bits."""
    m = m * 67 if extreme else m
    x = np.full((m, n), -128, np.int8) if extreme and m % 2 else int8(rng, (m, n), extreme)
    mult = int(rng.integers(1, 3000))
    y = sat8((x.sum(axis=0, dtype=np.int64) * mult + 999) >> 14)
    integers = {"m": m, "n": n, "x_stride": n + 3, "mult": mult, "round": 999, "shift": 14}
    return Case(integers, {"x": rows(x, n + 3), "y": bytes(n)}, {"y": y.tobytes()}, ("x", "y"))


def case_of(op: str, m: int, n: int, k: int, seed: int) -> Case:
    """A random call of an op at these sizes; one in four has operands at the ends of int8."""
    rng = np.random.default_rng([seed, m, n, k])
    if op in ("linear_keys", "linear_values"):
        n += n % 2
    if op in ("narrow", "zero", "layernorm", "lut", "add", "mean"):
        n = k  # long rows: these have no depth
    family = op.split("_")[0] if op.startswith(("linear", "probs", "attend")) else op
    return globals()[family](op, m, n, k, rng, seed % 4 == 0)
