"""The code of the kernels that one network can link: the largest of every family together stay under 24 KB."""

from collections import defaultdict

import pytest
from runners import firmware

from codegen.build import find_toolchains
from codegen.device.elf import parse_elf
from dse.kernel import load_kernels, runs_on
from dse.schedule import family_of
from dse.target import load_target

LIMIT_BYTES = 24 * 1024
TOGETHER = ("linear", "vector")  # families of which a network calls several ops; of the others it calls one
SHARED = "tlf_unpack_s8"  # linked once for all families


def _functions(kernels, target, toolchain, folder) -> dict[str, int]:
    """Function -> bytes of a program with these kernels, without those of the program itself."""
    sizes = {}
    for chosen, name in ((kernels, "all"), ((), "none")):
        (folder / name).mkdir(parents=True)
        symbols = parse_elf(firmware(chosen, target, toolchain, folder / name).read_bytes()).symbols
        sizes[name] = {symbol: s.size for symbol, s in symbols.items() if s.is_function}
    return {symbol: size for symbol, size in sizes["all"].items() if symbol not in sizes["none"]}


def _families(kernels, functions: dict[str, int]) -> dict[str, int]:
    """Family -> bytes: its kernels, or the largest of them, and the routines they share (named after the family)."""
    entries = {kernel.symbol: kernel for kernel in kernels}
    shared: dict[str, int] = defaultdict(int)
    own = defaultdict(list)
    for name, size in functions.items():
        if name.startswith(SHARED):
            shared["shared"] += size
            own["shared"].append(0)
        elif name in entries:
            own[family_of(entries[name].op)].append(size)
        else:
            family = family_of(name.removeprefix("tlf_"))
            shared[family if any(family == family_of(k.op) for k in kernels) else family_of(kernels[0].op)] += size
    return {f: shared[f] + (sum(sizes) if f in TOGETHER else max(sizes)) for f, sizes in own.items()}


@pytest.mark.parametrize("name", ["stm32l476", "stm32h743"])
def test_a_network_links_less_than_the_limit(tmp_path, name):
    target = load_target(name)
    toolchain = find_toolchains(target.isa)[0].name
    variants = defaultdict(list)
    for kernel in load_kernels().values():
        if runs_on(kernel, target.isa):
            variants[kernel.name.removeprefix(f"{kernel.op}_")].append(kernel)
    largest: dict[str, int] = defaultdict(int)
    for variant, kernels in variants.items():
        sizes = _families(kernels, _functions(kernels, target, toolchain, tmp_path / variant))
        largest |= {family: max(largest[family], size) for family, size in sizes.items()}
    assert set(largest) == {"linear", "probs", "attend", "vector", "shared"}
    assert sum(largest.values()) < LIMIT_BYTES, dict(largest)
