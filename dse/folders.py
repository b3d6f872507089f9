"""Files -> folders, all or nothing: an interrupted or failed command leaves no half-written folder behind."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

RUN_FOLDER = ("schedule.toml", "program.txt")  # what tells a run folder from a person's own files
RUN_ENTRIES = (
    "schedule.toml",
    "program.txt",
    "src",
    "Makefile",
    "cost.json",
    "front.json",
    "samples.npz",
    "firmware.elf",
    "run.json",
    "report.html",
)


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write every file under `folder` by its relative path."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


@contextlib.contextmanager
def staged(folder: Path, replaces: tuple[str, ...] = ()) -> Iterator[Path]:
    """An empty folder to fill; what is in it goes to `folder` when the block ends well, else nowhere.

    Entries of the same name, and those named in `replaces`, give way; others in `folder` stay. ValueError when
    `folder` cannot be written to.
    """
    folder = folder.absolute()
    with _refusing(folder):
        staging = _nearest(folder) / f".{folder.name}.partial"
        _remove(staging)
        staging.mkdir()
    try:
        yield staging
        with _refusing(folder):
            _move(staging, folder, replaces)
    finally:
        _remove(staging)


def check_run_folder(folder: Path) -> None:
    """ValueError when `folder` cannot be made or written to, or holds files of someone else; leaves nothing behind."""
    with staged(folder):
        pass
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if held and not held.issuperset(RUN_FOLDER):
        raise ValueError(
            f"output folder {folder}: holds {sorted(held)[0]!r} and is no run folder; give a new or empty one with --out"
        )


@contextlib.contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"output folder {folder}: {error.strerror or error}; give another with --out") from error


def _nearest(folder: Path) -> Path:
    """The folder itself or its closest ancestor that exists: where files can be renamed into it."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _move(staging: Path, folder: Path, replaces: tuple[str, ...]) -> None:
    entries = sorted(staging.iterdir())
    if not entries:
        return
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging.replace(folder)
        return
    for name in {*replaces, *(path.name for path in entries)}:
        _remove(folder / name)
    for path in entries:
        path.replace(folder / path.name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
