"""Span questions as an encoder reads them: the question beside overlapping windows of its context."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robust_lib.data.encoding import Encoded, tokenizer_fingerprint
from robust_lib.data.split import Split
from robust_lib.data.tasks import DataError

Ints = NDArray[np.int64]

_KEPT = 4  # splits in memory; SQuAD's training set takes about 500 MB
_AT_ONCE = 1024  # questions; the tokenizer's own answer takes 50 times the memory of the arrays made of it
_windows: "OrderedDict[tuple[str, str, int, int], Windows]" = OrderedDict()


@dataclass(frozen=True)
class Windows:
    """A tokenised split of span questions, in windows: those of one question stand together, in the context's order.

    `encoded` holds the windows as examples. Its `gold` (windows, 2) are the positions of the first listed answer's
    first and last token in the window, or the null position twice where the window does not hold all of it.
    `question` is the row of each window's question in the split's frame, `null` its null position: that of the [CLS]
    token, or of the last one where the tokenizer has none (T5). `offsets` (all tokens, 2) are the characters of the
    context that a token stands for, from and to; -1 where it is none of the context.
    """

    encoded: Encoded
    question: Ints
    offsets: NDArray[np.int32]
    null: Ints

    def __len__(self) -> int:
        """How many windows."""
        return len(self.question)


def windows(split: Split, tokenizer: Any, max_length: int, *, stride: int) -> Windows:
    """The split under a fast tokenizer in windows of up to `max_length` tokens; kept in memory like `tokenised`.

    Neighbouring windows share `stride` tokens of the context. Of max_length, what the overlap and the special tokens
    leave is shared in half: a question keeps so many tokens at most, its first, and a window goes on by so many at
    least. DataError for a split of no span questions, for a length that the encoder has no positions for, and for an
    overlap that leaves no room.
    """
    if split.labels:
        raise DataError(f"{split.path}: no span questions; a split with labels is read by data.tokenised")
    key = (split.fingerprint(), tokenizer_fingerprint(tokenizer), max_length, stride)
    if key not in _windows:
        _windows[key] = _cut(split.frame(), tokenizer, max_length, stride)
        while len(_windows) > _KEPT:
            _windows.popitem(last=False)
    _windows.move_to_end(key)
    return _windows[key]


def _cut(frame: pd.DataFrame, tokenizer: Any, max_length: int, stride: int) -> Windows:
    room = _room(tokenizer, max_length, stride)
    parts = []
    for start in range(0, len(frame), _AT_ONCE):
        some = frame.iloc[start : start + _AT_ONCE]
        encoding = tokenizer(
            _shortened(some["question"].tolist(), tokenizer, room),
            some["context"].tolist(),
            truncation="only_second",
            max_length=max_length,
            stride=stride,
            padding=False,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        parts.append(_arrays(encoding, some["answers"].tolist(), start, tokenizer))
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    starts = np.concatenate([[0], np.cumsum(whole["lengths"])])
    tokens = {name: whole[name] for name in padding if name in whole}
    encoded = Encoded(tokens, padding, starts, whole["gold"], ())
    return Windows(encoded, whole["question"], whole["offsets"], whole["null"])


def _room(tokenizer: Any, max_length: int, stride: int) -> int:
    """Tokens that a question may keep; DataError where there are none."""
    longest = tokenizer.model_max_length
    if not 0 < max_length <= longest:
        raise DataError(f"max_length {max_length}: the tokenizer's encoder reads 1 to {longest} tokens")
    free: int = max_length - tokenizer.num_special_tokens_to_add(pair=True)
    if stride < 0 or free - stride < 2:
        raise DataError(
            f"stride {stride}: windows of {max_length} tokens, {free} without the special ones, may share from 0 to "
            f"{free - 2}, so that a question and new context fit"
        )
    return (free - stride) // 2


def _shortened(questions: list[str], tokenizer: Any, room: int) -> list[str]:
    """The questions, cut behind their `room`-th token. A text cut between two tokens keeps the tokens before."""
    encoding = tokenizer(
        questions, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False
    )
    offsets = encoding["offset_mapping"]
    return [
        text if len(of) <= room else text[: of[room - 1][1]]
        for text, of in zip(questions, offsets, strict=True)
    ]


def _arrays(
    encoding: Any, answers: Sequence[dict[str, list[Any]]], start: int, tokenizer: Any
) -> dict[str, np.ndarray]:
    """Flat arrays of the windows of some questions, whose first is row `start` of the frame."""
    tokens = {name: encoding[name] for name in ("input_ids", "token_type_ids") if name in encoding}
    question = np.array(encoding["overflow_to_sample_mapping"], np.int64)
    offsets, gold, null = [], [], []
    for window, row in enumerate(question):
        own = np.array(encoding["offset_mapping"][window], np.int32)
        own[np.array([text != 1 for text in encoding.sequence_ids(window)])] = -1
        ids = encoding["input_ids"][window]
        nowhere = ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else len(ids) - 1
        offsets.append(own)
        null.append(nowhere)
        gold.append(_span(own, answers[row]) or (nowhere, nowhere))
    return {name: np.concatenate(lists, dtype=np.int32) for name, lists in tokens.items()} | {
        "lengths": np.array([len(own) for own in offsets], np.int64),
        "offsets": np.concatenate(offsets),
        "question": question + start,
        "gold": np.array(gold, np.int64),
        "null": np.array(null, np.int64),
    }


def _span(offsets: NDArray[np.int32], answers: dict[str, list[Any]]) -> tuple[int, int] | None:
    """Positions of the first listed answer's first and last token; None where the window does not hold all of it."""
    inside = np.flatnonzero(offsets[:, 0] >= 0)
    if not answers["text"] or not len(inside):
        return None
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    starts, ends = offsets[inside].T
    first = np.searchsorted(ends, begin, side="right")
    last = np.searchsorted(starts, end, side="left") - 1
    if starts[0] > begin or ends[-1] < end or first > last:
        return None
    return int(inside[first]), int(inside[last])
