"""Victims, the oracles that attacks ask: a transformers classifier, or a function from texts to probabilities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from robust_lib import passes
from robust_lib.attack.engine import Oracle, Rows, Text

STEP = 8  # padded lengths are its multiples
Tokens = dict[str, list[int]]  # the encoder's inputs of one text: input_ids, and token_type_ids if it has any
Reading = Callable[[Any, Mapping[str, Tensor]], Tensor]


def classifier(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    *,
    max_length: int,
    rows: int | None = None,
    precision: passes.Precision = "fp32",
    device: torch.device | None = None,
) -> Oracle:
    """A classifier's probabilities, softmax in fp64 of its logits, in the order of `models.labels(model)`.

    Texts are cut to `max_length` tokens, pairs from their longer text, as `data.tokenised` does. The probabilities of
    a text do not depend on what is asked beside it: see `Forward`, also on `rows`. torch's dynamic 8-bit models
    (`quantize.dynamic`, on the CPU: give the device) take one activation range per batch, so theirs do, unless `rows`
    is 1. The model moves to `device` (the one there is if None) and out of training mode, and stays so.
    """

    def probabilities(output: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = output.logits.cpu().double()  # on the CPU, as not every device has fp64
        return logits.softmax(dim=-1)

    return Forward(
        model,
        tokenizer,
        probabilities,
        max_length=max_length,
        rows=rows,
        precision=precision,
        device=device,
    )


class Forward:
    """An oracle over a transformers model whose numbers for a text depend on that text alone, to the last bit.

    The order in which a matrix product sums depends on its shape, and whether attention is masked decides on its
    kernel. So a forward pass always has `rows` rows (missing ones repeat the first), its length is the next multiple
    of 8 of its texts' own, and texts that fill it up are kept apart from those that are padded. `reading` takes
    the model's output and its inputs to one row of numbers for each text.

    8 rows, the default there, cost a CPU least: few are fillings. Elsewhere it is 128. Other `rows`, threads or devices
    are other sums: the numbers differ in their last digits between them. A device that runs out of memory needs fewer.
    """

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        tokenizer: transformers.PreTrainedTokenizerBase,
        reading: Reading,
        *,
        max_length: int,
        rows: int | None = None,
        precision: passes.Precision = "fp32",
        device: torch.device | None = None,
    ) -> None:
        if not 0 < max_length <= tokenizer.model_max_length:
            raise ValueError(
                f"max_length {max_length}: the encoder reads 1 to {tokenizer.model_max_length} tokens"
            )
        if rows is not None and rows < 1:
            raise ValueError(f"rows {rows}: a forward pass has at least one")
        self.tokenizer, self.reading = tokenizer, reading
        self.device = device or Accelerator().device
        self.max_length, self.precision = max_length, precision
        self.rows = rows or (8 if self.device.type == "cpu" else 128)
        self.model = nn.Module.to(model, self.device).train(False)
        self.read: dict[Text, Tokens] = {}  # tokenised for their lengths, and not yet asked for

    def lengths(self, texts: Sequence[Text]) -> Sequence[int]:
        """Tokens of each text, once cut."""
        return [len(tokens["input_ids"]) for tokens in self.tokenised(texts)]

    def __call__(self, texts: Sequence[Text]) -> Rows:
        """The numbers of each text, (texts, numbers)."""
        tokenised = self.tokenised(texts)
        alike: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for index, tokens in enumerate(tokenised):
            length = len(tokens["input_ids"])
            width = min(-(-length // STEP) * STEP, self.max_length)
            alike[width, length == width].append(index)
        order: list[int] = []
        parts: list[Tensor] = []
        for (width, _), indices in alike.items():
            for start in range(0, len(indices), self.rows):
                chunk = indices[start : start + self.rows]
                order += chunk
                parts.append(self._forward([tokenised[index] for index in chunk], width)[: len(chunk)])
        for text in texts:  # whoever asks keeps the rows; a batch that failed is asked again
            self.read.pop(text, None)
        numbers = torch.cat(parts).cpu().numpy().astype(np.float64)
        rows = np.empty_like(numbers)
        rows[order] = numbers
        return rows

    def tokenised(self, texts: Sequence[Text]) -> list[Tokens]:
        """The encoder's inputs of each text; between `lengths` and the call they are kept."""
        new = [text for text in dict.fromkeys(texts) if text not in self.read]
        if new:
            columns = [list(column) for column in zip(*new, strict=True)]
            encoding = self.tokenizer(
                *columns,
                truncation=True,
                max_length=self.max_length,
                padding=False,
                return_attention_mask=False,
            )
            for index, text in enumerate(new):
                self.read[text] = {name: encoding[name][index] for name in passes.INPUTS if name in encoding}
        return [self.read[text] for text in texts]

    def _forward(self, chunk: list[Tokens], width: int) -> Tensor:
        """One pass of `rows` rows and `width` tokens."""
        filled = [*chunk, *[chunk[0]] * (self.rows - len(chunk))]
        padding = {
            "input_ids": self.tokenizer.pad_token_id,
            "token_type_ids": self.tokenizer.pad_token_type_id,
        }
        lengths = [len(tokens["input_ids"]) for tokens in filled]
        arrays: dict[str, NDArray[np.int64]] = {
            name: np.array(
                [tokens[name] + [padding[name]] * (width - len(tokens[name])) for tokens in filled]
            )
            for name in chunk[0]
        }
        arrays["attention_mask"] = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
        inputs = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        with torch.inference_mode(), passes.autocast(self.device, self.precision):
            return self.reading(self.model(**inputs), inputs)


def function(f: Callable[[Sequence[Text]], Rows]) -> Oracle:
    """Anything else that takes texts to probabilities (texts, classes): a served endpoint, an ONNX session.

    A text's length is its words. What `f` says of a text should not depend on what it is asked beside it.
    """
    return _Function(f)


@dataclass(frozen=True)
class _Function:
    f: Callable[[Sequence[Text]], Rows]

    def __call__(self, texts: Sequence[Text]) -> Rows:
        return self.f(texts)

    def lengths(self, texts: Sequence[Text]) -> Sequence[int]:
        return [sum(len(column.split()) for column in text) for text in texts]
