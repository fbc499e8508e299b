"""Typed parameters: one model per notebook, one clear error before anything starts.

The values of a run come from three places, each over the one before: the notebook's own tagged cell (the
micro scale), a YAML under `params/`, and the command line, or by hand the notebook's cells. `check` judges the
values; `plan.missing` looks whether the data directory and the encoder they name are there.

A notebook's setup cell says `p = params.check("01_robustness_study", globals())` and uses `p.sparsities`.
In the checked values a whole number given for a real one is real (`1` is `1.0`): equal settings, equal units.
A data directory is always named by `source` itself (`-p source "$ROBUST_DATA"`); no environment variable changes it.
"""

from __future__ import annotations

import ast
import difflib
import importlib.metadata
import itertools
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)


class ParameterError(ValueError):
    """Parameters that cannot be used: names file, field, value, what is allowed, the nearest valid name."""


def _distinct(values: list[Any]) -> list[Any]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value!r} is named twice")
    return values


def _ascending(values: list[float]) -> list[float]:
    if values != sorted(values):
        raise ValueError(f"should ascend: {sorted(values)}")
    return values


def _member(value: Any) -> Any:
    return {"encoder": value} if isinstance(value, str) else value


def _two_levels(sparsities: list[float]) -> None:
    if len(sparsities) < 2:
        raise ValueError(f"sparsities = {sparsities}: a variance needs two levels")


def _inference_alone(tasks: list[str]) -> list[str]:
    if tasks != ["mnli"]:
        raise ValueError("section 4 of the paper is about mnli alone")
    return tasks


ENGINE = r"processes|ray|(ray://)?[^\s:/]+:[0-9]+"
_axis = (Field(min_length=1), AfterValidator(_distinct))
Name = Annotated[str, Field(min_length=1)]
SplitPath = Annotated[str, Field(pattern=r"^[a-z0-9_]+/[a-z0-9_]+$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1, lt=2**63)]
Sparsity = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Task = Literal["mnli", "fever", "qqp"]
Loss = Literal["poe", "reweight", "confreg"]


class Common(BaseModel):
    """What every notebook has. A field's description says what is allowed; the errors quote it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    scale: Literal["micro", "colab", "paper"] = Field(description="micro, colab or paper")
    source: Name = Field(description="micro, hub, or the path of a data directory")
    engine: Annotated[str, Field(pattern=f"^({ENGINE})$")] = Field(
        description="processes, ray, or host:port of a Ray cluster"
    )
    seeds: Annotated[list[Seed], *_axis] = Field(description="at least one whole number from 0, none twice")


class FineTuning(Common):
    """What every notebook that fine-tunes has too."""

    tasks: Annotated[list[Task], *_axis] = Field(description="at least one of mnli, fever, qqp")
    train_size: Count | None = Field(description="training examples per task, from 1, or null for all")
    test_size: Count | None = Field(description="examples per test bed, from 1, or null for all")
    epochs: Count = Field(description="dense fine-tuning epochs, a whole number from 1")
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="peak learning rate, above 0 and below 1"
    )
    batch_size: Count = Field(description="examples per step, a whole number from 1")
    max_length: Annotated[int, Field(ge=8)] = Field(description="tokens per example, a whole number from 8")
    warmup: Share = Field(description="share of steps with a rising learning rate, from 0 to below 1")
    weight_decay: Share = Field(description="decoupled weight decay, from 0 to below 1")
    precision: Literal["fp32", "bf16"] = Field(description="fp32 or bf16")

    @property
    def recipe(self) -> dict[str, Any]:
        """The values that make a `train.Recipe`."""
        names = "epochs", "learning_rate", "batch_size", "max_length", "warmup", "weight_decay", "precision"
        return {name: getattr(self, name) for name in names}


class Pruning(FineTuning):
    """What the three notebooks of paper 1 have in common: pruning during fine-tuning."""

    encoder: Name = Field(description="a micro-* encoder, a name of the papers, a hub id, or a directory")
    train_paths: dict[Task, SplitPath] = Field(description="task: dataset/split, as mnli: mnli/train_subset")
    sparsities: Annotated[list[Sparsity], *_axis, AfterValidator(_ascending)] = Field(
        description="shares of weights removed, each above 0 and below 1, ascending, none twice"
    )
    schedule: Literal["cubic", "stepwise"] = Field(description="cubic or stepwise")
    pruning_epochs: Count = Field(description="epochs from 1: per level if stepwise, in all if cubic")
    warmup: Annotated[float, Field(ge=0, lt=1 / 3)] = Field(
        description="share of steps with a rising learning rate, from 0 to below 1/3: pruning needs the rest"
    )


class RobustnessStudy(Pruning):
    """01_robustness_study: pruned, distilled, small, head-pruned and 8-bit models against a dense control."""

    small_encoders: dict[Name, Name] = Field(
        description="row of Table 2: its encoder, as MiniLM: micro-minilm"
    )
    truncated_layers: Count | None = Field(
        description="layers of Truncated-l6, from 1, or null for no such row"
    )
    head_share: Sparsity = Field(description="share of attention heads removed, above 0 and below 1")
    more_heads: Sparsity = Field(description="a larger share of attention heads, above 0 and below 1")
    head_versions: Annotated[list[Seed], *_axis] = Field(
        description="a seed per version: it draws the examples that rank the heads"
    )
    head_sample: Count = Field(description="training examples that rank the heads, from 1")
    head_epochs: Count = Field(description="epochs after the heads are removed, from 1")
    merge: Literal["argmax", "sum"] = Field(description="three MNLI classes to HANS's two: argmax or sum")

    @model_validator(mode="after")
    def _more(self) -> Self:
        if self.more_heads <= self.head_share:
            raise ValueError(
                f"more_heads = {self.more_heads} should be above head_share = {self.head_share}, "
                "the share it is compared with"
            )
        return self


class Attribution(Pruning):
    """02_attribution: easy and hard examples, and the variance of the loss over pruned models."""

    tasks: Annotated[list[Task], AfterValidator(_inference_alone)] = Field(
        description="[mnli], as in the paper"
    )
    easy_share: Sparsity = Field(description="share of examples called easy, above 0 and below 1")
    sample_sizes: Annotated[list[Count], AfterValidator(_distinct)] = Field(
        description="numbers of training examples for a cheaper stage one, from 1, none twice"
    )
    top_layers: Annotated[list[Count], AfterValidator(_distinct)] = Field(
        description="numbers of last layers pruned and trained for a cheaper stage one, from 1, none twice"
    )

    @model_validator(mode="after")
    def _stage_one(self) -> Self:
        _two_levels(self.sparsities)
        if self.train_size and max(self.sample_sizes, default=0) > self.train_size:
            raise ValueError(
                f"sample_sizes = {self.sample_sizes} should not exceed train_size = {self.train_size}"
            )
        return self


class RobustCompression(Pruning):
    """03_rmc: RMC and its baselines."""

    student: Name = Field(
        description="the distilled encoder: a micro-* one, a name, a hub id, or a directory"
    )
    student_layers: Count | None = Field(description="first layers of the student kept, or null for all")
    sparsity: Sparsity = Field(description="the sparsity of Table 4, one of `sparsities`")
    weight: Annotated[float, Field(ge=0, le=1)] = Field(description="lambda of equation 3, from 0 to 1")
    degree: Annotated[float, Field(ge=0, le=1)] = Field(description="d of Smooth, from 0 to 1")
    gamma: Annotated[float, Field(ge=0)] = Field(description="gamma of Focal, from 0")
    up_weight: Annotated[float, Field(gt=0)] = Field(description="weight of JTT's errors, above 0")
    jtt_epochs: Count = Field(description="epochs of JTT's first model, from 1")
    alpha: dict[Task, Annotated[float, Field(ge=0, le=1)]] = Field(
        description="task: alpha of equation 1, from 0 to 1; a task that is not named takes the chosen one"
    )
    alpha_grid: Annotated[list[Annotated[float, Field(ge=0, le=1)]], *_axis, AfterValidator(_ascending)] = (
        Field(description="the alphas to choose from, each from 0 to 1, ascending, none twice")
    )
    easy_share: Sparsity = Field(description="share of development examples called easy, above 0 and below 1")
    merge: Literal["argmax", "sum"] = Field(description="three MNLI classes to HANS's two: argmax or sum")

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if self.sparsity not in self.sparsities:
            raise ValueError(f"sparsity = {self.sparsity} should be one of sparsities = {self.sparsities}")
        _two_levels(self.sparsities)
        return self


class Subnetworks(FineTuning):
    """04_srnets: sparse and robust subnetworks by mask training and iterative magnitude pruning."""

    encoder: Name = Field(description="a micro-* encoder, a name of the papers, a hub id, or a directory")
    figures: Annotated[list[Annotated[int, Field(ge=2, le=8)]], *_axis, AfterValidator(_ascending)] = Field(
        description="figures of the paper to rebuild, each from 2 to 8, ascending, none twice"
    )
    more_encoders: Annotated[list[Name], AfterValidator(_distinct)] = Field(
        description="encoders of appendix C.5, none twice"
    )
    train_paths: dict[Task, SplitPath] = Field(description="task: dataset/split, as mnli: mnli/train_subset")
    by_task: dict[Task, dict[Name, Any]] = Field(
        description="task: {parameter: value}, where a task's value is another"
    )
    more_losses: Annotated[list[Literal["reweight", "confreg"]], AfterValidator(_distinct)] = Field(
        description="losses of appendix C.1: reweight, confreg, none twice"
    )
    loss_epochs: dict[Loss, Count] = Field(
        description="loss: epochs of dense fine-tuning from 1, where not `epochs`; poe, reweight, confreg"
    )
    sparsities: Annotated[list[Sparsity], *_axis, AfterValidator(_ascending)] = Field(
        description="shares of weights removed by mask training, each above 0 and below 1, ascending, none twice"
    )
    mask_epochs: Count = Field(description="epochs of mask training, a whole number from 1")
    mask_loss_epochs: dict[Loss, Count] = Field(
        description="loss: epochs of mask training from 1, where not `mask_epochs`; poe, reweight, confreg"
    )
    mask_learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        description="peak learning rate of the scores, above 0 and below 1, or null to choose on the development set"
    )
    mask_rates: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], *_axis, AfterValidator(_ascending)] = (
        Field(description="rates to choose from, and of the table of mask changes, ascending, none twice")
    )
    init: Literal["hard", "soft"] = Field(description="how scores begin at fixed sparsity: hard or soft")
    interval: Count = Field(description="steps between re-thresholdings, a whole number from 1")
    select_from: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of mask training after which a mask may be chosen, from 0 to 1"
    )
    imp_sparsities: Annotated[list[Sparsity], AfterValidator(_distinct), AfterValidator(_ascending)] = Field(
        description="shares of weights removed by IMP, a round each, above 0 and below 1, ascending, none twice"
    )
    imp_epochs: Count = Field(description="epochs of the whole schedule of IMP, of which a round is a tenth")
    ood_size: Count | None = Field(description="examples of each OOD training set, from 1, or null for all")
    ood_epochs: Count = Field(description="epochs of mask training with OOD data, a whole number from 1")
    ood_learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        description="peak rate of the scores there, above 0 and below 1, or null for `mask_learning_rate`'s"
    )
    sparsity: Sparsity = Field(description="the sparsity of Figure 7, above 0 and below 1")
    starts: Annotated[list[Share], *_axis, AfterValidator(_ascending)] = Field(
        description="shares of dense fine-tuning where Figure 7 starts, from 0 to below 1; its end comes on top"
    )
    high_sparsity: Sparsity = Field(description="the sparsity of Figure 8, above 0 and below 1")
    initial_sparsity: Sparsity = Field(description="where the gradual increase of Figure 8 begins")
    lengths: Annotated[list[Count], *_axis] = Field(
        description="epochs of mask training in Figure 8, none twice"
    )
    merge: Literal["argmax", "sum"] = Field(description="three MNLI classes to HANS's two: argmax or sum")

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.initial_sparsity >= self.high_sparsity:
            raise ValueError(
                f"initial_sparsity = {self.initial_sparsity} should be below high_sparsity = {self.high_sparsity}"
            )
        _judge_overrides(self, "task", self.by_task, OF_A_TASK)
        return self

    def of(self, task: Task) -> Self:
        """The values that hold for a task: its own in `by_task`, else those of all."""
        return type(self).model_validate(self.model_dump() | self.by_task.get(task, {}) | {"by_task": {}})


# Parameters of 04_srnets that may have another value for a task.
OF_A_TASK = (
    "train_size", "epochs", "loss_epochs", "learning_rate", "warmup", "mask_epochs", "mask_loss_epochs",
    "mask_learning_rate", "interval", "imp_epochs", "ood_size", "ood_epochs", "ood_learning_rate", "starts", "lengths",
)  # fmt: skip


# Rows of Tables 1 to 3 of paper 3 under their printed names, and three of ours.
Method = Literal[
    "Truncate & Finetune", "Pure KD", "Q8-PTQ", "Q8-QAT", "Head Prune", "DistilBERT", "TinyBERT", "BERT-PKD",
    "BERT-of-Theseus", "Head Prune +Finetune", "Head Prune +KD", "Head Prune +KD+PTQ", "Q8-PTQ +Finetune",
    "Q8-PTQ +KD", "Theseus +KD", "Theseus +KD+PTQ", "Q8-PTQ, integer", "Teacher, another seed", "Teacher +Finetune",
]  # fmt: skip
METHODS: tuple[str, ...] = get_args(Method)
UNTRAINED = ("Q8-PTQ", "Q8-PTQ, integer", "Head Prune", "Head Prune +KD+PTQ", "Theseus +KD+PTQ")
OF_A_METHOD = ("epochs", "learning_rate", "batch_size", "warmup")  # may have another value for a method


class Loyalty(FineTuning):
    """05_loyalty: loyalty and adversarial robustness of compressed models."""

    tasks: Annotated[list[Literal["mnli", "sst2"]], *_axis] = Field(  # type: ignore[assignment]  # other tasks
        description="mnli, sst2 or both"
    )
    encoder: Name = Field(description="a micro-* encoder, a name of the papers, a hub id, or a directory")
    student_layers: Annotated[int, Field(ge=2)] = Field(
        description="first layers of the teacher that a student keeps, from 2: BERT-PKD leaves the last one out"
    )
    distilbert: Name | None = Field(description="encoder of the row DistilBERT, or null for no such row")
    tinybert: Name | None = Field(description="encoder of the row TinyBERT, or null for no such row")
    rows: dict[Literal["mnli", "sst2"], Annotated[list[Method], AfterValidator(_distinct)]] = Field(
        description="task: rows beside the teacher, under their printed names, none twice"
    )
    train_paths: dict[Literal["mnli", "sst2"], SplitPath] = Field(
        description="task: dataset/split, as mnli: mnli/train_subset"
    )
    by_method: dict[Method, dict[Name, Any]] = Field(
        description="method: {parameter: value}, where a method's value is another"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(description="of every distillation, above 0")
    reduction: Literal["batchmean", "mean"] = Field(
        description="of the KD loss: batchmean, or mean, which divides by the classes too"
    )
    pkd_alpha: Annotated[float, Field(ge=0, le=1)] = Field(description="share of KD in BERT-PKD, from 0 to 1")
    pkd_beta: Annotated[float, Field(ge=0)] = Field(
        description="weight of the hidden states in BERT-PKD, from 0"
    )
    theseus_slope: Annotated[float, Field(ge=0)] = Field(description="k: replacing rate per step, from 0")
    theseus_base: Annotated[float, Field(ge=0, le=1)] = Field(
        description="b: replacing rate at the start, from 0 to 1"
    )
    head_share: Sparsity = Field(description="share of attention heads removed, above 0 and below 1")
    head_sample: Count | None = Field(description="training examples that rank the heads, or null for all")
    calibration_size: Count = Field(
        description="training examples that set the 8-bit ranges and the similarity threshold, from 1"
    )
    q8_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="decay of the moving activation ranges in training, from 0 to below 1"
    )
    attack_paths: dict[Literal["mnli", "sst2"], SplitPath] = Field(
        description="task: split that is attacked; not named: the first test bed"
    )
    attack_size: Count | None = Field(description="examples attacked for each task, from 1, or null for all")
    modes: Annotated[list[Literal["authors", "textattack", "paper"]], *_axis] = Field(
        description="readings of TextFooler: authors, textattack, paper; the first makes the tables"
    )
    words: Name = Field(description="neighbours and tags: micro, or the path of a data directory")
    sentences: Name | None = Field(
        description="encoder of TextFooler's sentence similarity, or null to leave the check out"
    )
    budget: Count | None = Field(description="most queries for an example, from 1, or null for no limit")
    speed_batches: Annotated[list[Count], *_axis] = Field(
        description="batch sizes that are timed, none twice"
    )
    speed_rounds: Annotated[int, Field(ge=2)] = Field(description="rounds of timing, a whole number from 2")

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        named = {method for methods in self.rows.values() for method in methods}
        for method, encoder in (("DistilBERT", self.distilbert), ("TinyBERT", self.tinybert)):
            if method in named and encoder is None:
                raise ValueError(f"rows: {method} needs an encoder; {method.lower()} is null")
        for method in self.by_method:
            if method in UNTRAINED:
                raise ValueError(f"by_method[{method!r}]: nothing is trained there, so nothing can differ")
        _judge_overrides(self, "method", self.by_method, OF_A_METHOD)
        return self

    def of(self, method: str) -> Self:
        """The values that hold for a method: its own in `by_method`, else those of all."""
        own = {str(name): values for name, values in self.by_method.items()}
        return type(self).model_validate(self.model_dump() | own.get(method, {}) | {"by_method": {}})


class Member(BaseModel):
    """A member of the family: a checkpoint, whole, its first `layers`, or with a share of its weights removed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    encoder: Name
    layers: Count | None = None
    sparsity: Share = 0.0


class Reading(BaseModel):
    """A reading of BERT-Attack: the mode, `k` candidates for each sub-word, at most so many important words."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mode: Literal["authors", "textattack", "exact"]
    k: Count
    most: Count | None = None
    filtered: bool = True


# Parameters of 06_miniature that may have another value for a task, and for a model.
OF_A_TRAINING = (
    "train_size", "test_size", "epochs", "learning_rate", "batch_size", "max_length", "warmup", "weight_decay",
)  # fmt: skip
OF_A_MODEL = ("epochs", "learning_rate", "batch_size", "warmup", "weight_decay")


class Miniature(FineTuning):
    """06_miniature: errors, neighbours, OOD detection and BERT-Attack of a model and its compressed versions."""

    tasks: Annotated[list[Literal["squad", "imdb"]], *_axis] = Field(  # type: ignore[assignment]  # other tasks
        description="squad (Tables 1 and 2, Figure 1), imdb (Table 3) or both"
    )
    family: Annotated[dict[Name, Annotated[Member, BeforeValidator(_member)]], Field(min_length=2)] = Field(
        description="name: encoder, or {encoder, layers, sparsity}; at least two, the original first, the smallest last"
    )
    repeated: Annotated[list[Name], AfterValidator(_distinct)] = Field(
        description="members fine-tuned once more with another seed, the control; none twice"
    )
    twins: Annotated[list[Name], AfterValidator(_distinct)] = Field(
        description="two encoders that differ in their pretraining seed, the control before fine-tuning, or []"
    )
    train_paths: dict[Literal["squad", "imdb"], SplitPath] = Field(
        description="task: dataset/split, as squad: squad/train_stand_in"
    )
    test_paths: dict[Literal["squad", "imdb"], SplitPath] = Field(
        description="task: the split it is tested on, where not its development set; imdb: the attacked split"
    )
    challenge: SplitPath = Field(description="split of OOD questions: newsqa/validation, policyqa/test")
    by_task: dict[Literal["squad", "imdb"], dict[Name, Any]] = Field(
        description="task: {parameter: value}, where a task's value is another"
    )
    by_model: dict[Name, dict[Name, Any]] = Field(
        description="member: {parameter: value}, where a model's value is another"
    )
    stride: Count = Field(description="tokens that two windows of a context share, from 1")
    no_answer: float = Field(
        description="no answer is given where the null score is above the best span's by more than this"
    )
    points: Annotated[list[Literal["pair", "context", "question"]], *_axis] = Field(
        description="what a data point is: pair, context, question; the first makes the tables"
    )
    summary: Literal["cls", "mean"] = Field(description="vector of a text: cls, or mean of its tokens (T5)")
    ks: Annotated[list[Count], *_axis, AfterValidator(_ascending)] = Field(
        description="numbers of neighbours, from 1, ascending, none twice"
    )
    k: Count = Field(description="the number of neighbours of Table 2, one of `ks`")
    index_size: Count | None = Field(
        description="training examples that distances are measured to, from 1, or null for all"
    )
    challenge_size: Count | None = Field(description="OOD questions, from 1, or null for all")
    ood_share: Sparsity = Field(
        description="share of in-distribution points within the threshold, above 0 and below 1"
    )
    ood_by: Literal["heldout", "train"] = Field(
        description="points that set the threshold: heldout (development) or train (each but itself)"
    )
    attacker: Name = Field(description="encoder whose masked-language-model head writes the candidates")
    attacker_path: SplitPath = Field(description="texts that this head is trained on, if `attacker_epochs`")
    attacker_epochs: Annotated[int, Field(ge=0)] = Field(
        description="epochs of masked-language modelling, a whole number from 0: 0 takes the head as it is"
    )
    attacker_size: Count | None = Field(description="texts for it, from 1, or null for all")
    attacks: Annotated[dict[Name, Reading], Field(min_length=1)] = Field(
        description="name: {mode, k, most, filtered}, a reading of BERT-Attack; the first makes Table 3"
    )
    attack_size: Count | None = Field(description="texts attacked, from 1, or null for all")
    words: Name = Field(description="synonyms that filter candidates: micro, or the path of a data directory")
    sentences: Name | None = Field(
        description="encoder of the sentence similarity of mode textattack, or null to leave the check out"
    )
    budget: Count | None = Field(description="most queries for an example, from 1, or null for no limit")
    errors: Name | None = Field(
        description="data directory with published/miniature_error_ids, or null to leave that section out"
    )

    @property
    def original(self) -> str:
        """The model that the others are compressed versions of."""
        return next(iter(self.family))

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for field, names in (("repeated", self.repeated), ("by_model", self.by_model)):
            for name in names:
                if name not in self.family:
                    raise ValueError(f"{field}: {name!r} is not of the family; {nearest(name, self.family)}")
        if len(self.twins) not in (0, 2):
            raise ValueError(f"twins = {self.twins}: two encoders, or none")
        if both := sorted(set(self.twins) & set(self.family)):
            raise ValueError(f"twins: {both[0]!r} is a name of the family too; give that member another name")
        if self.k not in self.ks:
            raise ValueError(f"k = {self.k} should be one of ks = {self.ks}")
        again = sorted(seed for seed in self.seeds if self.repeated and seed - 1000 in self.seeds)
        if again:
            raise ValueError(f"seeds: {again[0]} is that of the second training of seed {again[0] - 1000}")
        _judge_overrides(self, "task", self.by_task, OF_A_TRAINING)
        self._fitting_sizes()
        _judge_overrides(self, "model", self.by_model, OF_A_MODEL, lambda model: self.of("squad", model))
        return self

    def _fitting_sizes(self) -> None:
        """Neighbours are found among as many points, and the index is of training examples."""
        own = self.model_dump() | self.by_task.get("squad", {})
        for name in ("test_size", "index_size"):
            if own[name] is not None and own[name] <= self.ks[-1]:
                raise ValueError(f"{name} = {own[name]} should be above the largest of ks = {self.ks}")
        if own["train_size"] and (self.index_size is None or self.index_size > own["train_size"]):
            raise ValueError(
                f"index_size = {self.index_size} should not exceed train_size = {own['train_size']}"
            )
        if self.stride >= own["max_length"]:
            raise ValueError(f"stride = {self.stride} should be below max_length = {own['max_length']}")

    def of(self, task: str, model: str = "") -> Self:
        """The values that hold for a task, or a model in it: their own, else those of all; the model's come last."""
        by_task = {str(name): own for name, own in self.by_task.items()}
        own = by_task.get(task, {}) | self.by_model.get(model, {})
        return type(self).model_validate(self.model_dump() | own | {"by_task": {}, "by_model": {}})


def _judge_overrides(
    study: Subnetworks | Loyalty | Miniature,
    kind: str,
    values: Mapping[Any, Mapping[str, Any]],
    allowed: Iterable[str],
    of: Callable[[Any], object] | None = None,
) -> None:
    """Raise ValueError unless every task's (method's, model's) own values are of parameters that may differ, and fit.

    `of` gives the study with one's own values; by default the study's own `of`.
    """
    for one, own in values.items():
        where = f"by_{kind}[{one!r}]"
        for name in own:
            if name not in allowed:
                raise ValueError(f"{where}: {name!r} differs by no {kind}; {nearest(name, allowed)}")
        try:
            (of or study.of)(one)
        except ValidationError as error:
            raise ValueError(_report(where, type(study), error)) from None


class Audited(BaseModel):
    """A model under audit: where it lies, and what its files do not tell."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    place: Name
    mask: Name | None = None
    tokenizer: Name | None = None
    labels: Annotated[list[Name], AfterValidator(_distinct)] | None = None
    revision: Name = "main"


def _worded(values: Any) -> Any:
    """Labels as they stand in a file: YAML reads 0 as a number."""
    return {str(value): meant for value, meant in values.items()} if isinstance(values, dict) else values


class Tabled(BaseModel):
    """A table of texts: where it lies, and what is not to be guessed of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    place: Name
    text: Annotated[list[Name], Field(max_length=2), AfterValidator(_distinct)] = []
    label: Name | None = None
    values: Annotated[dict[str, Name], BeforeValidator(_worded)] = {}


def _placed(value: Any) -> Any:
    return {"place": value} if isinstance(value, str) else value


AuditedModel = Annotated[Audited, BeforeValidator(_placed)]
AuditedTable = Annotated[Tabled, BeforeValidator(_placed)]
_MODEL = (
    "a transformers directory, hub id, .onnx file or file.py:function, or {place, mask, tokenizer, labels}"
)
_TABLE = "a csv, tsv, jsonl or parquet file or owner/name/split of the hub, or {place, text, label, values}"


class Audit(Common):
    """07_audit: what changed between a model and its compressed version."""

    scale: Literal["micro", "own"] = Field(  # type: ignore[assignment]  # no scale of the papers
        description="micro for the example, own for models of yours"
    )
    source: Name | None = Field(  # type: ignore[assignment]  # an audit can do without
        description="whose synonyms TextFooler takes: micro, a data directory with lexica/, or null for no attack"
    )
    name: Annotated[str, Field(pattern="^[a-z0-9_]+$")] = Field(
        description="of the audit, in lower-case letters, digits and _: its folder of results"
    )
    original: AuditedModel = Field(description=_MODEL)
    compressed: AuditedModel = Field(description=_MODEL)
    second: AuditedModel | None = Field(
        description=f"the original trained again with another seed: {_MODEL}; or null"
    )
    test: AuditedTable = Field(description=_TABLE)
    ood: AuditedTable | None = Field(description=f"{_TABLE}; or null")
    train: AuditedTable | None = Field(description=f"{_TABLE}; or null")
    slices: Annotated[list[Name], AfterValidator(_distinct)] = Field(
        description="columns of the test set, or pandas queries as length > 20; none twice"
    )
    minutes: Annotated[float, Field(gt=0)] = Field(description="what it may take on one core, above 0")
    max_length: Annotated[int, Field(ge=8)] = Field(description="tokens per text, a whole number from 8")
    sentences: Name | None = Field(
        description="encoder that judges how alike an attacked text stays, or null for no such check"
    )
    speed_batches: Annotated[list[Count], *_axis] = Field(
        description="texts per batch that is timed, each from 1, none twice"
    )
    speed_rounds: Annotated[int, Field(ge=2)] = Field(description="rounds of timing, a whole number from 2")
    examples: Annotated[int, Field(ge=0)] = Field(
        description="texts shown of each kind, from 0: none leaves all texts out of the page"
    )
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=1)] = Field(
        description="one whole number from 0: it draws the samples"
    )


class MicroWorld(FineTuning):
    """00_micro_world: how the embedded world is made."""

    scale: Literal["micro"] = Field(description="micro, the only scale of this notebook")
    source: Literal["micro"] = Field(description="micro, the only source of this notebook")
    encoders: Annotated[list[Name], *_axis] = Field(description="at least one micro-* encoder, none twice")


# Rows of the matrix: under the names of 05_loyalty where they are its rows, else with the share that is removed.
Compression = Literal[
    "Teacher, another seed", "Teacher +Finetune", "IMP 40 %", "IMP 70 %", "IMP 70 %, all weights", "One-shot 50 %",
    "Pruned 40 %, then trained", "Distil 40 %", "Smooth 40 %", "Focal 40 %", "JTT 40 %", "RMC 40 %", "Mask 70 %",
    "Mask 70 %, PoE", "Mask 70 %, in isolation", "Heads 19 %", "Head Prune", "Head Prune +Finetune", "Head Prune +KD",
    "Truncate & Finetune", "Pure KD", "BERT-PKD", "BERT-of-Theseus", "Theseus +KD", "Q8-PTQ", "Q8-PTQ, integer",
    "Q8-QAT", "Q8-PTQ +Finetune", "Q8-PTQ +KD", "Head Prune +KD+PTQ", "Theseus +KD+PTQ", "DistilBERT", "TinyBERT",
    "MiniLM", "Pretrained-l6", "BERT-medium", "BERT-mini", "BERT-tiny",
]  # fmt: skip
Smaller = Literal[
    "DistilBERT", "TinyBERT", "MiniLM", "Pretrained-l6", "BERT-medium", "BERT-mini", "BERT-tiny"
]
Classified = Literal["mnli", "fever", "qqp", "sst2"]


class Matrix(FineTuning):
    """08_matrix: every compression method of the four papers by every measure of the four papers."""

    scale: Literal["micro"] = Field(description="micro, the only scale of this notebook")
    source: Literal["micro"] = Field(description="micro, the only source of this notebook")
    tasks: Annotated[list[Literal["mnli", "fever", "qqp", "sst2", "squad"]], *_axis] = Field(  # type: ignore[assignment]  # more tasks
        description="at least one of mnli, fever, qqp, sst2, squad"
    )
    train_size: Count = Field(description="training examples per task, from 1")
    test_size: Annotated[int, Field(ge=2)] = Field(description="examples per test bed, from 2")
    more_epochs: Count = Field(description="epochs of what goes on from the teacher, a whole number from 1")
    encoder: Name = Field(description="the teacher, a micro-* encoder")
    small_encoders: dict[Smaller, Name] = Field(description="row: its encoder, as MiniLM: micro-minilm")
    student_layers: Annotated[int, Field(ge=2)] = Field(
        description="first layers of the teacher that a student keeps, from 2: BERT-PKD leaves the last one out"
    )
    rows: dict[Name, dict[Compression, Literal[1, 2, 3, 4] | None]] = Field(
        description="family: {method: the paper it is of, 1 to 4, or null for ours}"
    )
    window: Annotated[int, Field(ge=8)] = Field(description="tokens of a question and a window, from 8")
    stride: Count = Field(description="tokens that two windows of a context share, from 1, below `window`")
    temperature: Annotated[float, Field(gt=0)] = Field(
        description="of every distillation of paper 3, above 0"
    )
    theseus_slope: Annotated[float, Field(ge=0)] = Field(description="k: replacing rate per step, from 0")
    alpha: Annotated[float, Field(ge=0, le=1)] = Field(description="alpha of RMC, from 0 to 1")
    mask_learning_rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="peak learning rate of the masks' scores, above 0 and below 1"
    )
    head_sample: Count = Field(description="training examples that rank the heads, from 1")
    calibration_size: Count = Field(
        description="training examples that set the 8-bit ranges and the similarity threshold, from 1"
    )
    attacked_tasks: Annotated[list[Classified], AfterValidator(_distinct)] = Field(
        description="tasks whose models are attacked, of mnli, fever, qqp, sst2; none twice"
    )
    attack_size: Count = Field(description="examples attacked for each of these tasks, from 1")
    words: Literal["micro"] = Field(description="micro, the only neighbours and tags of this notebook")
    sentences: Name | None = Field(
        description="encoder of TextFooler's sentence similarity, or null to leave the check out"
    )
    k: Count = Field(description="neighbours of a test example, and of the distance to training data, from 1")
    index_size: Count = Field(description="training examples that distances are measured to, above `k`")
    speed_batch: Count = Field(description="examples per batch that is timed, from 1")
    speed_rounds: Annotated[int, Field(ge=2)] = Field(description="rounds of timing, a whole number from 2")

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        names = [name for family in self.rows.values() for name in family]
        if "Teacher, another seed" not in names:
            raise ValueError("rows: 'Teacher, another seed' is missing; every other row is read against it")
        if len(names) - len(self.rows.get("control", ())) < 4:
            raise ValueError("rows: fewer than four methods beside the family `control` cannot be ranked")
        if self.tasks == ["squad"]:
            raise ValueError("tasks: squad has readers of a few methods alone; name another task beside it")
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"rows: {min(twice)!r} is in two families")
        for name in names:
            if name in get_args(Smaller) and name not in self.small_encoders:
                raise ValueError(f"rows: {name!r} has no encoder in small_encoders")
        near = [(a, b) for a in self.seeds for b in self.seeds if a - b in (1000, 2000)]
        if near:
            raise ValueError(f"seeds: {near[0][0]} is that of another training of seed {near[0][1]}")
        for field in ("test_size", "index_size"):
            if getattr(self, field) <= self.k:
                raise ValueError(f"{field} = {getattr(self, field)} should be above k = {self.k}")
        if self.index_size > self.train_size or self.stride >= self.window:
            raise ValueError("index_size should not exceed train_size, and stride should be below window")
        return self


NOTEBOOKS: dict[str, type[Common]] = {
    "00_micro_world": MicroWorld,
    "01_robustness_study": RobustnessStudy,
    "02_attribution": Attribution,
    "03_rmc": RobustCompression,
    "04_srnets": Subnetworks,
    "05_loyalty": Loyalty,
    "06_miniature": Miniature,
    "07_audit": Audit,
    "08_matrix": Matrix,
}


def check(notebook: str, parameters: Mapping[str, Any], *, file: str | Path | None = None) -> Any:
    """The notebook's parameters as its model: every one is named, none is unknown, each in its range.

    parameters: names to values, or the notebook's own `globals()` (its own and papermill's).
    file: where they were written, for the message. Raises one ParameterError that lists every problem.

    In an open notebook `scale = "colab"`, set by hand in the tagged cell or in a cell after it, takes the other values
    from that scale's YAML, except those edited in the tagged cell and all that a cell after it names; a line says so.
    Where papermill has set the scale, the values are taken as they stand. ParameterError where the cell that set it
    cannot be read, as nothing then tells micro's values from edited ones.
    """
    where = str(file or notebook)
    if notebook not in NOTEBOOKS:
        raise ParameterError(f"{where}: no notebook {notebook!r}; {nearest(notebook, NOTEBOOKS)}")
    model = NOTEBOOKS[notebook]
    if file is None and "__builtins__" in parameters:
        cells, scale = _cells(parameters), parameters.get("scale")
        if "In" in parameters and not cells and scale in ("colab", "paper"):
            raise ParameterError(
                f"{where}: scale = {scale!r}: run the cell of values again, with plain values"
            )
        parameters = _assigned(parameters, model)
        if _by_hand(cells) and scale in ("colab", "paper"):
            parameters = _at_scale(notebook, parameters, cells)
    try:
        return model.model_validate(dict(parameters))
    except ValidationError as error:
        raise ParameterError(_report(where, model, error)) from None


def as_published(notebook: str, checked: Common) -> bool:
    """Whether values are the paper's, those of `params/paper/`; seeds, precision, engine and where data lie are free.

    Only then may a number of ours be held against a printed one. False for a notebook that has no such file.
    """
    file = project() / "params" / "paper" / f"{notebook}.yaml"
    if not file.exists():
        return False
    own, paper = checked.model_dump(), check(notebook, load(file), file=file).model_dump()
    free = {"seeds", "source", "words", "errors", "precision", "engine"}
    return all(own[name] == paper[name] for name in paper.keys() - free)


def project() -> Path:
    """The folder of the notebooks/ and params/ that this package came with: its checkout, else where pip put them."""
    checkout = Path(__file__).parents[1]
    if (checkout / "notebooks").is_dir() and (checkout / "params").is_dir():
        return checkout
    # As pip recorded it: share/ is not below sys.prefix everywhere (Debian's Python, `pip install --user`).
    for distribution in importlib.metadata.distributions(name="robust-lib"):
        for file in distribution.files or ():
            if file.match("share/robust_lib/notebooks/*.py"):
                return Path(str(file.locate())).resolve().parents[1]
    raise ParameterError(f"{checkout}: no notebooks/ and params/ here or with pip; install robust-lib again")


def gather(notebook: Path, *, file: str | Path | None = None, given: Mapping[str, Any] | None = None) -> Any:
    """The parameters of a run: the notebook's tagged cell, over it a YAML, then what is `given` by hand."""
    named = (load(file) if file else {}) | dict(given or {})
    return check(notebook.stem, defaults(notebook) | named, file=origin(notebook, file, given))


def origin(notebook: Path, file: str | Path | None, given: Mapping[str, Any] | None) -> str:
    """Where the parameters of a run were written, for messages."""
    return f"{file or notebook}{' with the command line' if given else ''}"


def load(file: str | Path) -> dict[str, Any]:
    """Names to values of a YAML. They are judged by `check`, over the notebook's defaults.

    Raises ParameterError for a file that is missing, not YAML, not a mapping of names, names a key twice, or holds
    what no parameter is: a tag, a text with control characters or of more than 1,000, more than 10,000 values.
    """
    try:
        with Path(file).open(encoding="utf-8") as stream:
            text = stream.read(_LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file}: cannot be read ({error}); expected a YAML of parameters") from None
    if len(text) > _LARGEST:
        raise ParameterError(f"{file}: has more than {_LARGEST} characters; expected a YAML of parameters")
    try:
        loader = _Plain(text)
        root = loader.get_single_node()
        repeated = [problem for node in _nodes(root) for problem in _repeated(node)]
        values = loader.construct_document(root) if root else None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ParameterError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ParameterError(f"{file}: holds {_short(values)}, expected lines of `name: value`")
    if repeated:
        raise ParameterError(f"{file}: {_few('; ', repeated)}")
    if odd := [name for name in values if not isinstance(name, str)]:
        kind = type(odd[0]).__name__
        raise ParameterError(
            f"{file}: {_short(odd[0])}: YAML reads a {kind} here, expected a parameter's name"
        )
    return values


def defaults(notebook: str | Path) -> dict[str, Any]:
    """The assignments in the tagged cell of a notebook's py:percent file, read and never run.

    Raises ParameterError when there is not exactly one such cell or a value is not a literal.
    """
    cells = re.split(r"^(?=# %%)", Path(notebook).read_text(encoding="utf-8"), flags=re.MULTILINE)
    tagged = [cell for cell in cells if re.match(r"# %%.*\btags=\[[^\]]*\"parameters\"", cell)]
    if len(tagged) != 1:
        raise ParameterError(f"{notebook}: {len(tagged)} cells tagged `parameters`, expected one")
    values = literals(tagged[0])
    if values is None:
        raise ParameterError(f"{notebook}: the cell tagged `parameters` may only hold `name = literal`")
    return values


def literals(source: str) -> dict[str, Any] | None:
    """Names to values of a cell that holds nothing but `name = literal` lines, else None."""
    try:
        statements = ast.parse(source).body
        values = {}
        for statement in statements:
            if isinstance(statement, ast.Assign):
                (target,), value = statement.targets, statement.value
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                target, value = statement.target, statement.value
            else:
                return None
            if not isinstance(target, ast.Name):
                return None
            values[target.id] = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return None
    return values


def nearest(name: object, valid: Iterable[str]) -> str:
    """`did you mean x?` where one valid name is close, else the list of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"allowed: {', '.join(names)}"


def _before(namespace: Mapping[str, Any]) -> list[str]:
    """The cells that ran before the running one."""
    return list(namespace.get("In", []))[:-1]


def _adjoining(namespace: Mapping[str, Any]) -> list[str]:
    """The cells of plain assignments just before the running one."""
    return list(itertools.takewhile(literals, reversed(_before(namespace))))[::-1]


def _cells(namespace: Mapping[str, Any]) -> list[str]:
    """The cells of plain assignments from the last that assigns `scale` on, whatever ran between and after them.

    The tagged cell, and those that papermill or a reader puts after it. [] where that cell holds more than values.
    """
    before = _before(namespace)
    naming = [
        number
        for number, cell in enumerate(before)
        if re.search(r"^scale\s*(:[^=]*)?=(?!=)", cell, re.MULTILINE)
    ]
    if not naming or literals(before[naming[-1]]) is None:
        return []
    first = min(naming[-1], len(before) - len(_adjoining(namespace)))
    return [cell for cell in before[first:] if literals(cell)]


def _assigned(namespace: Mapping[str, Any], model: type[Common]) -> dict[str, Any]:
    """The parameters in a running notebook: the model's fields, and whatever the cells of plain assignments just
    before it assign, in which a misspelt name would otherwise go unseen."""
    named = (name for cell in _adjoining(namespace) for name in _named(cell))
    return {
        name: namespace[name] for name in dict.fromkeys([*model.model_fields, *named]) if name in namespace
    }


def _named(cell: str) -> list[str]:
    return list(literals(cell) or ())


def _by_hand(cells: list[str]) -> bool:
    """Whether the scale was set by a reader: papermill begins its cell with a comment of its own."""
    naming = [cell for cell in cells if "scale" in _named(cell)]
    return bool(naming) and not naming[-1].startswith("# Parameters\n")


def _at_scale(notebook: str, values: Mapping[str, Any], cells: list[str]) -> dict[str, Any]:
    """The values of the scale that was set by hand, and over them those that a reader has edited or named."""
    folder, scale = project(), values["scale"]
    file = folder / "params" / scale / f"{notebook}.yaml"
    if not file.exists():
        return dict(values)  # a notebook without that scale: refused like any other value
    tagged = defaults(folder / "notebooks" / f"{notebook}.py")
    added = {name for cell in cells if not tagged.keys() <= {*_named(cell)} for name in _named(cell)}
    own = {
        name: value
        for name, value in values.items()
        if name in added or name not in tagged or value != tagged[name]
    }
    edited = ", ".join(f"{name} = {_short(value)}" for name, value in own.items() if name != "scale")
    print(f"scale {scale}: the values of params/{scale}/{notebook}.yaml{edited and f', but {edited}'}")
    return tagged | load(file) | own


# Far above any file of parameters; without them a small file could take minutes, by aliases of aliases.
_LARGEST, _MOST, _LONGEST = 20_000, 10_000, 1_000  # characters of a file, values, characters of a value


# Characters that end up in a text by accident alone; the lines of a block (| or >) end in one of them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class _Plain(yaml.SafeLoader):
    """YAML without tags as `!!python/object`: parameters need none, and PyYAML stumbles over `!!int x`."""

    def fetch_tag(self) -> None:
        """ValueError in the place of a tag."""
        raise ValueError(f"a tag, !, in line {self.line + 1}; write plain values")


def _nodes(root: yaml.Node | None) -> list[yaml.Node]:
    """All nodes of a document, those behind an alias each time. ValueError for too many, or one that none should be."""
    nodes, waiting = [], [root] if root else []
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        line = f"in line {node.start_mark.line + 1}"
        if len(nodes) > _MOST:
            raise ValueError(f"more than {_MOST} values, counting those that aliases repeat; write fewer")
        if isinstance(node, yaml.ScalarNode) and len(node.value) > _LONGEST:
            raise ValueError(
                f"{len(node.value)} characters, {_short(node.value)}, {line}; write a shorter value"
            )
        if isinstance(node, yaml.ScalarNode):
            text = node.value.replace("\n", "") if node.style in ("|", ">") else node.value
            if _CONTROL.search(text):
                raise ValueError(f"control characters, {_short(node.value)}, {line}; remove them")
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return nodes


def _repeated(node: yaml.Node) -> list[str]:
    """Keys that stand twice in a mapping: YAML keeps the last without a word."""
    first: dict[str, int] = {}
    found = []
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
        name, line = str(key.value), key.start_mark.line + 1
        if name in first:
            found.append(f"{name} is given twice, in lines {first[name]} and {line}")
        first.setdefault(name, line)
    return found


def _few(joint: str, texts: list[str], most: int = 20) -> str:
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return joint.join(texts[:most] + more)


def _report(where: str, model: type[Common], error: ValidationError) -> str:
    lines = [_problem(model, problem) for problem in error.errors(include_url=False)]
    if len(lines) == 1:
        return f"{where}: {lines[0]}"
    return _few("\n  ", [f"{where}: {len(lines)} parameters cannot be used", *lines])


def _problem(model: type[Common], problem: Any) -> str:
    """One line: field, value, what is wrong, what is allowed, the nearest valid name."""
    if not problem["loc"]:  # two parameters that do not fit each other
        return str(problem["msg"]).removeprefix("Value error, ")
    field, *rest = problem["loc"]
    where = str(field) + "".join(f"[{part!r}]" for part in rest if part != "[key]")
    given = "" if problem["type"] in ("missing", "invalid_key") else f" = {_short(problem['input'])}"
    if field not in model.model_fields:
        return f"{where}{given}: no such parameter; {nearest(field, model.model_fields)}"
    allowed = model.model_fields[field].description
    if problem["type"] == "missing":
        return f"{where}: is missing; allowed: {allowed}"
    wrong = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{where}{given}: {wrong}; allowed: {allowed}{_hint(model, problem)}"


def _hint(model: type[Common], problem: Any) -> str:
    """The nearest choice for a misspelt one; how YAML and papermill want a number or a list written."""
    value, kind = problem["input"], problem["type"]
    if kind == "literal_error" and isinstance(value, str):
        choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        close = difflib.get_close_matches(value, choices, n=1, cutoff=0.5)
        return f"; did you mean {close[0]}?" if close else ""
    if kind in ("float_type", "int_type") and isinstance(value, str):
        return "; a number stands without quotes, and YAML reads 2e-5 as text: write 2.0e-5"
    if kind in ("list_type", "dict_type") and isinstance(value, str):
        return f"; papermill takes lists and mappings as -y '{problem['loc'][0]}: {value}'"
    return ""


def _short(value: object) -> str:
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = 80
    return shortened.repr(value)
