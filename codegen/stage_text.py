"""The loop tree of a stage as C text: loops, kernel calls, parallel regions, copies. It knows no op and no size."""

from __future__ import annotations

from collections.abc import Container, Mapping

from codegen.names import unique_identifiers
from dse.kernel import Kernel
from dse.program import Affine, Axis, Call, Copy, Fetch, Loop, Node, Parallel, Pointer, Program, Stage, affine, symbol

PAD = "    "


class Names:
    """C expressions for the pointers of one program, and the argument records of its kernels."""

    def __init__(self, program: Program, kernels: Mapping[str, Kernel]) -> None:
        self.records = {call.kernel: kernels[call.kernel].args for call in program.calls()}
        self.buffers = unique_identifiers([b.name for b in program.buffers], "tlf_buffer_")
        self.constants = unique_identifiers([c.name for c in program.constants], "tlf_const_")

    def pointer(self, pointer: Pointer) -> str:
        """The address as a C expression."""
        if pointer.base in self.constants:
            return f"TLF_AT_CONST({self.constants[pointer.base]}, {pointer.offset_bytes})"
        return f"TLF_AT({self.buffers[pointer.base]}, {pointer.offset_bytes})"

    def copy(self, fetch: Fetch) -> str:
        """A call that starts the copy."""
        return f"tlf_port_copy({self.pointer(fetch.dst)}, {self.pointer(fetch.src)}, {fetch.size_bytes})"

    def load(self, load: Fetch) -> str:
        """A call that starts a load from external memory."""
        return f"tlf_port_load({self.pointer(load.dst)}, {self.pointer(load.src)}, {load.size_bytes})"

    def move(self, copy: Copy) -> str:
        """A statement that makes a copy and waits for it."""
        sizes = f"{copy.rows}, {copy.row_bytes}, {copy.stride_bytes}"
        source, target = self.pointer(copy.src), self.pointer(copy.dst)
        return f"tlf_port_copy_wait(tlf_port_copy_rows({target}, {source}, {sizes}));"


class StageText:
    """The C of one stage: `lines` of its function, and the `regions` it runs on several cores as functions of their own."""

    def __init__(self, stage: Stage, function: str, names: Names) -> None:
        self.names, self.function, self.stage = names, function, stage.name
        self._on_one_core = True
        self.regions: list[str] = []
        self.lines = self._body(stage.body, 1, ())

    def _body(self, body: tuple[Node, ...], depth: int, bound: tuple[str, ...]) -> list[str]:
        lines: list[str] = []
        for node in body:
            if isinstance(node, Loop):
                lines += self._loop(node, depth, bound)
            elif isinstance(node, Parallel):
                lines.append(PAD * depth + self._parallel(node, bound))
            elif isinstance(node, Copy):
                lines.append(PAD * depth + self.names.move(node))
            else:
                lines += self._call(node, depth)
        return lines

    def _loop(self, loop: Loop, depth: int, bound: tuple[str, ...]) -> list[str]:
        pad, var, extent = PAD * depth, loop.var, str(loop.extent)
        head = f"TLF_ROLLED for (int32_t {var} = 0; {var} < {extent}; {var} += {loop.step}) {{"
        size = []
        if f"{var}_n" in _symbols(loop.body):
            size = [f"{pad}{PAD}const int32_t {var}_n = TLF_MIN({loop.step}, {extent} - {var});"]
        if not loop.fetch:
            inner = (*bound, var, *((f"{var}_n",) if size else ()))
            return [pad + head, *size, *self._body(loop.body, depth + 1, inner), pad + "}"]
        inner = (*bound, var, f"{var}_slot", *((f"{var}_n",) if size else ()))
        before, turn = self._fetch(loop, depth + 1)
        turns = [PAD + line for line in size] + turn + self._body(loop.body, depth + 2, inner)
        after = f"{pad}{PAD * 2}{var}_slot = 1 - {var}_slot;"
        return [
            pad + "{",
            *before,
            pad + PAD + head,
            *turns,
            after,
            pad + PAD + "}",
            pad + "}",
        ]  # a scope: loops share names

    def _fetch(self, loop: Loop, depth: int) -> tuple[list[str], list[str]]:
        """Lines before a loop that start the copies of its first step, and lines of a step: wait, start the next ones."""
        pad, var, step, extent = PAD * depth, loop.var, loop.step, str(loop.extent)
        first = {var: affine(0), f"{var}_n": symbol(f"{var}_first"), f"{var}_slot": affine(0)}
        following = {var: symbol(var) + step, f"{var}_n": symbol(f"{var}_next"), f"{var}_slot": _other(var)}
        starts = ", ".join(self.names.copy(_substitute(fetch, first)) for fetch in loop.fetch)
        before = [
            f"{pad}const int32_t {var}_first = TLF_MIN({step}, {extent});",
            f"{pad}int32_t {var}_slot = 0;",
            f"{pad}int32_t {var}_copies[] = {{{starts}}};",
        ]
        turn = [f"{pad}{PAD}tlf_port_copy_wait({var}_copies[{i}]);" for i in range(len(loop.fetch))]
        turn.append(f"{pad}{PAD}if ({var} + {step} < {extent}) {{")
        turn.append(f"{pad}{PAD * 2}const int32_t {var}_next = TLF_MIN({step}, {extent} - ({var} + {step}));")
        for i, fetch in enumerate(loop.fetch):
            turn.append(f"{pad}{PAD * 2}{var}_copies[{i}] = {self.names.copy(_substitute(fetch, following))};")
        return before, [*turn, f"{pad}{PAD}}}"]

    def _parallel(self, region: Parallel, bound: tuple[str, ...]) -> str:
        """The statement that runs a region; its function joins `regions`."""
        name = f"{self.function}_region{len(self.regions)}"
        self.regions.append("")  # keeps the place: regions print in the order of their calls
        index = len(self.regions) - 1
        used = [s for s in bound if s in _symbols((region,))]
        lines = [f"static void {name}(void *context, int32_t core, int32_t cores) {{", f"{PAD}(void)cores;"]
        lines += [f"{PAD}const int32_t *const outer = context;"] if used else [f"{PAD}(void)context;"]
        lines += [f"{PAD}const int32_t {s} = outer[{i}];" for i, s in enumerate(used)]
        inner = region.ways
        for axis in region.axes:
            inner //= axis.ways
            which = "core" if len(region.axes) == 1 else f"core / {inner} % {axis.ways}"
            lines += _share(axis, which, _symbols(region.body))
        shares = (name for axis in region.axes for name in (axis.var, f"{axis.var}_n"))
        self._on_one_core = False
        lines += self._body(region.body, 1, (*used, *shares, "core"))
        self._on_one_core = True
        self.regions[index] = "\n".join([*lines, "}"])
        context = f"(int32_t[]){{{', '.join(used)}}}" if used else "0"
        return f"tlf_port_parallel({name}, {context});"

    def _call(self, call: Call, depth: int) -> list[str]:
        pad = PAD * depth
        fields = [f".{name} = {self._argument(value)}" for name, value in call.arguments]
        return [
            f"{pad}tlf_{call.kernel}(&(const {self.names.records[call.kernel]}){{",
            *(f"{pad}{PAD}{line}" for line in _wrapped(fields)),
            f"{pad}}}); /* {call.source} */",
            *([f"{pad}{self._measured(call)}"] if self._on_one_core else []),
        ]

    def _measured(self, call: Call) -> str:
        """The line that reports the call's cycles when the project is built to measure."""
        integers = {name: str(value) for name, value in call.arguments if isinstance(value, Affine)}
        names = "".join(f"{name};" for name in integers)
        return f'TLF_MEASURED("{self.stage},{call.kernel}", "{names}", {", ".join(integers.values())});'

    def _argument(self, value: Pointer | Affine | None) -> str:
        if value is None:
            return "0"
        return self.names.pointer(value) if isinstance(value, Pointer) else str(value)


def _share(axis: Axis, which: str, used: Container[str]) -> list[str]:
    """Lines that bind a core's share of an axis, and leave when it has none. used: names that something reads."""
    var, extent = axis.var, str(axis.extent)
    whole = axis.grain * axis.ways
    if not axis.extent.terms and axis.extent.const % whole == 0 and which == "core":  # everyone has the same
        count = axis.extent.const // axis.ways
        shares = {var: f"{count} * core", f"{var}_n": str(count)}
        return [
            f"{PAD}if (core >= {axis.ways}) {{",
            f"{PAD * 2}return;",
            f"{PAD}}}",
            *(f"{PAD}const int32_t {name} = {share};" for name, share in shares.items() if name in used),
        ]
    return [
        f"{PAD}const int32_t {var} = tlf_share({extent}, {axis.grain}, {which}, {axis.ways});",
        f"{PAD}const int32_t {var}_n = tlf_share({extent}, {axis.grain}, {which} + 1, {axis.ways}) - {var};",
        f"{PAD}if ({var}_n == 0) {{",
        f"{PAD * 2}return;",
        f"{PAD}}}",
    ]


def _other(var: str) -> Affine:
    return symbol(f"{var}_slot") * -1 + 1


def _substitute(fetch: Fetch, values: Mapping[str, Affine]) -> Fetch:
    dst, src = (Pointer(p.base, p.offset_bytes.substitute(values)) for p in (fetch.dst, fetch.src))
    return Fetch(dst, src, fetch.size_bytes.substitute(values))


def _symbols(body: tuple[Node, ...]) -> set[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, Call):
            terms = [value.offset_bytes if isinstance(value, Pointer) else value for _, value in node.arguments]
            found |= {s for term in terms if term is not None for s, _ in term.terms}
            continue
        if isinstance(node, Copy):
            terms = [node.dst.offset_bytes, node.src.offset_bytes, node.rows, node.row_bytes]
            found |= {s for term in terms if term is not None for s, _ in term.terms}
            continue
        extents = [axis.extent for axis in node.axes] if isinstance(node, Parallel) else [node.extent]
        found |= {s for extent in extents for s, _ in extent.terms} | _symbols(node.body)
    return found


def _wrapped(fields: list[str]) -> list[str]:
    lines, line = [], ""
    for field in fields:
        if line and len(line) + len(field) > 100:
            lines.append(line)
            line = ""
        line += field + ", "
    return [text.rstrip() for text in (*lines, line)]
