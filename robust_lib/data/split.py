"""A split of a task's data as one frame, from any source, whole or subsampled."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from robust_lib.data import hub, sources
from robust_lib.data.tasks import DataError, dataset, task

FORM = "1"  # of canonical frames and of subsampling: a change of either makes new fingerprints


@dataclass(frozen=True)
class Split:
    """The split `path` (`<dataset>/<split>`) of `task` from `source`: "micro", "hub" or a data directory.

    `size` examples are drawn by `seed`: the micro world writes as many, real data is subsampled in
    proportion to label (and heuristic and subcase, where there are any). None takes the whole split.
    """

    task: str
    path: str
    source: str
    size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """DataError for an unknown task, a split of another task, an impossible size. Reads no data."""
        task(self.task)
        owner = dataset(self.path).task
        if owner != self.task:
            raise DataError(f"{self.path!r} is a split of the task {owner!r}, not of {self.task!r}")
        if not isinstance(self.source, str) or not self.source:
            raise DataError(f"source {self.source!r}: it is 'micro', 'hub' or the name of a data directory")
        if self.size is not None and (type(self.size) is not int or self.size < 1):
            raise DataError(f"{self.path}: size {self.size!r}: it is a whole number above 0, or None")

    @property
    def labels(self) -> tuple[str, ...]:
        """The gold labels of this split in a fixed order: two on HANS, whose models have three classes."""
        return dataset(self.path).labels

    @property
    def text(self) -> tuple[str, ...]:
        """The text columns in the order the encoder reads them."""
        return dataset(self.path).text

    def frame(self) -> pd.DataFrame:
        """The examples in canonical columns. The index is each example's row in the whole split."""
        match self.source:
            case "micro":
                return sources.micro_frame(self.path, self.size, self.seed).copy()
            case "hub":
                whole = hub.frame(self.path)
            case directory:
                whole = sources.directory_frame(directory, self.path)
        return whole if self.size is None else subsample(whole, self.size, self.seed, self.path)

    def fingerprint(self) -> str:
        """SHA-256 of all that `frame` depends on: the source's content, never its place, and the draw."""
        drawn = () if self.size is None else (self.size, self.seed)
        match self.source:
            case "micro":
                content = sources.micro_fingerprint(self.path, self.size, self.seed)
            case "hub":
                content = hub.fingerprint(self.path)
            case directory:
                content = sources.directory_fingerprint(directory, self.path)
        return hashlib.sha256(repr((FORM, self.task, self.path, content, drawn)).encode()).hexdigest()


def training(
    tasks: Iterable[str],
    seeds: Iterable[int],
    *,
    source: str,
    size: int | None,
    paths: Mapping[str, str] = MappingProxyType({}),
) -> dict[tuple[str, int], Split]:
    """The training split of every task and seed, which draws it; `paths` by task where it is not the task's own."""
    return {
        (name, seed): Split(name, paths.get(name, task(name).train), source, size, seed)
        for name in tasks
        for seed in seeds
    }


def subsample(whole: pd.DataFrame, size: int, seed: int, path: str) -> pd.DataFrame:
    """`size` rows of `whole` in their old order, every stratum in proportion (largest remainders).

    Strata are the values of label, heuristic and subcase, or answerable and unanswerable questions. The draw
    depends on path, seed, number of rows and strata; PCG64's raw stream is the same in every numpy.
    """
    if size > len(whole):
        raise DataError(f"{path}: size {size}: there are only {len(whole)} examples; None takes them all")
    seeds = hashlib.sha256(f"{path} {seed}".encode()).digest()
    order = np.random.PCG64(int.from_bytes(seeds)).random_raw(len(whole)).argsort(kind="stable")
    strata = _strata(whole)[order]
    names, counts = np.unique(strata, return_counts=True)
    chosen = [order[strata == name][:quota] for name, quota in zip(names, _quotas(counts, size), strict=True)]
    return whole.iloc[np.sort(np.concatenate(chosen))]


def _strata(whole: pd.DataFrame) -> np.ndarray:
    if "answers" in whole:
        return np.array([str(bool(answers["text"])) for answers in whole["answers"]])
    columns = [column for column in ("label", "heuristic", "subcase") if column in whole]
    return np.array(["\t".join(row) for row in whole[columns].itertuples(index=False)])


def _quotas(counts: np.ndarray, size: int) -> np.ndarray:
    """How many of each stratum: exact shares rounded down, the rest to the largest remainders."""
    exact = counts * size
    quotas: np.ndarray = exact // counts.sum()
    rest = size - int(quotas.sum())
    quotas[np.argsort(-(exact % counts.sum()), kind="stable")[:rest]] += 1
    return quotas
