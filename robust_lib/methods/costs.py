"""What models weigh, and what units would cost."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
import transformers
from accelerate import Accelerator
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from robust_lib import data, heads, masks, models, passes, quantize, runs, train
from robust_lib.methods.attacking import attacked, bert_attacked
from robust_lib.methods.compression import cls_states, q8_ptq
from robust_lib.methods.representation import vectors
from robust_lib.methods.robustness import head_importance
from robust_lib.methods.subnetworks import mask_trained


def millions(encoder: models.Encoder, labels: Sequence[str]) -> tuple[float, float]:
    """Millions of parameters of the encoder's classifier, and of those in the matrices that pruning removes from."""
    model = encoder.classifier(labels, seed=0)
    matrices = sum(linear.weight.numel() for linear in masks.linears(model).values())
    return sum(models.parameter_counts(model).values()) / 1e6, matrices / 1e6


def head_millions(encoder: models.Encoder, labels: Sequence[str]) -> float:
    """Millions of parameters that go with one attention head."""
    model = encoder.classifier(labels, seed=0)
    whole = model.num_parameters()
    heads.remove(model, {0: [0]})
    return (whole - model.num_parameters()) / 1e6


def megabytes(encoder: models.Encoder, labels: Sequence[str]) -> tuple[float, float]:
    """Size of the encoder's classifier in megabytes, in fp32 and after 8-bit quantisation."""
    model = encoder.classifier(labels, seed=0)
    return quantize.size(model) / 1e6, quantize.size(quantize.dynamic(model)) / 1e6


def weighed(*, encoder: models.Encoder) -> dict[str, float]:
    """Table 1 of paper 2, of an encoder under a reader's head: layers, millions of parameters, width, megabytes.

    Counted in the loaded model, without the pooler that a reader does not use; four bytes for each parameter.
    """
    model = encoder.reader(seed=0)
    parameters = model.num_parameters()
    return {
        "layers": len(models.layer_stack(model)[1]),
        "parameters": parameters / 1e6,
        "width": model.config.hidden_size,
        "megabytes": 4 * parameters / 1e6,
    }


def footprint(
    *, model: transformers.PreTrainedModel, encoder: models.Encoder, split: data.Split, max_length: int
) -> dict[str, float]:
    """What a model weighs: `layers`, millions of `parameters`, `megabytes`, and `gflop` of one forward pass.

    One example of the split's mean length goes forward. A quantised model has the bytes of its integer weights
    (`quantize.dynamic`) and as many operations, most of them in 8 bits.
    """
    plain = quantize.unwrapped(model) if quantize.simulated(model) else model
    small = quantize.dynamic(plain) if quantize.simulated(model) else model
    tokens = round(data.tokenised(split, encoder.tokenizer(), max_length).lengths.mean())
    # The counter does not see the CPU's fused attention.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        plain(input_ids=torch.ones(1, tokens, dtype=torch.int64))
    return {
        "layers": len(models.layer_stack(plain)[1]),
        "parameters": sum(models.parameter_counts(plain).values()) / 1e6,
        "megabytes": quantize.size(small) / 1e6,
        "gflop": counter.get_total_flops() / 1e9,
    }


def timed(
    *,
    compressed: Mapping[str, transformers.PreTrainedModel],
    teacher: transformers.PreTrainedModel,
    encoders: Mapping[str, models.Encoder],
    split: data.Split,
    max_length: int,
    batch_sizes: Sequence[int],
    rounds: int,
) -> pd.DataFrame:
    """Seconds for the examples of a split, each compressed model beside the teacher in every round, who first by turns.

    Columns: method, device, threads (of the CPU), batch_size, round, teacher, seconds (two times). All are timed on
    the CPU, quantised models in 8-bit integers (`quantize.dynamic`), and where models are trained if that is another
    device, the quantised ones not. `encoders` by method, of the teacher under "Teacher". A first round, which warms
    up, is not in the table.
    """
    rows = []
    for place in dict.fromkeys((torch.device("cpu"), Accelerator().device)):
        on_cpu = place.type == "cpu"
        ready = {
            name: quantize.dynamic(quantize.unwrapped(model))
            if quantize.simulated(model)
            else torch.nn.Module.to(model, place)
            for name, model in compressed.items()
            if on_cpu or not quantize.simulated(model)
        }
        known = ready | {"Teacher": torch.nn.Module.to(teacher, place)}
        device = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
        texts = {
            (name, size): _inputs(encoders[name], split, max_length, size, place)
            for name, size in itertools.product(known, batch_sizes)
        }
        for turn, size, name in itertools.product(range(rounds + 1), batch_sizes, ready):
            order = ("Teacher", name) if turn % 2 else (name, "Teacher")
            times = {one: _seconds(known[one], texts[one, size]) for one in order}
            if turn:
                rows.append(
                    (name, device, torch.get_num_threads(), size, turn, times["Teacher"], times[name])
                )
    columns = ["method", "device", "threads", "batch_size", "round", "teacher", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def _inputs(
    encoder: models.Encoder, split: data.Split, max_length: int, batch_size: int, place: torch.device
) -> list[dict[str, torch.Tensor]]:
    """The split's batches as the encoder reads them, where the model is."""
    encoded = data.tokenised(split, encoder.tokenizer(), max_length)
    batches = data.batches(encoded, batch_size)
    return [{name: batch[name].to(place) for name in passes.INPUTS if name in batch} for batch in batches]


def _seconds(model: torch.nn.Module, batches: Sequence[Mapping[str, torch.Tensor]]) -> float:
    """Time of the forward passes, until the device has done them."""
    started = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            last = model(**batch).logits
        last.cpu()  # waits for the device
    return time.perf_counter() - started


# Examples of the whole splits, as paper 1 counts them (appendix B); for estimates alone.
ROWS = {
    "mnli/train": 392_702,
    "fever/train": 242_911,
    "qqp/train": 363_846,
    "hans/train": 30_000,
    "hans/validation": 30_000,
    "fever/dev": 16_664,
    "qqp/validation": 40_430,
    "paws_wiki/train": 49_401,
    "paws_wiki/test": 8_000,
    "paws_qqp/train": 11_988,
    "paws_qqp/dev_and_test": 677,
    "sst2/train": 67_349,
    "sst2/validation": 872,
    "attack_sets/mnli_matched": 1_000,
    "squad/train_v2": 130_319,
    "squad/validation_v2": 11_873,
    "imdb/train": 25_000,
    "imdb/test": 25_000,
    "attack_sets/imdb": 1_000,
}
ROWS_ELSEWHERE = 9_815  # of MNLI-matched
TOKENS = {"squad": 170, "imdb": 270}  # of an example: a question and its context, a review
TOKENS_ELSEWHERE = 40  # MNLI's mean is 38
QUERIES = {
    attacked: 90,
    bert_attacked: 450,
}  # of an attack: as paper 3 counts them, as BERT-Attack prints them


def work(unit: runs.Unit) -> float:
    """Estimated floating-point operations of a unit of this module: 2 per weight and token forward, 6 trained.

    What mask training looks at on the way is left out.
    """
    arguments = unit.arguments
    recipe: train.Recipe | None = arguments.get("recipe")
    if not {"encoder", "split"} <= arguments.keys() or not (recipe or "max_length" in arguments):
        return 0.0  # on saved predictions, weights or the texts' words alone
    examples = _rows(arguments["split"]) + sum(
        times * _rows(one) for one, times in arguments.get("extra", ())
    )
    times = 6 * recipe.epochs * recipe.until if recipe else 6 if unit.function is head_importance else 2
    times *= QUERIES.get(unit.function, 1)
    tokens = TOKENS.get(arguments["split"].task, TOKENS_ELSEWHERE)
    tokens = min(tokens, recipe.max_length if recipe else arguments["max_length"])
    return float(times * examples * tokens * arguments["encoder"].weights())


def size(unit: runs.Unit) -> int:
    """Estimated bytes that a unit leaves in the store: a model in fp32 with 30 % embeddings on top, a mask, a frame."""
    arguments = unit.arguments
    if unit.function is mask_trained:
        return int(arguments["encoder"].weights()) // 8
    if unit.function is cls_states:
        return 2 * _rows(arguments["split"]) * len(arguments["layers"]) * int(arguments["encoder"].shape()[1])
    if unit.function is vectors:
        return 4 * _rows(arguments["split"]) * int(arguments["encoder"].shape()[1])
    if "recipe" in arguments or unit.function is q8_ptq:
        return round(4 * 1.3 * int(arguments["encoder"].weights()))
    split: data.Split | None = arguments.get("test", arguments.get("split"))
    return 30 * _rows(split) if split else 0


def memory(unit: runs.Unit) -> float:
    """Estimated bytes on the GPU while a unit runs, for the largest batch it may meet; 0 for one without an encoder.

    A weight in fp32 takes 4 bytes, and trained 16: with gradient and AdamW's two moments. Each layer keeps for the
    backward pass 68 bytes of every token and unit of width, 34 in 16 bits (Korthikanti et al. 2022, section 4, without
    the attention matrices, which fused attention never holds).
    """
    encoder, recipe = unit.arguments.get("encoder"), unit.arguments.get("recipe")
    if encoder is None:
        return 0.0
    layers, width = encoder.shape()
    parameters = 1.3 * encoder.weights()
    if recipe is None:
        return float(4 * parameters)
    kept = 34 if recipe.precision == "bf16" else 68
    return float(16 * parameters + kept * recipe.batch_size * recipe.max_length * layers * width)


def _rows(split: data.Split) -> int:
    return int(split.size or ROWS.get(split.path, ROWS_ELSEWHERE))
