"""`.npz` files -> samples and labels. A stranger's data: never unpickled, sizes checked before anything is loaded."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from dse.ir import Array

MAX_BYTES = 256 * 1024 * 1024
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError)


def load_samples(path: Path, name: str, shape: Sequence[int]) -> Array:
    """Array `name` of an npz as float32 (count, *shape); ValueError says what is wrong and what is allowed."""
    values = _load(path, name)
    wanted = tuple(shape)
    if values.shape[1:] != wanted or values.ndim != len(wanted) + 1 or len(values) == 0:
        allowed = ", ".join(("count", *(str(n) for n in wanted)))
        raise ValueError(f"{path}: array {name!r} has shape {values.shape}; allowed is ({allowed}) with count ≥ 1")
    if values.dtype.kind != "f":
        raise ValueError(f"{path}: array {name!r} has dtype {values.dtype}; allowed is float32 (or another float)")
    with np.errstate(over="ignore"):
        samples = values.astype(np.float32)
    if not np.isfinite(samples).all():
        raise ValueError(f"{path}: array {name!r} holds NaN, infinity or more than float32 can; remove those samples")
    return samples


def load_labels(path: Path, count: int) -> Array:
    """Array `y` of an npz as int64 (count,), the labels of `count` samples."""
    values = _load(path, "y")
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: array 'y' is {values.dtype} of shape {values.shape}; allowed is ({count},) of integers, "
            "one label a sample"
        )
    return values.astype(np.int64)


def _load(path: Path, name: str) -> Array:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise ValueError(f"{path}: {what}; give an .npz with an array {name!r}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not an .npz file; write one with numpy.savez(file, {name}=array)")
    held = _members(path)
    if name not in held:
        raise ValueError(f"{path}: there is no array {name!r}; the file holds {', '.join(held) or 'nothing'}")
    _check_header(path, name)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except _BROKEN as error:
        raise ValueError(f"{path}: array {name!r} cannot be read ({error}); write the file again") from error


def _members(path: Path) -> list[str]:
    """The arrays an npz holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except _BROKEN as error:
        raise ValueError(f"{path}: not a readable .npz file ({error}); write the file again") from error


def _check_header(path: Path, name: str) -> None:
    """ValueError when the array is of Python objects or its header claims more than MAX_BYTES; reads no data."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            version = npy.read_magic(stream)
            reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = reader(stream)
    except _BROKEN as error:
        raise ValueError(f"{path}: array {name!r} has no readable header ({error}); write the file again") from error
    if dtype.hasobject:
        raise ValueError(f"{path}: array {name!r} holds Python objects, which are never unpickled; save numbers")
    size_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes > MAX_BYTES:
        raise ValueError(
            f"{path}: array {name!r} takes {size_bytes} bytes; allowed are {MAX_BYTES}; calibrate on fewer samples"
        )
