"""Random draws that are the same on every machine and every Python version."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Draws:
    """A stream of draws named by its arguments, e.g. `Draws("mnli/train", 0)`.

    Only `random.Random.random` is used, the one method whose sequence Python promises to keep.
    """

    def __init__(self, *names: object) -> None:
        digest = hashlib.sha256("|".join(str(name) for name in names).encode()).digest()
        self._random = random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - nothing secret

    def chance(self, probability: float) -> bool:
        """True with the given probability in [0, 1]."""
        return self._random.random() < probability

    def below(self, bound: int) -> int:
        """Integer in [0, bound), uniform."""
        return int(self._random.random() * bound)

    def pick(self, items: Sequence[Item]) -> Item:
        """One item, uniform."""
        return items[self.below(len(items))]

    def several(self, items: Sequence[Item], count: int) -> list[Item]:
        """`count` different positions of `items`, in random order."""
        pool = list(items)
        for place in range(count):
            other = place + self.below(len(pool) - place)
            pool[place], pool[other] = pool[other], pool[place]
        return pool[:count]

    def weighted(self, weights: Mapping[Item, float]) -> Item:
        """One key, with probability proportional to its weight."""
        left = self._random.random() * sum(weights.values())
        for item, weight in weights.items():
            left -= weight
            if left < 0:
                return item
        return next(reversed([item for item, weight in weights.items() if weight > 0]))
