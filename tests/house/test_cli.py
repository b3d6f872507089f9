"""The command line as a stranger meets it: one clear error and exit code 2, or the answer asked for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DIGITS = Path(__file__).resolve().parents[2] / "dse" / "models" / "digits"
SIZES = ["--s", "3", "--e", "4", "--p", "2", "--h", "2", "--trials", "5"]
ZOO = Path(__file__).resolve().parents[1] / "load" / "zoo"


def dse(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`dse WORDS` run in an empty folder, with changes to the environment."""
    command = [sys.executable, "-c", "from dse.cli import main; main()", *words]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False, env=environment
    )


def _refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len((done.stderr + done.stdout).strip().splitlines()) <= 10
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cut.onnx").write_bytes((DIGITS / "digits.onnx").read_bytes()[:5000])
    np.savez(tmp_path / "name.npz", y=np.zeros((4, 8, 8), np.float32))
    np.savez(tmp_path / "shape.npz", x=np.zeros((4, 8, 9), np.float32))
    np.savez(tmp_path / "nan.npz", x=np.full((4, 8, 8), np.nan, np.float32))
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").write_text("a file where a folder should be")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["missing.onnx"], ["missing.onnx", "no such file"]),
        (["cut.onnx", "--calib", "name.npz"], ["cut.onnx", "not a readable ONNX file", "export it again"]),
        ([str(DIGITS / "digits.onnx")], ["--calib", "'x'"]),
        ([str(DIGITS / "digits.onnx"), "--calib", "missing.npz"], ["missing.npz", "no such file"]),
        ([str(DIGITS / "digits.onnx"), "--calib", "name.npz"], ["name.npz", "no array 'x'", "holds y"]),
        ([str(DIGITS / "digits.onnx"), "--calib", "shape.npz"], ["(4, 8, 9)", "(count, 8, 8)"]),
        (["digits", "--target", "z80"], ["'z80' is unknown", "stm32l476"]),
        (["nothing"], ["'nothing' is unknown", "digits", "eegformer"]),
        (["digits", "--out", "file/run"], ["file/run", "--out"]),
        (["digits", "--out", "/proc/run"], ["/proc/run", "--out"]),
        (["eegformer", "--scope", "mhsa", "--ram", "2K"], ["no schedule fits", "ram: the best", "alive", "--ram 12K"]),
        (["digits", "--flash", "4K"], ["no schedule fits", "flash: the best", "--flash"]),
        (["digits", "--ram", "2X"], ["'2X' is not a size"]),
        (["digits", "--form", "qv"], ["'qv'", "qkvo"]),
        (["digits", "--objective", "speed"], ["'speed' is unknown", "latency"]),
        (["digits", "--wait-states", "9"], ["--wait-states 9", "0..4"]),
        (["digits", "--schedule", "missing.toml"], ["missing.toml"]),
        (["digits", "--ram", "²"], ["'²' is not a size"]),
        (["digits", "--ram", "0"], ["'0' is not a size"]),
        (["digits", "--trials", "0"], ["--trials", "0 is not in the range"]),
        (["digits", "--seed", "-1"], ["--seed", "-1 is not in the range"]),
        (["digits", "--max-sqnr-loss", "nan"], ["--max-sqnr-loss nan", "0 dB or more"]),
        (["digits", "--max-sqnr-loss", "-1"], ["--max-sqnr-loss -1", "0 dB or more"]),
        (["folder.onnx"], ["folder.onnx", "is a folder"]),
        ([str(DIGITS / "digits.onnx"), "--calib", "folder.onnx"], ["folder.onnx", "is a folder"]),
        ([str(DIGITS / "digits.onnx"), "--calib", "nan.npz"], ["nan.npz", "NaN", "remove those samples"]),
        (["digits", "--out", "file"], ["file", "--out"]),
        (["--s", "81", "--e", "32"], ["p, h missing"]),
        (["--s", "0", "--e", "32", "--p", "32", "--h", "8"], ["s = 0", "1..4096"]),
    ],
    ids=lambda value: " ".join(Path(word).name for word in value)[:60],
)
def test_bad_input_is_one_error_and_nothing_written(folder, words, expected):
    before = sorted(folder.rglob("*"))
    _refused(dse(folder, "deploy", *words), *expected)
    assert sorted(folder.rglob("*")) == before


def test_a_causal_mask_is_refused_by_node(folder):
    (path,) = (
        ZOO.glob("*causal*.onnx") if len(list(ZOO.glob("*causal*.onnx"))) == 1 else list(ZOO.glob("*causal*.onnx"))[:1]
    )
    _refused(dse(folder, "deploy", str(path), "--calib", "name.npz"), "node", "mask")


def test_run_of_a_stranger_folder_is_refused(folder):
    _refused(dse(folder, "run", "."), "not a run folder")


@pytest.mark.parametrize("name", ["cost.json", "samples.npz", "firmware.elf"])
def test_run_of_a_broken_run_folder_is_refused(folder, name):
    assert dse(folder, "deploy", *SIZES, "--out", "run").returncode == 0
    (folder / "run" / name).write_text('{"target": "stm32l476"}')
    _refused(dse(folder, "run", "run"), "not a run folder", "deploy again")


def test_an_interrupted_deploy_leaves_nothing(folder):
    before = sorted(folder.rglob("*"))
    command = [sys.executable, "-c", "from dse.cli import main; main()", "deploy", *SIZES, "--out", "new/run"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a test run in the background inherits "ignore"
    )
    while not (folder / ".run.partial" / "src").is_dir():  # the sources are written, the build comes next
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert b"Traceback" not in stderr
    assert sorted(folder.rglob("*")) == before


def test_a_failed_deploy_leaves_the_earlier_run_whole(folder):
    assert dse(folder, "deploy", *SIZES, "--out", "run").returncode == 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    failed = dse(folder, "deploy", *SIZES, "--seed", "1", "--toolchain", "gcc", "--out", "run", PATH="")
    assert failed.returncode == 1
    assert "arm-none-eabi-gcc" in failed.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_files_of_a_person_are_never_overwritten(folder):
    (folder / "project" / "src").mkdir(parents=True)
    (folder / "project" / "src" / "main.c").write_text("mine")
    _refused(dse(folder, "export", *SIZES, "--out", "project"), "'src'", "no run folder", "--out")
    assert (folder / "project" / "src" / "main.c").read_text() == "mine"


def test_an_export_into_a_run_folder_drops_the_run_it_does_not_belong_to(folder):
    assert dse(folder, "deploy", *SIZES, "--out", "run").returncode == 0
    assert dse(folder, "export", *SIZES, "--out", "run").returncode == 0
    assert (folder / "run" / "src" / "network.c").is_file()
    assert not (folder / "run" / "run.json").exists()


def test_the_current_folder_can_be_the_run_folder(folder):
    (folder / "here").mkdir()
    done = dse(folder / "here", "deploy", *SIZES, "--out", ".")
    assert done.returncode == 0, done.stderr
    assert (folder / "here" / "report.html").is_file()


def test_deploy_run_export_agree(folder):
    done = dse(
        folder, "deploy", "--s", "5", "--e", "6", "--p", "2", "--h", "3", "--trials", "30", "--json", "--out", "run"
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["executed"]["bit_exact"] is True
    for name in ("cost.json", "run.json", "schedule.toml", "program.txt", "report.html", "firmware.elf", "samples.npz"):
        assert (folder / "run" / name).is_file(), name
    assert json.loads((folder / "run" / "run.json").read_text())["cycles"] == data["executed"]["cycles"]
    again = dse(folder, "run", "run", "--json")
    assert json.loads(again.stdout)["executed"]["cycles"] == data["executed"]["cycles"]
    slow = dse(folder, "run", "run", "--wait-states", "4", "--json")
    assert json.loads(slow.stdout)["executed"]["cycles"] > data["executed"]["cycles"]
    assert json.loads(slow.stdout)["executed"]["wait_states"] == 4
    other, own = (dse(folder, "run", "run", *words).stdout for words in (("--wait-states", "4"), ()))
    errors = [re.findall(r"[+-]\d+\.\d %", text) for text in (other, own)]
    assert [bool(found) for found in errors] == [False, True]  # none beside a price at other wait states
    same = dse(
        folder,
        "export",
        "--s",
        "5",
        "--e",
        "6",
        "--p",
        "2",
        "--h",
        "3",
        "--schedule",
        "run/schedule.toml",
        "--out",
        "c",
    )
    assert same.returncode == 0, same.stderr
    for path in (folder / "run" / "src").rglob("*.[chS]"):
        assert (folder / "c" / path.relative_to(folder / "run")).read_bytes() == path.read_bytes()


def test_a_small_budget_is_met_bit_exact(folder):
    done = dse(folder, "deploy", "eegformer", "--scope", "mhsa", "--ram", "16K", "--json", "--out", "run")
    assert done.returncode == 0, done.stderr
    executed = json.loads(done.stdout)["executed"]
    assert executed["bit_exact"] is True
    assert sum(executed["peak_bytes"].values()) <= 16 * 1024


def test_whatif_never_gets_slower_with_more_memory(folder):
    done = dse(
        folder, "whatif", "ecgformer", "--scope", "mhsa", "--ram", "2K,4K,8K,16K,32K", "--trials", "60", "--json"
    )
    assert done.returncode == 0, done.stderr
    cycles = [row["cycles"] for row in json.loads(done.stdout)["answers"] if row["cycles"]]
    assert len(cycles) >= 3
    assert cycles == sorted(cycles, reverse=True)


@pytest.mark.parametrize(
    "command", ["deploy", "search", "export", "run", "whatif", "study", "models", "targets", "kernels"]
)
def test_every_command_has_help(folder, command):
    done = dse(folder, command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout


@pytest.mark.parametrize("command", ["models", "targets", "kernels"])
def test_catalogues_speak_json(folder, command):
    done = dse(folder, command, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
