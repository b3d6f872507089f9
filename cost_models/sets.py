"""Which lines stay in a cache that a loop goes over again and again: occupancy of its sets in closed form.

A piece of memory lays ⌊q⌋ or ⌈q⌉ lines into each set it reaches, pieces lie at random against each other, and of a set that
gets more lines than it has ways none stays until the next turn (least recently used, in the same order every turn).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from dse.target import Cache

SMALL = 8  # pieces below such a part of a way count together as one


@dataclass(frozen=True)
class Piece:
    """Bytes that a turn touches, and the share of the sets that they can lie in (less than 1 for rows at a long stride)."""

    bytes: float
    reach: float = 1.0


def lost_share(own: Piece, others: Iterable[Piece], cache: Cache) -> float:
    """The share of a piece that does not stay in the cache until its next turn, others passing by meanwhile: 0 to 1."""
    way = cache.size_bytes // cache.ways
    small, large = 0.0, []
    for piece in others:
        if piece.reach == 1.0 and piece.bytes * SMALL < way:
            small += piece.bytes
        else:
            large.append(piece)
    if way == cache.line_bytes:  # one set: all stays or nothing
        return float(own.bytes + small + sum(piece.bytes for piece in large) > cache.size_bytes)
    if own.reach == 1.0 and own.bytes + small + sum(piece.bytes + way for piece in large) <= cache.size_bytes - 2 * way:
        return 0.0
    return _lost_share(own, (Piece(small), *large), cache)


@functools.lru_cache(maxsize=1 << 16)
def _lost_share(own: Piece, others: tuple[Piece, ...], cache: Cache) -> float:
    likely, mine = _lines(others, cache), _occupancy(own, cache)
    mean = sum(lines * chance for lines, chance in mine.items())
    over = sum(lines * chance * _beyond(likely, cache.ways - lines) for lines, chance in mine.items() if lines)
    return over / mean if mean else 0.0


def reach(chunk_bytes: float, stride_bytes: int, cache: Cache) -> float:
    """The share of the sets that chunks at this stride can lie in."""
    way = cache.size_bytes // cache.ways
    if stride_bytes <= chunk_bytes:
        return 1.0
    return min(1.0, way // math.gcd(stride_bytes, way) * max(chunk_bytes, cache.line_bytes) / way)


def _occupancy(piece: Piece, cache: Cache) -> dict[int, float]:
    """Lines of a piece in a set -> how likely."""
    lines = piece.bytes / (cache.size_bytes / cache.ways * piece.reach)
    least = math.floor(lines)
    found = {least: piece.reach * (least + 1 - lines), least + 1: piece.reach * (lines - least)}
    found[0] = found.get(0, 0.0) + 1 - piece.reach
    return found


def _lines(pieces: Iterable[Piece], cache: Cache) -> list[float]:
    """Index = lines of all these pieces together in a set, more than the ways as one: how likely."""
    most = cache.ways + 1
    found = [1.0] + [0.0] * most
    for piece in pieces:
        following = [0.0] * (most + 1)
        for lines, chance in _occupancy(piece, cache).items():
            for before, known in enumerate(found):
                following[min(most, before + lines)] += known * chance
        found = following
    return found


def _beyond(likely: list[float], lines: int) -> float:
    """How likely more than that many lines are."""
    return 1.0 if lines < 0 else sum(likely[lines + 1 :])
