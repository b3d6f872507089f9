"""How fast the search is: whole networks and inner combinations a second, and the time to a certified optimum."""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dse import pipeline
from dse.lattice import Sums, build_sheet, part_costs, rivals_of, structures
from dse.pipeline import Prepared
from dse.schedule import Schedule

FOUR_LAYERS = {"s": 81, "e": 32, "p": 32, "h": 8, "f": 128, "layers": 4}


@dataclass(frozen=True)
class Speed:
    """One measurement; `bar`: what the project asks of it."""

    what: str
    value: float
    unit: str
    bar: str = ""


def machine() -> str:
    """The machine and the versions a measurement is of."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}"


def search_speed(progress: Callable[..., None]) -> list[Speed]:
    """Every measurement, each once, in seconds of wall clock."""
    measures: tuple[Callable[[], list[Speed]], ...] = (_command, _optimum, _encoder, _inner, _whole)
    rows: list[Speed] = []
    for number, measure in enumerate(measures):
        progress("bench", number, len(measures))
        rows += measure()
    return rows


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _command() -> list[Speed]:
    words = [
        sys.executable,
        "-c",
        "from dse.cli import main; main()",
        "search",
        "eegformer",
        "--scope",
        "mhsa",
        "--json",
    ]
    taken = _seconds(lambda: subprocess.run(words, check=True, capture_output=True))
    return [Speed("dse search eegformer --scope mhsa, a whole process", taken, "s", "≤ 2 s")]


def _optimum() -> list[Speed]:
    house = pipeline.prepare("eegformer", "stm32l476", scope="mhsa")
    return [Speed("certified optimum of the EEGFormer MHSA", _certified(house)[0], "s", "≤ 2 s")]


def _encoder() -> list[Speed]:
    house = pipeline.prepare(None, "stm32l476", scope="encoder", hyper=FOUR_LAYERS)
    taken, schedules = _certified(house)
    return [
        Speed("certified optimum of a 4-layer encoder (81 tokens)", taken, "s", "≤ 20 s"),
        Speed("whole-network schedules priced, start to certificate", schedules / taken, "/s", "≥ 10 000 /s"),
    ]


def _certified(house: Prepared) -> tuple[float, int]:
    """(seconds to the certificate, schedules of the space)."""
    start = time.perf_counter()
    found = pipeline.find(house)
    taken = time.perf_counter() - start
    if found.certificate is None or found.certificate.describe() != "optimal":
        raise RuntimeError("bench: the search did not prove its answer")
    return taken, found.certificate.schedules


def _inner() -> list[Speed]:
    """Every row of one structure from the prices of its parts."""
    house = pipeline.prepare("eegformer", "stm32l476", scope="block")
    prices, space = pipeline.prices_of(house), house.space
    sheet = build_sheet(space, structures(space)[0], prices)
    form, (attentions, feed_forwards, kernels) = str(sheet.structure["form"]), sheet.settings
    base, (rivals, picks) = space.plain() | {"form": form} | kernels[0], rivals_of(kernels)
    schedules = [schedule for a in attentions if (schedule := space.decode(base | a))]
    costs = [(n, part_costs(part, schedules, feed_forwards, rivals, prices)) for part, n in prices.parts(form)]

    def combine(rounds: int) -> None:
        for _ in range(rounds):
            sums = Sums((len(attentions), len(feed_forwards)), picks)
            for times, priced in costs:
                sums.add(times, priced)
            sums.flash_bytes(form, prices)

    rounds = 50
    taken = _seconds(lambda: combine(rounds))
    return [
        Speed(
            "inner combinations: cycles, energy, flash and arena bound",
            rounds * sheet.rows / taken,
            "/s",
            "≥ 1 000 000 /s",
        )
    ]


def _whole() -> list[Speed]:
    house = pipeline.prepare("eegformer", "stm32l476", scope="block")
    rng, schedules = random.Random(0), list[Schedule]()
    while len(schedules) < 1000:
        drawn = house.space.decode({name: rng.choice(values) for name, values in house.space.choices})
        schedules += [drawn] if drawn else []
    taken = _seconds(lambda: [house.price(schedule) for schedule in schedules])
    return [Speed("schedules lowered, placed and priced one by one", len(schedules) / taken, "/s")]
