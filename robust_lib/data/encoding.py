"""From text to batches of tensors: tokenised once, grouped by length, padded to the batch's longest."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robust_lib.data.split import Split
from robust_lib.data.tasks import DataError

if TYPE_CHECKING:
    from torch import Generator, Tensor
else:  # torch is imported where batches are made: tasks and frames do without it
    Generator = Tensor = Any

_KEPT = 16  # encoded splits in memory; MNLI's training set takes about 100 MB
_encoded: "OrderedDict[tuple[str, str, int], Encoded]" = OrderedDict()


@dataclass(frozen=True)
class Encoded:
    """A tokenised split: the token ids of all examples end to end, and where each begins.

    `tokens` maps each input of the encoder (input_ids, and token_type_ids where the tokenizer makes them) to
    one flat array and `padding` to the number that fills it up. `gold` indexes `labels`, the split's own; of span
    questions it is (examples, 2), the positions of an answer's first and last token, and `labels` is empty.
    """

    tokens: dict[str, np.ndarray]
    padding: dict[str, int]
    starts: np.ndarray
    gold: np.ndarray
    labels: tuple[str, ...]

    def __len__(self) -> int:
        """How many examples."""
        return len(self.gold)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per example."""
        return np.diff(self.starts)


def tokenised(split: Split, tokenizer: Any, max_length: int) -> Encoded:
    """The split under a fast tokenizer, cut to `max_length` tokens; kept in memory, so done once per process.

    Pairs are cut from their longer text. DataError for span questions (they are read in windows), and for a
    length that the tokenizer's encoder has no positions for.
    """
    key = (split.fingerprint(), tokenizer_fingerprint(tokenizer), max_length)
    if key not in _encoded:
        _encoded[key] = _tokenise(split, tokenizer, max_length)
        while len(_encoded) > _KEPT:
            _encoded.popitem(last=False)
    _encoded.move_to_end(key)
    return _encoded[key]


def concatenated(parts: Sequence[Encoded], *, renames: Mapping[str, str]) -> Encoded:
    """Tokenised splits end to end, with the labels of the first; `renames` says what a foreign label counts as."""
    labels = parts[0].labels
    names = [np.array([renames.get(label, label) for label in part.labels])[part.gold] for part in parts]
    absent = sorted(set(np.concatenate(names)) - set(labels))
    if absent:
        raise DataError(f"label {', '.join(absent)} is none of {', '.join(labels)}: say what it counts as")
    gold = np.array([labels.index(name) for name in np.concatenate(names)])
    tokens = {name: np.concatenate([part.tokens[name] for part in parts]) for name in parts[0].tokens}
    starts = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))])
    return Encoded(tokens, parts[0].padding, starts, gold, labels)


def _tokenise(split: Split, tokenizer: Any, max_length: int) -> Encoded:
    if not split.labels:
        raise DataError(f"{split.path}: span questions have no labels and are not read as one piece of text")
    frame = split.frame()
    gold = frame["label"].map({label: index for index, label in enumerate(split.labels)}).to_numpy(np.int64)
    return encode(
        [frame[column].tolist() for column in split.text], tokenizer, max_length, gold, split.labels
    )


def encode(
    columns: Sequence[list[str]], tokenizer: Any, max_length: int, gold: np.ndarray, labels: tuple[str, ...]
) -> Encoded:
    """Texts, or pairs of texts, cut to `max_length` tokens from the longer of a pair. DataError for a length that the
    tokenizer's encoder has no positions for."""
    longest = tokenizer.model_max_length
    if not 0 < max_length <= longest:
        raise DataError(f"max_length {max_length}: the tokenizer's encoder reads 1 to {longest} tokens")
    encoding = tokenizer(
        *columns, truncation=True, max_length=max_length, padding=False, return_attention_mask=False
    )
    ids = encoding["input_ids"]
    starts = np.concatenate([[0], np.cumsum([len(example) for example in ids])])
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    tokens = {name: np.concatenate(encoding[name], dtype=np.int32) for name in padding if name in encoding}
    return Encoded(tokens, padding, starts, gold, labels)


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """SHA-256 of what the tokenizer makes of a text. DataError for a slow one, which knows no offsets."""
    if not getattr(tokenizer, "is_fast", False):
        raise DataError(f"{type(tokenizer).__name__} is not a fast tokenizer: load it with AutoTokenizer")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    # How the last call cut and padded is part of the state, but not of what the tokenizer is.
    del state["truncation"], state["padding"]
    inputs = (tokenizer.model_input_names, tokenizer.pad_token_id, tokenizer.truncation_side)
    return hashlib.sha256(repr((json.dumps(state, sort_keys=True), inputs)).encode()).hexdigest()


def batches(
    encoded: Encoded,
    batch_size: int,
    *,
    generator: Generator | None = None,
    length_bucketed: bool = True,
    labels: Sequence[str] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """One pass over the examples: input_ids, attention_mask, token_type_ids if there are any, labels, index.

    All are int64 on the CPU: (batch, longest of the batch) or (batch,), and labels of span questions (batch, 2).
    `index` counts the rows of what is encoded: the frame's, or its windows.
    With a generator the order is random, and with `length_bucketed` a batch holds examples of about the same
    length. Without one, the longest come first (a batch too large fails at once), or the frame's order holds.
    `labels` are the model's class names in its order, matched by name; by default, the split's own.
    """
    import torch

    positions = encoded.gold.ndim == 2  # of span questions: no names to match
    gold = encoded.gold if labels is None or positions else _indices(encoded, labels)
    for rows in _order(encoded, batch_size, generator, length_bucketed):
        batch = _padded(encoded, rows) | {"labels": gold[rows], "index": rows}
        yield {name: torch.from_numpy(array) for name, array in batch.items()}


def joined(encoded: Encoded, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Batches one after the other as one, padded to the longest; a part with fewer examples repeats its first."""
    import torch

    rows = max(len(part["index"]) for part in parts)
    width = max(part["input_ids"].shape[1] for part in parts)
    filled = []
    for part in parts:
        taken = [*range(len(part["index"])), *[0] * (rows - len(part["index"]))]
        wide = {
            name: width - part[name].shape[1] for name in (*encoded.padding, "attention_mask") if name in part
        }
        filled.append(
            {
                name: torch.nn.functional.pad(
                    tensor[taken], (0, wide.get(name, 0)), value=encoded.padding.get(name, 0)
                )
                for name, tensor in part.items()
            }
        )
    return {name: torch.cat([part[name] for part in filled]) for name in filled[0]}


def _indices(encoded: Encoded, labels: Sequence[str]) -> np.ndarray:
    """Gold labels as positions in `labels`."""
    absent = sorted({encoded.labels[gold] for gold in np.unique(encoded.gold)} - set(labels))
    if absent:
        raise DataError(f"gold label {', '.join(absent)} is none of the model's classes: {', '.join(labels)}")
    where = {label: index for index, label in enumerate(labels)}
    indices = np.array([where.get(label, -1) for label in encoded.labels], np.int64)
    return np.take(indices, encoded.gold)


def _order(
    encoded: Encoded, batch_size: int, generator: Generator | None, length_bucketed: bool, pool: int = 50
) -> list[np.ndarray]:
    """The rows of each batch. Random and bucketed: shuffle, sort within `pool` batches, shuffle batches."""
    import torch

    if batch_size < 1:
        raise DataError(f"batch_size {batch_size}: it is a whole number of examples above 0")
    rows = np.arange(len(encoded))
    if generator is not None:
        rows = torch.randperm(len(rows), generator=generator).numpy()
    if length_bucketed:
        width = len(rows) if generator is None else pool * batch_size
        pools = [rows[start : start + width] for start in range(0, len(rows), width)]
        rows = np.concatenate([p[np.argsort(-encoded.lengths[p], kind="stable")] for p in pools])
    groups: list[np.ndarray] = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    if generator is not None and length_bucketed:
        groups = [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]
    return groups


def _padded(encoded: Encoded, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Token arrays of these rows, (rows, longest of them), and the mask of what is not padding."""
    lengths = encoded.lengths[rows]
    columns = np.arange(lengths.max())
    mask = columns < lengths[:, None]
    places = np.where(mask, encoded.starts[rows][:, None] + columns, 0)
    padded = {
        name: np.where(mask, flat[places], encoded.padding[name]).astype(np.int64)
        for name, flat in encoded.tokens.items()
    }
    return padded | {"attention_mask": mask.astype(np.int64)}
