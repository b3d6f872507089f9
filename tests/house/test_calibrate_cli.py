"""`dse calibrate` and the operating points as a person meets them: one message, exit code 2, the slowest clock in time."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from dse import calibrate, commands, pipeline
from dse.cli import cli, main
from dse.kernel import load_kernels
from dse.measurements import HEADER


def _dse(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["dse", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capsys.readouterr()


@pytest.mark.parametrize("text", ["", "nonsense\n", f"{HEADER}\na,b\n", f"{HEADER}\na,lut_ref,n=1,-4\n"])
def test_a_malformed_csv_ends_with_one_message(tmp_path, monkeypatch, capsys, text):
    path = tmp_path / "board.csv"
    path.write_text(text, encoding="utf-8")
    code, said = _dse(
        monkeypatch, capsys, "calibrate", "stm32l476", "--from", str(path), "--out", str(tmp_path / "o.toml")
    )
    assert code == 2
    assert said.out == ""
    assert said.err.startswith("error:")
    assert "board.csv" in said.err.replace("\n", "")
    assert not (tmp_path / "o.toml").exists()


def test_a_project_to_measure_is_written_for_every_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(
        calibrate, "load_kernels", lambda: {name: load_kernels()[name] for name in ("lut_ref", "add_ref")}
    )
    result = CliRunner().invoke(cli, ["calibrate", "nrf52840", "--project", str(tmp_path / "boards"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == [str(tmp_path / "boards" / name) for name in ("lut_ref", "add_ref")]
    text = (tmp_path / "boards" / "lut_ref" / "src" / "network.c").read_text()
    assert 'TLF_MEASURED("shape0,lut_ref", "n;", 4);' in text
    assert "EXTRA=-DTLF_MEASURE" in (tmp_path / "boards" / "lut_ref" / "Makefile").read_text()


def test_a_deadline_takes_the_slowest_clock_in_time():
    """A little more than the latency at 48 MHz: that clock; a little less: the next; an error when none is enough."""
    prepared = pipeline.prepare("tr_hgr", "stm32l476", scope="mhsa", form="none")
    options = commands.Options(trials=20)
    seconds = {}
    for clock in (48_000_000, 80_000_000):
        at = replace(prepared, target=prepared.target.at(clock))
        seconds[clock] = pipeline.find(at, trials=20, wait_states=at.target.wait_states).best.cost.cycles / clock
    assert seconds[80_000_000] < seconds[48_000_000]
    assert commands._slowest(options, prepared, 1.001 * seconds[48_000_000]).target.clock_hz == 48_000_000
    assert commands._slowest(options, prepared, 0.999 * seconds[48_000_000]).target.clock_hz == 64_000_000
    with pytest.raises(ValueError, match="ms at 80 MHz"):
        commands._slowest(options, prepared, 0.5 * seconds[80_000_000])
