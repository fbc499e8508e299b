"""The claims of a paper, measured on profiles and held against a boundary, one line of a notebook each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robust_lib import compare
from robust_lib.compare import Interval, Profile, ProfileKey
from robust_lib.report.layout import Claims
from robust_lib.report.scorecard import Record, Scale, claim

Keys = ProfileKey | Sequence[ProfileKey]


@dataclass
class Checks:
    """Collects the checks of one paper's claims; `claims` shows them in the order of their items.

    A model is named by its key (task, method, sparsity), several by a list, of which the mean is taken; `names` are
    readable names of methods. Each check takes the claim's boundary (`above` or `below`, see `claim_verdict`) and the
    printed value, if any. Differences are in percentage points, paired by item and seed.
    """

    paper: int
    profiles: Mapping[ProfileKey, Profile]
    scale: Scale
    names: Mapping[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    @property
    def claims(self) -> Claims:
        """All checks so far."""
        return Claims(tuple(sorted(self.records, key=lambda entry: str(entry["item"]))))

    def add(self, item: str, row: str, quantity: str, ours: Interval, **boundary: Any) -> None:
        """A check on any quantity; item as in the paper's claims, without the word: "3.5-a"."""
        self.records.append(
            claim(self.paper, f"claim {item}", row, quantity, ours, scale=self.scale, **boundary)
        )

    def dev(self, item: str, model: Keys, other: Keys, **boundary: Any) -> None:
        """In-distribution accuracy of the model less that of the other."""
        self._contrast(item, "DEV", "id", model, other, boundary)

    def ood(self, item: str, model: Keys, other: Keys, **boundary: Any) -> None:
        """Pooled OOD accuracy of the model less that of the other."""
        self._contrast(item, "OOD", "ood", model, other, boundary)

    def lost(self, item: str, model: Keys, other: Keys, **boundary: Any) -> None:
        """OOD less in-distribution accuracy of the model, less that of the other: below 0, it lost more OOD."""
        self._contrast(item, "OOD less DEV", "gap", model, other, boundary)

    def part(self, item: str, name: str, model: ProfileKey, other: ProfileKey, **boundary: Any) -> None:
        """Accuracy on a slice of the in-distribution test bed, hard or easy."""
        arms = (self.profiles[key].slices[name] for key in (model, other))
        ours = compare.difference(*arms).times(100)
        self.add(item, self.named(model), f"{name}, points above {self.label(other)}", ours, **boundary)

    def f_bias(self, item: str, model: Keys, other: Keys, **boundary: Any) -> None:
        """F_bias of the model against the other."""
        models, others = _several(model), _several(other)
        pairs = [(self.profiles[one], self.profiles[two]) for one, two in zip(models, others, strict=True)]
        ours = compare.f_bias(pairs)
        self.add(item, self.named(model), f"F_bias against {self.label(others[0])}", ours, **boundary)

    def less_biased(self, item: str, model: Keys, other: Keys, reference: Keys, **boundary: Any) -> None:
        """By how many percent the model's F_bias against the reference is below the other's."""
        references = [self.profiles[key] for key in _several(reference)]
        pairs = [
            list(zip([self.profiles[key] for key in _several(keys)], references, strict=True))
            for keys in (model, other)
        ]
        ours = compare.f_bias_reduction(*pairs).times(100)
        names = ", ".join(dict.fromkeys(map(self.label, _several(other))))
        self.add(item, self.named(model), f"percent lower F_bias than {names}", ours, **boundary)

    def named(self, model: Keys) -> str:
        """Task and model as a row of the claims: "MNLI pruned 40%", "average of 3: RMC"."""
        models = _several(model)
        if len(models) == 1:
            return f"{models[0][0].upper()} {self.label(models[0])}"
        return f"average of {len(models)}: {', '.join(dict.fromkeys(map(self.label, models)))}"

    def label(self, key: ProfileKey) -> str:
        """A model's name and sparsity."""
        _, method, sparsity = key
        name = self.names.get(method, method)
        return f"{name} {100 * sparsity:g}%" if sparsity else name

    def _contrast(
        self,
        item: str,
        where: str,
        of: compare.Accuracy,
        model: Keys,
        other: Keys,
        boundary: Mapping[str, Any],
    ) -> None:
        first, second = ([self.profiles[key] for key in _several(keys)] for keys in (model, other))
        ours = compare.contrast(first, second, of).times(100)
        names = ", ".join(dict.fromkeys(map(self.label, _several(other))))
        self.add(item, self.named(model), f"{where}, points above {names}", ours, **boundary)


def _several(keys: Keys) -> list[ProfileKey]:
    return [keys] if isinstance(keys, tuple) and isinstance(keys[0], str) else list(keys)  # type: ignore[arg-type]
