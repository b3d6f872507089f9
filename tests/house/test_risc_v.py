"""Networks on the RISC-V targets: the same bytes as the reference, on one core and on a cluster of eight."""

from pathlib import Path

import pytest

from dse import execute, pipeline


@pytest.mark.parametrize(("target", "scope"), [("esp32c3", "mhsa"), ("gap9", "block")])
def test_eegformer_is_bit_exact(tmp_path: Path, target: str, scope: str) -> None:
    house = pipeline.prepare("eegformer", target, scope=scope, form="qk")
    found = pipeline.find(house, trials=8)
    result = execute.prove(house, found.front[0], tmp_path / "run")
    assert result.bit_exact
    assert result.canaries_intact
    assert result.stack_bytes <= house.target.stack_bytes
    again, _ = execute.execute_folder(tmp_path / "run")
    assert again.cycles == result.cycles


def test_eight_cores_share_the_work(tmp_path: Path) -> None:
    house = pipeline.prepare("eegformer", "gap9", scope="mhsa", form="none")
    found = pipeline.find(house, trials=8)
    result = execute.prove(house, found.front[0], tmp_path / "run")
    executed = result.instructions / result.cycles
    assert executed > 3  # of the nine cores: more than three at work at any time, with portable kernels
