"""`dse calibrate` and the operating points as a person meets them: one message, exit code 2, the slowest clock in time."""

import json

import pytest
from click.testing import CliRunner

from dse.cli import cli, main
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


def test_a_project_to_measure_is_written_for_every_kernel(tmp_path):
    result = CliRunner().invoke(cli, ["calibrate", "nrf52840", "--project", str(tmp_path / "boards"), "--json"])
    assert result.exit_code == 0, result.output
    folders = json.loads(result.output)
    assert len(folders) > 20
    text = (tmp_path / "boards" / "lut_ref" / "src" / "network.c").read_text()
    assert 'TLF_MEASURED("shape0,lut_ref", "n;", 4);' in text
    assert "EXTRA=-DTLF_MEASURE" in (tmp_path / "boards" / "lut_ref" / "Makefile").read_text()


def test_a_deadline_takes_the_slowest_clock_that_meets_it(tmp_path):
    """The same network at 48 MHz and within a deadline just above that latency: the same clock; below it, a faster one."""

    def priced(*options):
        arguments = ["search", "digits", "--target", "stm32l476", "--trials", "50", "--json", *options]
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    at = priced("--clock", "48M")
    text = json.dumps(at)
    assert '"clock_hz": 48000000' in text
