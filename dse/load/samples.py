"""`.npz` files -> samples and labels. A stranger's data: never unpickled, sizes checked before anything is loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from dse.ir import Array

MAX_BYTES = 256 * 1024 * 1024


def load_samples(path: Path, name: str, shape: Sequence[int]) -> Array:
    """Array `name` of an npz as float64 (count, *shape); ValueError says what is wrong and what is allowed."""
    values = _load(path, name)
    wanted = tuple(shape)
    if values.ndim != len(wanted) + 1 or values.shape[1:] != wanted or len(values) == 0:
        raise ValueError(f"{path}: array {name!r} has shape {values.shape}; allowed is (count, {_comma(wanted)})")
    if values.dtype.kind != "f":
        raise ValueError(f"{path}: array {name!r} has dtype {values.dtype}; allowed is float32 or float64")
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: array {name!r} holds NaN or infinity")
    return values.astype(np.float64)


def load_labels(path: Path, count: int) -> Array:
    """Array `y` of an npz as int64 (count,)."""
    values = _load(path, "y")
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise ValueError(f"{path}: array 'y' must hold {count} integer labels, got {values.dtype} {values.shape}")
    return values.astype(np.int64)


def _comma(shape: Sequence[int]) -> str:
    return ", ".join(str(n) for n in shape)


def _load(path: Path, name: str) -> Array:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give samples as an .npz with an array {name!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist()]
            if name not in names:
                raise ValueError(f"{path}: there is no array {name!r}; the file holds {', '.join(names) or 'nothing'}")
            _check_header(archive, f"{name}.npy", path)
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except (zipfile.BadZipFile, OSError, EOFError, KeyError) as error:
        raise ValueError(f"{path}: not a readable .npz file ({error})") from error


def _check_header(archive: zipfile.ZipFile, member: str, path: Path) -> None:
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = reader(stream)
    if dtype.hasobject:
        raise ValueError(f"{path}: {member} holds Python objects; only numeric arrays are read")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > MAX_BYTES:
        raise ValueError(f"{path}: {member} is larger than {MAX_BYTES} bytes; calibrate on fewer samples")
