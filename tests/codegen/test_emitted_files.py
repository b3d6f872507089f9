"""The files copied into an emitted project are all that its sources include."""

from __future__ import annotations

import re

import pytest

from codegen.emit import _copied_files
from dse.kernel import load_kernels
from dse.target import load_target

KERNELS = load_kernels()


@pytest.mark.parametrize(
    "name", ["probs_rows_smlad2x4m7", "attend_rows_smlad2x4m7", "linear_rows_smlad2x4", "linear_rows_smlad4x2m7"]
)
def test_what_a_kernel_includes_is_copied_with_it(name):
    files = _copied_files(list(KERNELS[name].sources), load_target("stm32h743"))
    own = {path: text for path, text in files.items() if path.startswith("kernels/arm")}
    copied = {path.rsplit("/", 1)[-1] for path in files}
    included = {name for text in own.values() for name in re.findall(r'^#include "(?:.*/)?([^"/]+)"', text, re.M)}
    assert len(included) >= 3
    assert included <= copied
