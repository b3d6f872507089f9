"""Cycles from a board: what a project built with -DTLF_MEASURE prints, `dse calibrate --from` fits again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from networks import KERNELS, TARGET

from cost_models import calibration as calibrations
from cost_models.calibrate import Measurement, fit_kernel, shapes
from cost_models.calibration import load_calibration, to_toml
from dse.bench_calls import bench_call, bench_program
from dse.bench_runs import build_bench, fill, run_calls
from dse.calibrate import calibrate_from
from dse.execute import open_device
from dse.measurements import HEADER, read_measurements

NAMES = ("layernorm_packed", "attend_rows_smlad2x4")


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """(the CSV of a board, kernel -> its calls measured directly): the emulated device plays the board."""
    folder, text, direct = tmp_path_factory.mktemp("board"), "", {}
    for name in NAMES:
        kernel = KERNELS[name]
        calls = [bench_call(kernel, index, sizes) for index, sizes in enumerate(shapes(kernel))]
        program = bench_program(calls, TARGET)
        elf = build_bench(program, TARGET, KERNELS, folder, ["TLF_MEASURE", "TLF_SEMIHOSTING"])
        device = open_device(elf, TARGET)
        device.boot()
        fill(device, program)
        device.call("tlf_network_run")
        text += device.output.decode()
        direct[name] = run_calls(kernel, shapes(kernel), TARGET, KERNELS, folder)
    path = folder / "board.csv"
    path.write_text(text, encoding="utf-8")
    return path, direct


def test_the_csv_has_every_call_with_its_cycles(board):
    path, direct = board
    for name, calls in read_measurements(path, TARGET, KERNELS).items():
        known = {tuple(call.sizes.items()): call.cycles for call in calls}
        assert len(known) > 30
        for call in direct[name].measured:
            assert known[tuple(call.sizes.items())] == pytest.approx(call.cycles, rel=0.02, abs=2)


def test_terms_from_a_board_are_those_of_the_direct_calibration(board, tmp_path, monkeypatch):
    """Also when the calibration before was twice too high: the measurements decide."""
    path, direct = board
    before = load_calibration(TARGET.name)
    wrong = {
        name: replace(fit, cycles={term: 2 * value for term, value in fit.cycles.items()})
        for name, fit in before.kernels.items()
    }
    (tmp_path / f"{TARGET.name}.toml").write_text(to_toml(replace(before, kernels=wrong)), encoding="utf-8")
    monkeypatch.setattr(calibrations, "FOLDER", tmp_path)
    written, _ = calibrate_from(TARGET, path, None)
    after = load_calibration(TARGET.name)
    assert written == tmp_path / f"{TARGET.name}.toml"
    assert "board.csv" in after.provenance
    for name in NAMES:
        kernel, ran = KERNELS[name], direct[name]
        fit = fit_kernel(kernel, ran.measured, ran.functions)
        for call in ran.measured:
            terms = [(term, feature.evaluate(call.sizes)) for term, feature in kernel.terms]
            wanted = sum(fit.cycles[term] * count for term, count in terms)
            assert sum(after.kernels[name].cycles[term] * count for term, count in terms) == pytest.approx(
                wanted, rel=0.03
            )
    untouched = after.kernels["lut_ref"].cycles["call"]
    assert untouched == pytest.approx(2 * before.kernels["lut_ref"].cycles["call"], abs=1e-4)


def test_few_calls_move_only_what_they_tell():
    """One call measured 10 % slower: its price follows, the terms it does not use stay."""
    kernel, fit = KERNELS["layernorm_packed"], load_calibration(TARGET.name).kernels["layernorm_packed"]
    sizes = {"m": 4, "n": 32, "guard": 0, "shift": 14, "x_stride": 32, "y_stride": 32, "epsilon": 1}
    counts = {name: feature.evaluate(sizes) for name, feature in kernel.terms}
    cycles = sum(fit.cycles[name] * count for name, count in counts.items())
    again = fit_kernel(kernel, [Measurement(sizes, 1.1 * cycles, 0.0)], {}, fit.cycles)
    assert sum(again.cycles[name] * count for name, count in counts.items()) == pytest.approx(1.1 * cycles, rel=0.01)
    assert all(again.cycles[name] == pytest.approx(fit.cycles[name]) for name, count in counts.items() if count == 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must be"),
        ("cycles,kernel\n", "first line must be"),
        (f"{HEADER}\n", "no measurements"),
        (f"# target nrf52840\n{HEADER}\n", "measured on 'nrf52840'"),
        (f"{HEADER}\na,lut_ref,n=4\n", "3 fields"),
        (f"{HEADER}\na,nonsense,n=4,10\n", "no kernel 'nonsense'"),
        (f"{HEADER}\na,lut_ref,n=four,10\n", "'four' is not an integer"),
        (f"{HEADER}\na,lut_ref,m=4,10\n", "needs the argument 'n'"),
        (f"{HEADER}\na,lut_ref,n=4,0\n", "cycles: 0 must lie in"),
        (f"{HEADER}\na,lut_ref,n=4,1e3\n", "'1e3' is not an integer"),
        ("\x00\xff", "first line must be"),
    ],
)
def test_a_malformed_csv_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_measurements(path, TARGET, KERNELS)
