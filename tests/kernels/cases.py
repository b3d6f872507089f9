"""Kernel calls with known answers: operands as bytes in the header's layouts, and what every operand must hold after.

The answers are written from tileformer.h with int64 numpy, independently of the C and of dse/quant.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from dse.kernel import kernels_root
from dse.layout import RIGHT, is_high

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


def quads(matrix, stride):
    """(columns, depth) int8 as `quads` with this stride: words not described by the header hold 0x33."""
    columns, depth = matrix.shape
    out = np.full((-(-columns // 4), stride), 0x33, np.uint8)
    wide = np.zeros((columns + columns % 2, depth + depth % 2), np.int64)
    wide[:columns, :depth] = matrix
    for c in range(0, columns, 2):
        for d in range(0, depth + depth % 2):
            value = int(wide[c, d] + 256 * wide[c + 1, d]) & 0xFFFF
            at = d // 2 * 8 + c % 4 // 2 * 4 + d % 2 * 2
            out[c // 4, at : at + 2] = value & 255, value >> 8
    return out.tobytes()[: (len(out) - 1) * stride + 8 * ((depth + 1) // 2)]


def pairs(matrix, stride):
    """(columns, depth) int8 as `pairs` with this stride: words that mean nothing hold 0x33."""
    columns, depth = matrix.shape
    out = np.full((-(-columns // 4), stride), 0x33, np.uint8)
    for c in range(columns):
        for d in range(depth + depth % 2):
            value = int(matrix[c, d]) & 0xFFFF if d < depth else 0
            at = d // 2 * 16 + c % 4 * 4 + d % 2 * 2
            out[c // 4, at : at + 2] = value & 255, value >> 8
    return out.tobytes()[: (len(out) - 1) * stride + 16 * ((depth + 1) // 2)]


def blocks(matrix, stride):
    """(columns, depth) int8 as `blocks` with this stride; edges are padded with zeros."""
    columns, depth = matrix.shape
    out = np.full((-(-columns // 4), stride), 0x33, np.uint8)
    out[:, : 16 * ((depth + 3) // 4)] = 0
    for c in range(columns):
        for d in range(depth):
            out[c // 4, d // 4 * 16 + c % 4 * 4 + d % 4] = int(matrix[c, d]) & 255
    return out.tobytes()[: (len(out) - 1) * stride + 16 * ((depth + 3) // 4)]


def in_columns(kernel):
    """True when the kernel reads and writes right-hand operands that are no weights as `columns`."""
    return RIGHT[kernel.layout].written == "columns"


def right(kernel, matrix, stride):
    """A right-hand operand, not of weights, as the kernel reads or writes it."""
    return rows(matrix, stride, 0x33) if in_columns(kernel) else quads(matrix, stride)


def right_stride(kernel, depth, rng):
    """A legal stride of it."""
    extra = int(rng.integers(0, 3))
    return depth + extra if in_columns(kernel) else 8 * ((depth + 1) // 2) + 4 * extra


def weights(kernel, matrix, rng):
    """(bytes, stride) of weights in the layout of the kernel."""
    if kernel.layout == "pairs":
        stride = 16 * ((matrix.shape[1] + 1) // 2) + 4 * int(rng.integers(0, 3))
        return pairs(matrix, stride), stride
    if kernel.layout == "blocks":
        stride = 16 * ((matrix.shape[1] + 3) // 4) + 4 * int(rng.integers(0, 3))
        return blocks(matrix, stride), stride
    stride = right_stride(kernel, matrix.shape[1], rng)
    return right(kernel, matrix, stride), stride


def panels_stride(depth, rng):
    """A legal stride of panels."""
    return 8 * ((depth + 1) // 2) + 4 * int(rng.integers(0, 3))


def panels(matrix, stride):
    """(m, k) as `panels`; bytes the header does not describe hold 0x5A."""
    m, k = matrix.shape
    out = np.full(((m + 1) // 2, stride), 0x5A, np.uint8)
    for r in range(m):
        for d in range(k + k % 2):
            value = int(matrix[r, d]) & 0xFFFF if d < k else 0
            at = d // 2 * 8 + r % 2 * 4 + d % 2 * 2
            out[r // 2, at : at + 2] = value & 255, value >> 8
    return out.tobytes()[: (len(out) - 1) * stride + 8 * ((k + 1) // 2)]


def channel(kernel, bias, mult, high, shift):
    """Channel parameters in the layout of the kernel."""
    if in_columns(kernel):
        edge = np.zeros((-len(bias) % RIGHT[kernel.layout].group, 2), np.int64)
        return s32(np.concatenate([np.stack([bias, mult], 1), edge]))
    words = np.zeros(8 * (-(-len(bias) // 4)), np.int64)
    for c in range(len(bias)):
        odd = c % 2 if kernel.layout == "quads" else 0
        words[c // 4 * 8 + c % 4] = 256 * bias[c] + bias[c - 1] if odd else bias[c]
        words[c // 4 * 8 + 4 + c % 4] = mult[c] << ((24 if odd else 32) - shift) if high else mult[c]
    return ((words + 2**31) % 2**32 - 2**31).astype(np.int32).tobytes()


def left(kernel, field, matrix, integers, rng):
    """A left-hand operand as rows or, where the variant reads them and a coin says so, panels; sets its integers."""
    k = matrix.shape[1]
    as_panels = not in_columns(kernel) and rng.random() < 0.5
    integers |= {f"{field}_panels": int(as_panels)}
    integers |= {f"{field}_stride": panels_stride(k, rng) if as_panels else k + int(rng.integers(0, 4))}
    return (panels if as_panels else rows)(matrix, integers[f"{field}_stride"])


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


def int8(rng, shape, extreme, low=-128):
    return rng.choice([low, 127], shape).astype(np.int8) if extreme else rng.integers(low, 128, shape).astype(np.int8)


def biases(rng, acc):
    """Biases for the columns of these (m, n) sums of products."""
    return rng.integers(-3000, 3000, acc.shape[1])


def linear(kernel, m, n, k, rng, extreme):
    """A linear call; shift, pre-shift and rounding vary so that every form of requantisation is taken."""
    op = kernel.op
    x, w = int8(rng, (m, k), extreme), int8(rng, (n, k), extreme, -127)
    acc = x.astype(np.int64) @ w.T.astype(np.int64)
    bias = biases(rng, acc)
    preshift, shift = int(rng.choice([0, 0, 0, 2, 5])), int(rng.choice([8, 14, 17, 20, 22]))
    room = (2**31 - 2**shift * 200) // (int(np.abs(acc + bias).max() >> preshift) + 2)
    limit = max(1, min(room, int(2**shift * 300 / (np.abs(acc).max() / 2**preshift + 1))))
    mult = rng.integers(1, limit + 1, n)
    mult[: int(rng.integers(0, 2))] = 0
    rounding = (int(rng.integers(-90, 90)) << shift) + (1 << shift >> 1) + int(rng.choice([0, 0, 77]))
    high = int(not in_columns(kernel) and is_high(mult, rounding, preshift, shift))
    y = sat8((((acc + bias) >> preshift) * mult + rounding) >> shift)
    weight, w_stride = weights(kernel, w, rng)
    integers = {"m": m, "n": n, "k": k, "w_stride": w_stride}
    integers |= {"round": rounding, "preshift": preshift, "shift": shift, "high": high}
    operands = {"x": left(kernel, "x", x, integers, rng), "w": weight}
    operands["channel"] = channel(kernel, bias, mult, high, shift)
    free = ("x",) if not integers["x_panels"] else ()
    case = Case(integers, operands, unaligned=(*free, *(("y", "r") if op.endswith(("rows", "residual")) else ())))
    case.scratch = "scratch"
    extra = int(rng.integers(0, 3))
    if op == "linear_residual":
        r = int8(rng, (m, n), extreme)
        add_shift = int(rng.choice([14, 14, 13]))
        z = {  # multipliers of 16 bits, at their end, and beyond
            "mult_y": int(rng.choice([rng.integers(0, 9000), rng.integers(9000, 32767), 32767, 32768])),
            "mult_r": int(rng.choice([rng.integers(0, 9000), rng.integers(9000, 32767), 32767, 40000])),
            "add_round": (int(rng.integers(-90, 90)) << add_shift) + (1 << add_shift >> 1),
            "add_shift": add_shift,
        }
        integers |= {"r_stride": n + int(rng.integers(0, 3)), **z}
        operands["r"] = rows(r, integers["r_stride"])
        y = sat8(
            (y.astype(np.int64) * z["mult_y"] + r.astype(np.int64) * z["mult_r"] + z["add_round"]) >> z["add_shift"]
        )
    if op in ("linear_rows", "linear_residual"):
        integers["y_stride"] = n + extra
        before, after = rows(np.zeros_like(y), n + extra, 0x11), rows(y, n + extra, 0x11)
    elif op == "linear_add":
        integers["y_stride"] = 4 * (n + extra)
        start = rng.integers(-(10**6), 10**6, (m, n))
        before, after = (rows(v.astype(np.int32), 4 * (n + extra)) for v in (start, start + acc))
    elif op == "linear_panels":
        integers["y_stride"] = panels_stride(n, rng)
        before, after = (panels(v, integers["y_stride"]) for v in (np.zeros_like(y), y))
    else:
        y = np.maximum(y, -127)
        matrix = y if op == "linear_keys" else y.T
        integers["y_stride"] = right_stride(kernel, matrix.shape[1], rng)
        before, after = (right(kernel, v, integers["y_stride"]) for v in (np.zeros_like(matrix), matrix))
    operands["y"], case.expected["y"] = before, after
    return case


def probs(kernel, m, n, k, rng, extreme):
    """A probs call, from nearly flat to nearly one-hot rows."""
    q, keys = int8(rng, (m, k), extreme), int8(rng, (n, k), extreme, -127)
    score = q.astype(np.int64) @ keys.T.astype(np.int64)
    shift, bound = int(rng.choice([6, 12, 18])), 128 * 127 * k
    limit = min((2**31 - 2**shift - 1) // bound, (2**15 - 257) * 2**shift // bound, (1 << shift >> 1) - 1)
    reach = int(np.abs(score).max()) + 1
    mult = max(1, min(int(rng.choice([1, 30, 300]) * 2**shift / reach), limit))
    table = np.round(255 * np.exp(-12 * np.arange(256) / 255)).astype(np.uint8)
    step = ((1 << shift >> 1) - score * mult) >> shift
    e = table[np.minimum(255, step - step.min(axis=1, keepdims=True))]
    integers = {"m": m, "n": n, "k": k, "keys_stride": right_stride(kernel, k, rng), "shift": shift}
    operands = {"q": left(kernel, "q", q, integers, rng), "keys": right(kernel, keys, integers["keys_stride"])}
    operands |= {"mult": s32([mult]), "table": table.tobytes(), "sum": bytes(4 * m)}
    as_panels = kernel.op == "probs_panels"
    integers["e_stride"] = panels_stride(n, rng) if as_panels else n + int(rng.integers(0, 3))
    place = panels if as_panels else rows
    operands["e"] = place(np.zeros_like(e), integers["e_stride"])
    expected = {"e": place(e, integers["e_stride"]), "sum": s32(e.astype(np.int64).sum(axis=1))}
    free = (*(() if integers["q_panels"] else ("q",)), *(() if as_panels else ("e",)))
    return Case(integers, operands, expected, free, "scratch")


def attend(kernel, m, n, k, rng, extreme):
    """An attend call; every row has a 255, as probs leaves it."""
    e = np.full((m, k), 255) if extreme else rng.integers(0, 256, (m, k))
    e[np.arange(m), rng.integers(0, k, m)] = 255
    e, values = e.astype(np.uint8), int8(rng, (n, k), extreme, -127)
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
    extra = int(rng.integers(0, 3))
    integers = {"m": m, "n": n, "k": k, "values_stride": right_stride(kernel, k, rng)}
    integers |= {"round": rounding, "preshift": preshift, "shift": shift}
    operands = {"e": left(kernel, "e", e, integers, rng), "values": right(kernel, values, integers["values_stride"])}
    operands |= {"sum": s32(sums), "scale": s32([scale])}
    y = sat8((product + rounding) >> shift)
    if kernel.op == "attend_add":
        integers["y_stride"] = 4 * (n + extra)
        start = rng.integers(-(10**6), 10**6, (m, n))
        before, after = (rows(v.astype(np.int32), 4 * (n + extra)) for v in (start, start + product))
    elif kernel.op == "attend_panels":
        integers["y_stride"] = panels_stride(n, rng)
        before, after = (panels(v, integers["y_stride"]) for v in (np.zeros_like(y), y))
    else:
        integers["y_stride"] = n + extra
        before, after = (rows(v, n + extra) for v in (np.zeros_like(y), y))
    operands["y"] = before
    free = (*(() if integers["e_panels"] else ("e",)), *(("y",) if kernel.op == "attend_rows" else ()))
    return Case(integers, operands, {"y": after}, free, "scratch")


def narrow(kernel, m, n, k, rng, extreme):
    """int32 accumulators to int8."""
    x, bias, mult = rng.integers(-(10**5), 10**5, (m, n)), rng.integers(-999, 999, n), rng.integers(1, 2000, n)
    preshift = int(rng.choice([0, 1, 3]))
    y = sat8((((x + bias) >> preshift) * mult + 12345) >> 15)
    integers = {"m": m, "n": n, "x_stride": 4 * n + 8, "y_stride": n + 1, "round": 12345, "shift": 15}
    integers["preshift"] = preshift
    operands = {"x": rows(x.astype(np.int32), 4 * n + 8), "channel": s32(np.stack([bias, mult], 1))}
    return Case(integers, operands | {"y": rows(np.zeros_like(y), n + 1)}, {"y": rows(y, n + 1)}, ("y",))


def zero(kernel, m, n, k, rng, extreme):
    """n int32 set to zero."""
    return Case({"n": n}, {"y": rng.bytes(4 * n)}, {"y": bytes(4 * n)})


def pack_keys(kernel, m, n, k, rng, extreme):
    """Rows to the right-hand operand."""
    x, x_stride, y_stride = int8(rng, (m, k), extreme), k + 2, right_stride(kernel, k, rng)
    before, after = (right(kernel, v, y_stride) for v in (np.zeros_like(x), np.maximum(x, -127)))
    integers = {"m": m, "k": k, "x_stride": x_stride, "y_stride": y_stride}
    return Case(integers, {"x": rows(x, x_stride), "y": before}, {"y": after}, ("x",))


def pack_panels(kernel, m, n, k, rng, extreme):
    """Rows to panels."""
    x, x_stride, y_stride = int8(rng, (m, k), extreme), k + 2, panels_stride(k, rng)
    before, after = (panels(v, y_stride) for v in (np.zeros_like(x), x))
    integers = {"m": m, "k": k, "x_stride": x_stride, "y_stride": y_stride}
    return Case(integers, {"x": rows(x, x_stride), "y": before}, {"y": after}, ("x",))


def pack_rows(kernel, m, n, k, rng, extreme):
    """Rows further apart."""
    x, x_stride, y_stride = int8(rng, (m, k), extreme), k + 2, k + int(rng.integers(0, 9))
    integers = {"m": m, "k": k, "x_stride": x_stride, "y_stride": y_stride}
    return Case(
        integers, {"x": rows(x, x_stride), "y": rows(np.zeros_like(x), y_stride)}, {"y": rows(x, y_stride)}, ("x",)
    )


def layernorm(kernel, m, n, k, rng, extreme):
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


def lut(kernel, m, n, k, rng, extreme):
    """A table of 256."""
    x, table = int8(rng, n, extreme), rng.integers(-128, 128, 256).astype(np.int8)
    operands = {"x": x.tobytes(), "table": table.tobytes(), "y": bytes(n)}
    return Case({"n": n}, operands, {"y": table[x.astype(int) + 128].tobytes()}, ("x", "y"))


def add(kernel, m, n, k, rng, extreme):
    """A residual sum, with multipliers of 16 and of more bits."""
    a, b = int8(rng, n, extreme), int8(rng, n, extreme)
    shift, most = [(14, 32767), (14, 40000), (13, 9000), (20, 1 << 21)][rng.integers(4)]
    mult_a, mult_b = (int(v) for v in rng.choice([-most, -1, 0, most // 3, most], 2))
    rounding = (int(rng.integers(-90, 90)) << shift) + (1 << shift >> 1)
    z = {"mult_a": mult_a, "mult_b": mult_b, "round": rounding, "shift": shift}
    y = sat8((a.astype(np.int64) * mult_a + b.astype(np.int64) * mult_b + rounding) >> shift)
    return Case({"n": n, **z}, {"a": a.tobytes(), "b": b.tobytes(), "y": bytes(n)}, {"y": y.tobytes()}, ("a", "b", "y"))


def mean(kernel, m, n, k, rng, extreme):
    """A pooled row; every fourth one of so many rows that their sums pass 16 bits."""
    m = min(m, 11) * 67 if extreme else m  # fits the RAM of every board
    x = np.full((m, n), -128, np.int8) if extreme and m % 2 else int8(rng, (m, n), extreme)
    mult = int(rng.integers(1, 3000))
    y = sat8((x.sum(axis=0, dtype=np.int64) * mult + 999) >> 14)
    integers = {"m": m, "n": n, "x_stride": n + 3, "mult": mult, "round": 999, "shift": 14}
    return Case(integers, {"x": rows(x, n + 3), "y": bytes(n)}, {"y": y.tobytes()}, ("x", "y"))


def serves(kernel, m: int, n: int, k: int) -> bool:
    """Whether these sizes are within the contract of the variant."""
    bound = (255 if kernel.op.startswith("attend") else 128) * 127 * k
    return kernel.serves({"bound": bound, "mult": 1, "half": 2, "steps": 1, "n": n, "k": k})


def served(kernel, m: int, n: int, k: int) -> list[tuple[int, int, int]]:
    """The sizes, with another depth or else another width where the contract of the variant asks; [] if that helps not."""
    sizes = (m, n, k), (m, n, 1 + k % 2), (m, n, 3 + k % 6), (m, 1 + n % 2, k), (m, n, 260 + 7 * k)
    return [size for size in sizes if serves(kernel, *size)][:1]


def case_of(kernel, m: int, n: int, k: int, seed: int) -> Case:
    """A random call of a variant at these sizes; one in four has operands at the ends of int8."""
    rng = np.random.default_rng([seed, m, n, k])
    op = kernel.op
    if op in ("linear_keys", "linear_panels", "attend_panels"):
        n += n % 2
    if op in ("narrow", "zero", "layernorm", "lut", "add", "mean"):
        n = k  # long rows: these have no depth
    family = op.split("_")[0] if op.startswith(("linear", "probs", "attend")) else op
    return globals()[family](kernel, m, n, k, rng, seed % 4 == 0)
