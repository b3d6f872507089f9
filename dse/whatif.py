"""What a memory budget costs: the best schedule for each of a list of RAM budgets, from one search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dse.pareto import Point


@dataclass(frozen=True)
class BudgetAnswer:
    """The fastest schedule found within a budget; None when nothing fits."""

    ram_bytes: int
    point: Point | None


def answer_budgets(budgets: Sequence[int], find_best: Callable[[int], Sequence[Point]]) -> tuple[BudgetAnswer, ...]:
    """The fastest schedule for every budget, in ascending order of budget.

    `find_best(budget)` searches under one budget and returns what fits of what it found. What fits a smaller budget fits a
    larger one, so every answer may use the finds of all searches: latency never rises with the budget.
    """
    pool: list[Point] = []
    for budget in sorted(budgets):
        pool += find_best(budget)
    answers = []
    for budget in sorted(budgets):
        fitting = [p for p in pool if p.cost.fits and p.cost.arena_bytes <= budget]
        best = min(fitting, key=lambda p: (p.cost.cycles, p.cost.arena_bytes), default=None)
        answers.append(BudgetAnswer(budget, best))
    return tuple(answers)
