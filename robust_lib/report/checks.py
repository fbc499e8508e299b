"""The claims of a paper, measured on profiles and held against a boundary, one line of a notebook each."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from robust_lib import compare
from robust_lib.compare import Interval, Profile, ProfileKey
from robust_lib.report.layout import Claims
from robust_lib.report.scorecard import CLAIM_VERDICTS, OURS, Record, Scale, claim

Keys = ProfileKey | Sequence[ProfileKey]
PLACES: dict[compare.Accuracy, str] = {"id": "DEV", "ood": "OOD", "gap": "OOD less DEV"}
AT_CHANCE = ", a reference not above chance OOD"


@dataclass
class Checks:
    """Collects the checks of one paper's claims; `claims` shows them in the order of their items.

    A model is named by its key (task, method, sparsity), several by a list, of which the mean is taken; `names` are
    readable names of methods. Each check takes the claim's boundary (`above`, `below` or, of "comparable" models,
    `within`, see `claim_verdict`) and the printed value, if any. Differences are in percentage points of accuracy,
    or of F1 where the profiles are measured by it and the quantity says so, paired by item and seed.

    A check against a method in `ours`, controls that the paper has not, is no verdict on the paper's own comparison
    and carries OURS behind its item. Where a reference's OOD accuracy is not above chance it has nothing to
    lose OOD: a loss, a relative bias or being no worse than it "cannot be told", whatever the interval. F1 has no such
    floor: calling all duplicate reaches `chance`, calling none 0.
    """

    paper: int
    profiles: Mapping[ProfileKey, Profile]
    scale: Scale
    names: Mapping[str, str] = field(default_factory=dict)
    ours: Collection[str] = ()
    records: list[Record] = field(default_factory=list)

    @property
    def claims(self) -> Claims:
        """All checks so far."""
        return Claims(tuple(sorted(self.records, key=lambda entry: str(entry["item"]))))

    @property
    def survival(self) -> pd.DataFrame:
        """How many checks of each claim hold, do not, cannot be told: as the paper compares, and with our controls."""
        rows: dict[str, Counter[str]] = {}
        for entry in self.claims.records:
            name = entry["item"].removeprefix("claim ")
            group = "our controls" if name.endswith(OURS) else "the paper"
            rows.setdefault(name.removesuffix(OURS), Counter())[f"{group}: {entry['verdict']}"] += 1
        groups = [f"{group}: {one}" for group in ("the paper", "our controls") for one in CLAIM_VERDICTS]
        return pd.DataFrame(
            [{"claim": name} | {group: count[group] for group in groups} for name, count in rows.items()]
        )

    def add(
        self,
        item: str,
        row: str,
        quantity: str,
        value: Interval,
        *,
        above: float | None = None,
        below: float | None = None,
        within: float | None = None,
        printed: float | None = None,
        told: bool = True,
    ) -> None:
        """A check on any quantity; item as in the paper's claims, as "3.5-a". `told` False: it cannot be told."""
        limits: dict[str, Any] = {"above": above, "below": below, "within": within}
        signs = {"above": "> ", "below": "< ", "within": "within ±"}
        sides = [f"{signs[name]}{at:.3g}" for name, at in limits.items() if at is not None]
        column = f"{quantity} (claimed {', '.join(sides)})"
        entry = claim(
            self.paper, f"claim {item}", row, column, value, scale=self.scale, printed=printed, **limits
        )
        self.records.append(entry if told else entry | {"verdict": "cannot be told"})

    def dev(self, item: str, model: Keys, other: Keys, **boundary: Any) -> None:
        """In-distribution accuracy or F1 of the model less that of the other."""
        self._contrast(item, "id", model, other, boundary)

    def ood(self, item: str, model: Keys, other: Keys, **boundary: Any) -> None:
        """Pooled OOD accuracy or F1 of the model less that of the other."""
        self._contrast(item, "ood", model, other, boundary)

    def retained(
        self, item: str, model: ProfileKey, other: ProfileKey, *, of: compare.Beds = "id", **boundary: Any
    ) -> None:
        """Accuracy or F1 of the model in percent of the other's, in distribution or pooled OOD."""
        ours = compare.retained(self.profiles[model], self.profiles[other], of).times(100)
        quantity = f"{self._where(PLACES[of], [model])}, percent of {self.label(other)}"
        self.add(self._item(item, [other]), self.named(model), quantity, ours, **boundary)

    def lost(self, item: str, model: Keys, other: Keys, **boundary: Any) -> None:
        """OOD less in-distribution accuracy or F1 of the model, less that of the other: below 0, it lost more OOD."""
        self._contrast(item, "gap", model, other, boundary)

    def part(self, item: str, name: str, model: ProfileKey, other: ProfileKey, **boundary: Any) -> None:
        """Accuracy or F1 on a slice of the in-distribution test bed, hard or easy."""
        arms = (self.profiles[key].slices[name] for key in (model, other))
        ours = compare.difference(*arms).times(100)
        quantity = f"{self._where(name, [model])}, points above {self.label(other)}"
        self.add(self._item(item, [other]), self.named(model), quantity, ours, **boundary)

    def f_bias(self, item: str, model: Keys, other: Keys, **boundary: Any) -> None:
        """F_bias of the model against the other."""
        others = _several(other)
        ours = compare.f_bias(self._pairs(model, other))
        quantity, told = self._lossless(f"F_bias against {self.label(others[0])}", others)
        self.add(self._item(item, others), self.named(model), quantity, ours, told=told, **boundary)

    def less_biased(self, item: str, model: Keys, other: Keys, reference: Keys, **boundary: Any) -> None:
        """By how many percent the model's F_bias against the reference is below the other's."""
        ours = compare.f_bias_reduction(self._pairs(model, reference), self._pairs(other, reference)).times(
            100
        )
        names = self._labels(other)
        quantity, told = self._lossless(f"percent lower F_bias than {names}", _several(reference))
        self.add(self._item(item, _several(other)), self.named(model), quantity, ours, told=told, **boundary)

    def at_chance(self, key: ProfileKey) -> bool:
        """Whether the model's OOD accuracy cannot be told to be above that of an even guess; of F1 never."""
        profile = self.profiles[key]
        if not profile.ood or profile.measure == "f1":
            return False
        return compare.ood_accuracy(profile).low <= profile.chance

    def named(self, model: Keys) -> str:
        """Task and model as a row of the claims: "MNLI pruned 40%", "average of 3: RMC"."""
        models = _several(model)
        if len(models) == 1:
            return f"{models[0][0].upper()} {self.label(models[0])}"
        return f"average of {len(models)}: {self._labels(models)}"

    def _labels(self, keys: Keys) -> str:
        return ", ".join(dict.fromkeys(map(self.label, _several(keys))))

    def label(self, key: ProfileKey) -> str:
        """A model's name and sparsity."""
        _, method, sparsity = key
        name = self.names.get(method, method)
        return f"{name} {100 * sparsity:g}%" if sparsity else name

    def _contrast(
        self,
        item: str,
        of: compare.Accuracy,
        model: Keys,
        other: Keys,
        boundary: Mapping[str, Any],
    ) -> None:
        first, second = ([self.profiles[key] for key in _several(keys)] for keys in (model, other))
        ours = compare.contrast(first, second, of).times(100)
        names, told = self._labels(other), True
        allowed = {"below", "within"} & set(boundary) or boundary.get("above", 0) < 0
        if of == "gap" or (of == "ood" and allowed):
            names, told = self._lossless(names, _several(other))
        quantity = f"{self._where(PLACES[of], _several(model))}, points above {names}"
        self.add(self._item(item, _several(other)), self.named(model), quantity, ours, told=told, **boundary)

    def _where(self, place: str, models: Sequence[ProfileKey]) -> str:
        """A place, and that it is measured by F1 where it is."""
        measures = {self.profiles[key].measure for key in models}
        if measures == {"f1"}:
            return f"{place} F1"
        return f"{place} accuracy and F1" if "f1" in measures else place

    def _pairs(self, model: Keys, reference: Keys) -> list[tuple[Profile, Profile]]:
        keys = zip(_several(model), _several(reference), strict=True)
        return [(self.profiles[one], self.profiles[two]) for one, two in keys]

    def _item(self, item: str, others: Sequence[ProfileKey]) -> str:
        return f"{item}{OURS}" if any(method in self.ours for _, method, _ in others) else item

    def _lossless(self, quantity: str, references: Sequence[ProfileKey]) -> tuple[str, bool]:
        """The quantity, with a remark where a reference is at chance OOD, and whether a loss against it can be told."""
        told = not any(self.at_chance(key) for key in references)
        return (quantity if told else quantity + AT_CHANCE), told


def _several(keys: Keys) -> list[ProfileKey]:
    return [keys] if isinstance(keys, tuple) and isinstance(keys[0], str) else list(keys)  # type: ignore[arg-type]
