"""The command line: options in, tables or JSON out. Every wrong input is one message on stderr and exit code 2."""

from __future__ import annotations

import gc
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from codegen.build import BuildError
from codegen.device import DeviceFault
from dse import __version__, catalog, commands
from dse.commands import Options

OUT = Console(width=None if sys.stdout.isatty() else 150)
ERR = Console(stderr=True)
SIZES = {"": 1, "K": 1024, "M": 1024 * 1024}


class Bytes(click.ParamType[int]):
    """`65536`, `64K` or `1M` -> bytes."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The size in bytes; a usage error (exit 2) otherwise."""
        text = str(value).upper().removesuffix("B").removesuffix("I")
        unit = text[-1:] if text[-1:] in ("K", "M") else ""
        digits = text.removesuffix(unit) if unit else text
        if not (digits.isascii() and digits.isdigit()) or not 0 < int(digits) * SIZES[unit] <= 2**32:
            self.fail(f"{value!r} is not a size; write for example 65536, 64K or 1M", param, ctx)
        return int(digits) * SIZES[unit]


class RamBudget(click.ParamType[Any]):
    """`64K` -> bytes of all regions together; `sram1=16K,sram2=8K` -> bytes by region."""

    name = "bytes|region=bytes,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The total, or a dict of region and bytes; a usage error (exit 2) otherwise."""
        text = str(value)
        if "=" not in text:
            return Bytes().convert(text, param, ctx)
        pairs = [part.partition("=") for part in text.split(",")]
        return {name.strip(): Bytes().convert(size, param, ctx) for name, _, size in pairs}


class Unit(click.ParamType[float]):
    """A number with a unit, `48M` or `20ms` -> the value in the base unit."""

    def __init__(self, name: str, units: dict[str, float], example: str) -> None:
        self.name, self._units, self._example = name, units, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value; a usage error (exit 2) otherwise."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", str(value))
        if match is None or match[2] not in self._units or float(match[1]) == 0:
            self.fail(f"{value!r} is not a {self.name}; write for example {self._example}", param, ctx)
        return float(match[1]) * self._units[match[2]]


class Clock(Unit):
    """`48M`, `48MHz` or `48000000` -> hertz."""

    def __init__(self) -> None:
        super().__init__("clock", {"": 1, "k": 1e3, "M": 1e6, "MHz": 1e6, "G": 1e9}, "48M")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Whole hertz; a usage error (exit 2) otherwise."""
        return round(super().convert(value, param, ctx))


class ByteList(click.ParamType[tuple[int, ...]]):
    """`16K,32K,64K` -> a tuple of bytes."""

    name = "bytes,bytes,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The sizes; a usage error (exit 2) otherwise."""
        if isinstance(value, tuple):
            return value
        return tuple(Bytes().convert(part, param, ctx) for part in str(value).split(","))


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def wrap(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return wrap


MODEL = _options(
    click.argument("model", required=False),
    click.option("--target", default="stm32l476", show_default=True, help="Built-in name or path of a .toml file."),
    click.option("--scope", type=click.Choice(["mhsa", "block", "encoder"]), help="Part of a built-in model."),
    click.option("--form", type=click.Choice(["none", "qk", "vo", "qkvo"]), help="Pin the fused-weight form."),
    click.option("--calib", type=click.Path(path_type=Path), help="Calibration samples (.npz) of an fp32 .onnx."),
    click.option("--labels", type=click.Path(path_type=Path), help="Test samples x and labels y (.npz) for accuracy."),
    click.option("--max-sqnr-loss", default=1.0, show_default=True, help="dB a fused form may lose against unfused."),
    click.option("--s", type=int, help="Weightless use: tokens."),
    click.option("--e", type=int, help="Weightless use: embedding."),
    click.option("--p", type=int, help="Weightless use: head dimension."),
    click.option("--h", type=int, help="Weightless use: heads."),
    click.option("--f", type=int, help="Weightless use: hidden size of the feed-forward pair (default 4·e)."),
    click.option("--layers", type=int, help="Weightless use: encoder blocks (default 1)."),
)
BUDGET = _options(
    click.option(
        "--ram",
        type=RamBudget(),
        help="Most bytes the arenas may take, all RAM regions together; or by region: sram1=16K.",
    ),
    click.option(
        "--max-latency", type=click.FloatRange(min=0, min_open=True), help="Most milliseconds a run may take."
    ),
    click.option("--flash", type=Bytes(), help="Most bytes of weights and code."),
)
SEARCH = _options(
    click.option(
        "--objective", default="latency", show_default=True, help="latency, memory, energy, flash; several: a,b."
    ),
    click.option("--trials", default=1000, show_default=True, type=click.IntRange(1, 1_000_000)),
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1)),
    click.option("--wait-states", default=None, type=int, help="Flash wait states priced and executed (default 0)."),
    click.option(
        "--clock", type=Clock(), help="Operating point of the target, e.g. 48M, with the wait states it needs."
    ),
    click.option("--cores", type=int, help="Cores of a cluster at work, the others asleep (default all)."),
    click.option(
        "--deadline",
        type=Unit("time", {"s": 1, "ms": 1e-3, "us": 1e-6}, "20ms"),
        help="The slowest operating point that meets it, e.g. 20ms.",
    ),
    click.option("--exhaustive", is_flag=True, help="Price the whole space instead of searching."),
)
STORAGE = _options(
    click.option("--storage", help="Keep the study: sqlite:///FILE, journal:FILE or postgresql://USER@HOST/DATABASE."),
    click.option("--resume", is_flag=True, help="Continue the study (default storage sqlite:///runs/studies.db)."),
    click.option("--worker", is_flag=True, help="Join a study that others work on too; ends when it is complete."),
)
OUTPUT = _options(
    click.option("--schedule", type=click.Path(path_type=Path), help="A schedule .toml instead of a search."),
    click.option("--out", type=click.Path(path_type=Path), help="Run folder (default runs/<model>-<target>)."),
    click.option("--toolchain", type=click.Choice(["auto", "zig", "gcc"]), default="auto", show_default=True),
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


@click.group(context_settings={"help_option_names": ["--help", "-?"]})
@click.version_option(__version__, prog_name="dse")
def cli() -> None:
    """Tileformer: search, price, emit and prove schedules of encoder Tiny Transformers on microcontrollers."""


def _command(name: str, *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def register(function: Callable[[Options], commands.Answer]) -> Any:
        def run(**values: Any) -> None:
            as_json = values.pop("as_json", False)
            with _Bars(silent=as_json) as bars:
                answer = function(Options(progress=bars.update, **values))
            if as_json:
                click.echo(json.dumps(answer.data, indent=2))
            else:
                console = ERR if answer.exit_code == 2 else OUT
                for part in answer.shown:
                    console.print(part, soft_wrap=isinstance(part, str), markup=False)
            sys.exit(answer.exit_code)

        run.__doc__ = function.__doc__
        return cli.command(name)(_options(*options, JSON)(run))

    return register


class _Bars:
    """Progress bars on stderr, one a label; nothing when silent or not a terminal. No thread draws them: a search forks."""

    def __init__(self, silent: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        off = silent or not sys.stderr.isatty()
        self._progress = Progress(*columns, console=ERR, disable=off, transient=True, auto_refresh=False)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, label: str, done: int, total: int, note: str = "") -> None:
        """Move the bar of `label`."""
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total)
        task = self._tasks[label]
        self._progress.update(task, completed=done, total=total, description=f"{label} {note}", refresh=True)


_command("deploy", MODEL, BUDGET, SEARCH, OUTPUT)(commands.deploy)
_command(
    "search",
    MODEL,
    BUDGET,
    SEARCH,
    STORAGE,
    click.option(
        "--explain",
        nargs=2,
        type=click.Path(path_type=Path),
        help="Two schedule files or run folders: where their cycles and bytes differ, instead of a search.",
    ),
    click.option("--out", type=click.Path(path_type=Path), help="HTML file of --explain (default explain.html)."),
)(commands.find)
_command("export", MODEL, BUDGET, SEARCH, OUTPUT)(commands.export)
_command(
    "run",
    click.argument("folder", type=click.Path(path_type=Path)),
    click.option("--wait-states", default=None, type=int, help="Flash wait states of the device (default 0)."),
)(commands.run)
_command(
    "whatif",
    MODEL,
    click.option("--ram", "budgets", type=ByteList(), default="8K,12K,16K,24K,32K,64K,124K", show_default=True),
    SEARCH,
)(commands.whatif)
_command(
    "study",
    click.argument("action", type=click.Choice(["list", "run"])),
    click.argument("name", required=False),
    click.option("--out", type=click.Path(path_type=Path), help="Folder of the results (default studies/results)."),
)(catalog.study)
_command(
    "calibrate",
    click.argument("target"),
    click.option("--out", type=click.Path(path_type=Path), help="File to write (default the committed one)."),
    click.option(
        "--from",
        "measured",
        type=click.Path(path_type=Path),
        help="CSV that a board printed: any emitted project built with -DTLF_MEASURE, at a clock without wait states.",
    ),
    click.option("--project", type=click.Path(path_type=Path), help="Write projects there that measure every kernel."),
)(catalog.calibrate)
_command(
    "bench",
    click.argument("what", type=click.Choice(["kernels", "search"])),
    click.option("--target", default="stm32l476", show_default=True),
    click.option("--out", type=click.Path(path_type=Path), help="Folder of the results (default studies/results)."),
)(catalog.bench)
_command("models")(catalog.models)
_command("targets")(catalog.targets)
_command("kernels", click.option("--target", default="stm32l476", show_default=True))(catalog.kernels)


def main() -> None:
    """Run the command line; bad input ends with one message and exit code 2."""
    gc.set_threshold(200_000)  # a search makes many objects and no cycles: looking for them took a tenth of its time
    try:
        cli(standalone_mode=True)
    except (ValueError, FileNotFoundError) as error:
        _fail(str(error), 2)
    except (BuildError, DeviceFault) as error:
        _fail(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str, code: int) -> None:
    ERR.print("[bold red]error:[/]", end=" ")
    ERR.print(message, soft_wrap=True, highlight=False, markup=False)
    sys.exit(code)
