"""Emitted projects as kernels/port/gap9-pmsis/README.md builds them, against the stub of PMSIS: they compile, and run."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from codegen.build import WARNINGS, build, find_toolchains
from dse import execute, pipeline
from dse.kernel import kernels_root
from dse.pareto import Point

STUB = Path(__file__).parent / "pmsis_stub"
PORT = kernels_root() / "port" / "gap9-pmsis" / "port.c"
APP = """
#include "pmsis.h"
uint8_t *stub_l1 = (uint8_t *)0x10000000, *stub_l2 = (uint8_t *)0x1C000000;
uint32_t stub_core, stub_cores = 8, stub_barriers, stub_waits, stub_2d, stub_cycles;
int printf(const char *format, ...) { return format != 0; }
"""


@pytest.fixture(scope="module", params=[("tr_hgr", "block"), ("digits", "encoder")], ids="-".join)
def project(request, tmp_path_factory):
    """(house, run folder with a project, everything of it that an SDK compiles, include folders)."""
    model, scope = request.param
    house = pipeline.prepare(model, "gap9", scope=scope)
    schedule = next(iter(house.space.schedules()))
    folder = tmp_path_factory.mktemp(model)
    execute.write_run_folder(house, Point(schedule, house.price(schedule)), folder)
    src = folder / "src"
    sources = [src / "network.c", src / "weights.c", PORT]
    sources += sorted(path for path in (src / "kernels").rglob("*") if path.suffix in (".c", ".S"))
    kernels = sorted({path.parent for path in (src / "kernels").rglob("*.*")})
    return house, folder, sources, [src, src / "port", *kernels, STUB, STUB / "bare"]


@pytest.mark.parametrize("toolchain", find_toolchains("xpulpv2"), ids=lambda toolchain: toolchain.name)
def test_it_compiles_with_the_flags_of_the_page(project, toolchain, tmp_path):
    _, _, sources, include = project
    flags = ["-O3", "-fno-strict-aliasing", "-DTLF_ARENA_L1=PI_L1", *WARNINGS, *(f"-I{path}" for path in include)]
    for source in sources:
        first = ["-include", "pmsis.h"] if source.suffix == ".c" else []
        command = [*toolchain.command, *flags, *first, "-c", str(source), "-o", str(tmp_path / f"{source.name}.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert b".data_l1" in (tmp_path / "network.c.o").read_bytes()
    assert b".tlf_arena" not in (tmp_path / "network.c.o").read_bytes()


def test_kernels_need_no_directive_that_old_assemblers_lack():
    for path in sorted((kernels_root() / "xpulpv2").iterdir()):
        assert not re.search(r"^\s*\.insn", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_it_runs_bit_exact_through_the_calls_of_pmsis(project, tmp_path):
    house, folder, sources, include = project
    (tmp_path / "app.c").write_text(APP)
    bare = folder / "src" / "port" / "gap9"
    start = [
        folder / "src" / "main.c",
        bare / "start.S",
        folder / "src" / "port" / "rv32" / "memory.S",
        tmp_path / "app.c",
    ]
    elf = tmp_path / "firmware.elf"
    script = bare / "link.ld"
    build([*sources, *start], [*include, bare], elf, linker_script=script, isa="xpulpv2")
    prediction = json.loads((folder / "cost.json").read_text())
    with np.load(folder / "samples.npz") as samples:
        inputs, expected = samples["inputs"][:2], samples["expected"][:2]
    stages = [stage["name"] for stage in prediction["stages"]]
    result = execute.execute(elf, stages, ("l1",), house.target, inputs, expected, "zig")
    assert result.bit_exact
    assert result.canaries_intact
