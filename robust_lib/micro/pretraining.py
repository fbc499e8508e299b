"""Pretraining from scratch: masked words and next sentence, jointly.

With BERT's own initialisation encoders of this size do not learn to copy a word from the other sentence within
thousands of steps. Four changes make them do so in a few hundred: wider initialisation, key = query (attention looks
for the same word), attention output = value transposed (what was read is written back as it was), and the MLM
transform = identity. What each encoder's masked-word loss did is in its `pretraining.json`.
"""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertForPreTraining, PreTrainedTokenizerFast

from robust_lib.micro import corpus, tokenizer
from robust_lib.micro.draws import Draws
from robust_lib.micro.family import POSITIONS, Encoder

BATCH = 128
LEARNING_RATE = 1e-3
WARM_UP = 0.08  # share of the steps; then linear to zero
MASKED = 0.15  # share of the tokens, all replaced by [MASK]
POOL = 8  # batches drawn together and sorted by length
INITIALIZER_RANGE = 0.05  # of micro-base: 128 wide, heads of 32
# Schedules, as shares of the steps: consequences replace repetitions, then unrelated pairs become frequent.
DIFFERENT = (250 / 1500, 650 / 1500)
NEGATIVE, NEGATIVE_SHARES = (400 / 1500, 700 / 1500), (0.15, 0.45)


class Batch(NamedTuple):
    """Masked pairs. `places` indexes the masked tokens in the flattened (batch, length) grid, `hidden` is
    what they were.
    """

    inputs: dict[str, Tensor]
    places: Tensor
    hidden: Tensor
    unrelated: Tensor


class Progress(NamedTuple):
    """Measured over the last steps of a stretch of training."""

    step: int
    seconds: float
    mlm_loss: float
    nsp_accuracy: float


def fresh(encoder: Encoder, seed: int) -> BertForPreTraining:
    """An untrained encoder with both heads, initialised so that it can learn to copy."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer.vocabulary()),
        hidden_size=encoder.hidden,
        num_hidden_layers=encoder.layers,
        num_attention_heads=encoder.heads,
        intermediate_size=4 * encoder.hidden,
        max_position_embeddings=POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=initializer_range(encoder),
    )
    model = BertForPreTraining(config)
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            attention: Any = layer.attention
            own = attention.self
            own.key.weight.copy_(own.query.weight)
            attention.output.dense.weight.copy_(own.value.weight.T)
        model.cls.predictions.transform.dense.weight.copy_(torch.eye(encoder.hidden))
    return model


def initializer_range(encoder: Encoder) -> float:
    """Standard deviation of the initial weights, such that a word attends to itself as much at every width.

    With key = query that score is range^2 * hidden * sqrt(hidden / heads), before training.
    """
    head = encoder.hidden / encoder.heads
    return float(INITIALIZER_RANGE * ((128 * 32**0.5) / (encoder.hidden * head**0.5)) ** 0.5)


def ramp(share: float, stretch: tuple[float, float], values: tuple[float, float] = (0.0, 1.0)) -> float:
    """Linear from the first to the second value while `share` crosses the stretch."""
    along = min(max((share - stretch[0]) / (stretch[1] - stretch[0]), 0.0), 1.0)
    return values[0] + along * (values[1] - values[0])


def batches(
    draws: Draws, steps: int, words: PreTrainedTokenizerFast, *, mature: bool = False
) -> Iterator[Batch]:
    """Batches of the corpus on its schedule; `mature` starts where the schedule ends, for distillation."""
    generator = torch.Generator().manual_seed(draws.below(2**31))
    for start in range(0, steps, POOL):
        share = 1.0 if mature else start / steps
        negative = ramp(share, NEGATIVE, NEGATIVE_SHARES)
        pool = corpus.pairs(draws, BATCH * POOL, different=ramp(share, DIFFERENT), negative=negative)
        pool.sort(key=lambda pair: len(pair.first.split()) + len(pair.second.split()))
        for chosen in draws.several(range(POOL), min(POOL, steps - start)):
            yield masked(pool[chosen * BATCH : (chosen + 1) * BATCH], words, generator)


def masked(pairs: list[corpus.Pair], words: PreTrainedTokenizerFast, generator: torch.Generator) -> Batch:
    """The pairs as one batch with some tokens hidden."""
    texts = [pair.first for pair in pairs], [pair.second for pair in pairs]
    encoded = words(*texts, padding=True, truncation="longest_first", return_tensors="pt")
    ids = encoded["input_ids"]
    special = (ids == words.pad_token_id) | (ids == words.cls_token_id) | (ids == words.sep_token_id)
    chosen = (torch.rand(ids.shape, generator=generator) < MASKED) & ~special
    places = chosen.flatten().nonzero().squeeze(1)
    inputs = {
        "input_ids": ids.masked_fill(chosen, words.mask_token_id),
        "token_type_ids": encoded["token_type_ids"],
        "attention_mask": encoded["attention_mask"],
    }
    return Batch(
        inputs, places, ids.flatten()[places], torch.tensor([int(not pair.follows) for pair in pairs])
    )


def word_logits(model: BertForPreTraining, states: Tensor, places: Tensor) -> Tensor:
    """Masked-word logits at the masked places only, which is most of the saving of a small encoder."""
    logits: Tensor = model.cls.predictions(states.flatten(0, 1)[places])
    return logits


def optimiser(
    model: nn.Module, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW with linear warm-up and decay."""
    adam = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    warm = max(1, int(WARM_UP * steps))
    rate = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda s: min((s + 1) / warm, (steps - s) / (steps - warm))
    )
    return adam, rate


def pretrain(encoder: Encoder, *, steps: int | None = None) -> tuple[BertForPreTraining, list[Progress]]:
    """An encoder pretrained on the world's corpus, and its loss every 50 steps.

    Deterministic from `encoder.seed` on one machine with one thread; sums of floats may differ between
    processors.
    """
    steps = steps or encoder.steps
    model, words = fresh(encoder, encoder.seed), tokenizer.build()
    adam, rate = optimiser(model, steps)
    meter = Meter()
    for batch in batches(Draws("pretraining", encoder.seed), steps, words):
        out = model.bert(**batch.inputs)
        guesses = word_logits(model, out.last_hidden_state, batch.places)
        relation = model.cls.seq_relationship(out.pooler_output)
        loss = F.cross_entropy(guesses, batch.hidden) + F.cross_entropy(relation, batch.unrelated)
        step(model, loss, adam, rate)
        meter.add(guesses, relation, batch)
    return model, meter.progress


def step(
    model: nn.Module, loss: Tensor, adam: torch.optim.Optimizer, rate: torch.optim.lr_scheduler.LRScheduler
) -> None:
    """One clipped update."""
    adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    rate.step()


class Meter:
    """Averages masked-word loss and next-sentence accuracy over stretches of steps and prints them."""

    def __init__(self, every: int = 50) -> None:
        self.progress: list[Progress] = []
        self._every, self._losses, self._hits, self._start = every, [0.0] * 0, [0.0] * 0, time.perf_counter()
        self._steps = 0

    def add(self, guesses: Tensor, relation: Tensor, batch: Batch) -> None:
        self._steps += 1
        self._losses.append(F.cross_entropy(guesses.detach(), batch.hidden).item())
        self._hits.append((relation.argmax(-1) == batch.unrelated).float().mean().item())
        if self._steps % self._every == 0:
            count = len(self._losses)
            seconds = time.perf_counter() - self._start
            new = Progress(self._steps, seconds, sum(self._losses) / count, sum(self._hits) / count)
            self.progress.append(new)
            print(
                f"step {new.step} {new.seconds:.0f} s MLM {new.mlm_loss:.3f} NSP {new.nsp_accuracy:.3f}",
                flush=True,
            )
            self._losses, self._hits = [], []
