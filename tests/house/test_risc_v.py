"""Networks on the RISC-V targets: the same bytes as the reference, on one core and on a cluster of eight."""

from pathlib import Path

import pytest

from cost_models.model import Budget
from dse import execute, pipeline
from dse.schedule import Attention, Schedule


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


@pytest.mark.parametrize("near_bytes", [8192, 16384])
def test_the_eegformer_runs_in_little_l1(tmp_path: Path, near_bytes: int) -> None:
    house = pipeline.prepare("eegformer", "gap9", scope="mhsa", form="none", regions={"l1": near_bytes})
    rows = near_bytes // 2048
    attention = Attention(heads=1, rows=rows, map_rows=rows, query="rows", output="accumulate")
    schedule = Schedule("none", attention, kernels=(("attend", "sdot4x4"), ("linear", "sdot5x4")), tiles=rows)
    point = pipeline.point_of(house, schedule, Budget())
    assert point.cost.fits
    result = execute.prove(house, point, tmp_path / "run")
    assert result.bit_exact
    assert result.canaries_intact
    assert result.arena_bytes["l1"] == dict(point.cost.peak_bytes)["l1"] <= near_bytes
    assert 0 < result.copy_wait_cycles < result.cycles // 10


def test_fewer_cores_do_the_same_work(tmp_path: Path) -> None:
    cycles = []
    for cores in (1, 4):
        house = pipeline.prepare("tr_hgr", "gap9", scope="mhsa", form="none", cores=cores)
        result = execute.prove(house, pipeline.find(house, trials=8).front[0], tmp_path / f"run{cores}")
        assert result.bit_exact
        cycles.append(result.cycles)
    assert cycles[0] > 2.5 * cycles[1]


def test_gap8_is_the_same_cluster_in_smaller_memories(tmp_path: Path) -> None:
    house = pipeline.prepare("tr_hgr", "gap8", scope="block", form="qk")
    result = execute.prove(house, pipeline.find(house, trials=8).front[0], tmp_path / "run")
    script = (tmp_path / "run" / "src" / "port" / "gap9" / "link.ld").read_text()
    assert "L1 (rw) : ORIGIN = 0x10000000, LENGTH = 65536" in script
    assert "L2 (rwx) : ORIGIN = 0x1C000000, LENGTH = 393216" in script
    assert result.bit_exact


def test_what_does_not_fit_l2_lies_in_external_memory() -> None:
    sizes = {"s": 64, "e": 256, "p": 64, "h": 4, "f": 1024, "layers": 1}
    house = pipeline.prepare(None, "gap8", scope="block", hyper=sizes)
    cost = house.price(next(iter(house.space.schedules())))
    assert cost.external_bytes > 393216
    assert not {"flash", "l3"} & {overrun.region for overrun in cost.overruns}
