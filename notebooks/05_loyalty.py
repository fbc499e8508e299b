# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 Loyalty: does a compressed model do what the original does, and does it resist attacks?
#
# Paper 3, *Beyond Preserved Accuracy: Evaluating Loyalty and Robustness of BERT Compression*. Rebuilds **Tables 1, 2 and 3** (Figure 1 is
# a diagram of the three metrics; ours draws them), and judges the claims of sections 3.1, 4.3, 5 and 6.
#
# The claim in one sentence: *distillation keeps a compressed model loyal to its teacher, and quantising after training makes it
# drastically more robust to attacks.*
#
# Two trainings of one model also differ: **the teacher trained again with another seed** is the control that says how much
# disloyalty belongs to compression, and beside every loyalty stands what two models of these accuracies would reach that know
# nothing of each other.
#
# Micro scale: 3:49 with one seed on two cores from an empty store; part of it on real MNLI and SST-2,
# small, in README. Colab and paper scale are not measured: `make plan`.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/robust-lib/robust-lib/blob/main/notebooks/05_loyalty.ipynb)

# %% [markdown]
# Where the package is missing, as on Colab, it is installed first. Real words want a lexicon that is on no hub: on Colab, run these
# lines after the first cell; then `scale = "colab"` in the cell of values is enough: what is not changed there comes from that
# scale's file.
#
# ```
# !wget https://github.com/nmrksic/counter-fitting/raw/master/word_vectors/counter-fitted-vectors.txt.zip
# !unzip counter-fitted-vectors.txt.zip
# !python -m robust_lib.attack build counter-fitted-vectors.txt data
# !python -m nltk.downloader -d data/lexica/nltk_data averaged_perceptron_tagger_eng universal_tagset
# ```

# %%
import importlib.metadata
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("robust_lib") is None:  # as on Colab; the torch that is there stays
    package = os.environ.get("ROBUST_PACKAGE", "git+https://github.com/robust-lib/robust-lib")
    kept = [f"torch=={torch.version}" for torch in importlib.metadata.distributions(name="torch")]
    owners = importlib.metadata.packages_distributions()
    loaded = {owner for name in owners.keys() & sys.modules.keys() for owner in owners[name]}
    before = {name: importlib.metadata.version(name) for name in loaded}
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package, *kept], check=True)
    if replaced := [name for name in loaded if importlib.metadata.version(name) != before[name]]:
        raise RuntimeError(f"restart the runtime, run all again: {', '.join(replaced)} had been loaded")

# %% tags=["parameters"]
scale = "micro"  # micro, colab or paper; names the outputs and decides what may be called reproduced
source = "micro"  # micro, hub, or a data directory
tasks = ["mnli", "sst2"]  # Tables 1 and 2; Table 3
encoder = "micro-base"  # the teacher
student_layers = 2  # that a student keeps of it
distilbert = "micro-distil"
tinybert = "micro-tinybert"
rows = {  # beside the teacher
    "mnli": [
        "Truncate & Finetune", "Pure KD", "Q8-PTQ", "Q8-QAT", "Head Prune", "DistilBERT", "TinyBERT", "BERT-PKD",
        "BERT-of-Theseus", "Head Prune +Finetune", "Head Prune +KD", "Head Prune +KD+PTQ", "Q8-PTQ +Finetune",
        "Q8-PTQ +KD", "Theseus +KD", "Theseus +KD+PTQ", "Q8-PTQ, integer", "Teacher, another seed", "Teacher +Finetune",
    ],
    "sst2": ["Pure KD", "Head Prune", "Q8-QAT", "Q8-PTQ", "Q8-PTQ, integer", "Teacher, another seed"],
}  # fmt: skip
train_paths = {}  # task: dataset/split, where it is not the task's own training set
train_size = 5000  # examples per task; None for all
test_size = 2000  # examples per test bed; None for all
epochs = 2
learning_rate = 4e-4
batch_size = 32
max_length = 40  # tokens
warmup = 0.1  # share of the steps
weight_decay = 0.01
precision = "fp32"
by_method = {}  # method: {parameter: value}; the papers' appendix A is params/paper
temperature = 10.0  # of every distillation
reduction = "batchmean"  # of the KD loss: batchmean, or mean, which divides by the classes too
pkd_alpha = 0.7
pkd_beta = 500.0
theseus_slope = 0.003  # k, per step: all modules are replaced from step 167 of 314
theseus_base = 0.5  # b
head_share = 0.4444  # of the attention heads removed: 64 of BERT-base's 144, 7 of 16 here
head_sample = 1000  # training examples that rank the heads; None for all
calibration_size = 512  # training examples that set the 8-bit ranges and the similarity threshold
q8_decay = 0.99  # of the moving ranges in training; 0.9999 moves over ten thousand steps
attack_paths = {}  # task: the split that is attacked, where it is not the first test bed
attack_size = 200  # examples attacked; None for all
modes = ["authors", "textattack", "paper"]  # readings of TextFooler; the first makes the tables
words = "micro"  # neighbours and tags: micro, or a data directory
sentences = "micro-base"  # encoder of the sentence similarity; None leaves the check out
budget = None  # most queries for an example
speed_batches = [1, 32]  # examples per batch that is timed
speed_rounds = 5
engine = "processes"  # processes, ray, or host:port of a Ray cluster: where units run
seeds = [0]  # each draws a training set, a head, an order

# %% [markdown]
# The parameters are judged before anything runs; the run records what it was made with.

# %% tags=["setup"]
import functools

import pandas as pd

from robust_lib import (
    compare,
    data,
    methods,
    models,
    objectives,
    params,
    plan,
    published,
    replace,
    report,
    runs,
    train,
)
from robust_lib.attack import lexica, textfooler

p = params.check("05_loyalty", globals())
run = runs.start("05_loyalty", p)
run

# %% [markdown]
# ## The teacher, and what its students learn from
#
# Every method begins with the same fine-tuned teacher, but Q8-QAT, DistilBERT and TinyBERT, which begin with a pretrained encoder
# (the daggers of Table 1).

# %% tags=["units"]
encoder, half = models.Encoder(p.encoder), models.Encoder(p.encoder, p.student_layers)
splits = data.training(p.tasks, p.seeds, source=p.source, size=p.train_size, paths=p.train_paths)
recipes = {name: train.Recipe(**p.of(name).recipe) for name in ("Teacher", *params.METHODS)}
teachers, taught, ranked, ranges = {}, {}, {}, {}
for (task, seed), split in splits.items():
    fixed = dict(encoder=encoder, split=split, seed=seed)
    teacher = teachers[task, seed] = runs.unit(methods.finetuned, recipe=recipes["Teacher"], **fixed)
    seen = dict(model=teacher, encoder=encoder, max_length=p.max_length)
    predicted = runs.unit(methods.predicted, split=split, precision=p.precision, **seen)
    taught[task, seed] = {"teacher": predicted, "temperature": p.temperature}
    sample, few = (
        data.Split(task, split.path, p.source, size, seed) for size in (p.head_sample, p.calibration_size)
    )
    importance = runs.unit(methods.head_importance, split=sample, **seen)
    ranked[task, seed] = {"importance": importance, "share": p.head_share}
    ranges[task, seed] = {"split": few, "max_length": p.max_length, "decay": p.q8_decay}


# %% [markdown]
# ## Each method by itself (Table 1)
#
# - **Truncate & Finetune**: the first layers of the teacher, trained on the labels. **Pure KD**: the same layers, trained on the teacher's
#   predictions alone, $T^2\,\mathrm{KL}(p^t_T \,\|\, p^s_T)$ at temperature $T$ and $\alpha = 1$.
# - **Q8-PTQ**: symmetric 8 bits after training. **Q8-QAT**: the same arithmetic while it trains. **Head Prune**: 45 % of the heads gone,
#   ranked once, on training data, and nothing trained.
# - **BERT-PKD**: labels, predictions and the [CLS] states of every second layer. **BERT-of-Theseus**: layers drawn to stand for two of
#   the teacher's, with a probability that rises from $b$ by $k$ a step.
#
# - **DistilBERT, TinyBERT**: those pretrained encoders, fine-tuned on the labels.
# - **Teacher, another seed** and **Teacher +Finetune** are ours: the teacher with another head and another order of the same training set, and
#   the teacher trained on for as many steps as a student.
#
# $\alpha$ is the share of the distillation in the loss, the rest is cross entropy.


# %% tags=["units"]
def settings(method, task, seed, kd=False):
    """What a method trains on, how, and on what: the labels, or the teacher's predictions."""
    fixed = dict(split=splits[task, seed], recipe=recipes[method], seed=seed)
    given = taught[task, seed] | {"reduction": p.reduction}
    return fixed | (dict(objective=objectives.kd, given=given) if kd else {})


# %% tags=["units"]
built = {}  # by task and seed: every row's unit; those that are not asked for are never run
rate = dict(slope=p.theseus_slope, base=p.theseus_base)
for task, seed in splits:
    own = dict(encoder=half, start=teachers[task, seed])
    one = functools.partial(settings, task=task, seed=seed)
    states = runs.unit(
        methods.cls_states, model=teachers[task, seed], encoder=encoder, split=splits[task, seed],
        layers=replace.skip(encoder.shape()[0], p.student_layers), max_length=p.max_length,
    )  # fmt: skip
    patient = taught[task, seed] | {"alpha": p.pkd_alpha, "beta": p.pkd_beta}
    built[task, seed] = {
        "Truncate & Finetune": runs.unit(methods.finetuned, **own, **one("Truncate & Finetune")),
        "Pure KD": runs.unit(methods.finetuned, **own, **one("Pure KD", kd=True)),
        "BERT-PKD": runs.unit(methods.pkd, **own, states=states, given=patient, **one("BERT-PKD")),
        "BERT-of-Theseus": runs.unit(methods.theseus, **own, **rate, **one("BERT-of-Theseus")),
    }
    for name, found in (("DistilBERT", p.distilbert), ("TinyBERT", p.tinybert)):
        if found is not None:
            built[task, seed][name] = runs.unit(methods.finetuned, encoder=models.Encoder(found), **one(name))

# %% tags=["units"]
for task, seed in splits:
    own = dict(encoder=encoder, start=teachers[task, seed])
    one = functools.partial(settings, task=task, seed=seed)
    untrained = one("Head Prune") | {"recipe": train.Recipe(**p.recipe | {"epochs": 0})}
    again = one("Teacher, another seed") | {"seed": seed + 1000}
    built[task, seed] |= {
        "Q8-PTQ": runs.unit(methods.q8_ptq, **own, **ranges[task, seed]),
        "Q8-QAT": runs.unit(methods.q8_trained, **own | {"start": None}, decay=p.q8_decay, **one("Q8-QAT")),
        "Head Prune": runs.unit(methods.head_pruned, **own, **ranked[task, seed], **untrained),
        "Teacher, another seed": runs.unit(methods.finetuned, encoder=encoder, **again),
        "Teacher +Finetune": runs.unit(methods.finetuned, **own, **one("Teacher +Finetune")),
    }

# %% [markdown]
# ## Methods together (Table 2)
#
# With KD the loss on the labels becomes the distillation loss. "+PTQ" quantises what has been trained; "Q8-PTQ +Finetune" and
# "+KD" train what has been quantised, under the same 8-bit arithmetic. A row of ours is the teacher in true integer arithmetic,
# torch's dynamic quantisation. It takes one range of activations for all texts of a batch, so a score depends on the texts beside it: the row is
# attacked one text at a time, its accuracy and loyalty are those of batches of 128.

# %% tags=["units"]
for task, seed in splits:
    here, one = built[task, seed], functools.partial(settings, task=task, seed=seed)
    own = dict(encoder=encoder, start=teachers[task, seed])
    eight_bit = dict(encoder=encoder, start=here["Q8-PTQ"], decay=p.q8_decay)
    for name, kd in (("Finetune", False), ("KD", True)):
        fixed = ranked[task, seed] | one(f"Head Prune +{name}", kd=kd)
        here[f"Head Prune +{name}"] = runs.unit(methods.head_pruned, **own, **fixed)
        here[f"Q8-PTQ +{name}"] = runs.unit(methods.q8_trained, **eight_bit, **one(f"Q8-PTQ +{name}", kd=kd))
    own = own | {"encoder": half}
    here["Theseus +KD"] = runs.unit(methods.theseus, **own, **rate, **one("Theseus +KD", kd=True))
    for name, used in (("Head Prune +KD", encoder), ("Theseus +KD", half)):
        here[f"{name}+PTQ"] = runs.unit(methods.q8_ptq, encoder=used, start=here[name], **ranges[task, seed])
INTEGER = "Q8-PTQ, integer"
trained = {(task, "Teacher", 0.0, seed): model for (task, seed), model in teachers.items()}
trained |= {
    (task, name, 0.0, seed): built[task, seed][name]
    for task, seed in splits
    for name in p.rows.get(task, ())
    if name != INTEGER
}
integer = {
    (task, INTEGER, 0.0, seed): model
    for (task, seed), model in teachers.items()
    if INTEGER in p.rows.get(task, ())
}

# %% [markdown]
# ## Predictions and attacks
#
# Loyalty is measured on the first development set, by slices on HANS too. The attack is TextFooler, on one set of texts for all
# models; a pair is attacked in its hypothesis. Neighbours, parts of speech and sentence vectors do not depend on the victim: they
# are computed once. How alike two sentences must be depends on the encoder that reads them: we take the cosine that best
# separates synonyms in a word's place from random words there. The first of `modes`, the readings of TextFooler, attacks every
# model, the others the teacher and Q8-PTQ.

# %% tags=["units"]
beds = {task: [bed.path for bed in data.TASKS[task].testbeds] for task in p.tasks}
read = dict(max_length=p.max_length, precision=p.precision)
where = dict(source=p.source, size=p.test_size)
units = methods.measured(trained, beds, **where, **read)
units |= methods.measured(integer, beds, by=methods.q8_ptq_predicted, **where, max_length=p.max_length)
lexicon = lexica.Words(p.words, models.Encoder(p.sentences) if p.sentences else None)
likeness, targets = {}, {}
for task in p.tasks:
    path = p.attack_paths.get(task, beds[task][0])
    targets[task] = data.Split(task, path, p.source, p.attack_size)
    if p.sentences:
        few = ranges[task, p.seeds[0]]["split"]
        likeness[task] = runs.unit(methods.calibrated, split=few, words=lexicon)

# %% tags=["units"]
attacks, transfers = {}, {}
for (task, name, _, seed), model in (trained | integer).items():
    victim = read | dict(model=model, encoder=model.arguments["encoder"])
    texts = dict(
        integer=name == INTEGER,
        split=targets[task],
        words=lexicon,
        calibration=likeness.get(task),
        budget=p.budget,
    )
    for mode in p.modes if name in ("Teacher", "Q8-PTQ") else p.modes[:1]:
        attacks[task, name, mode, seed] = runs.unit(methods.attacked, mode=mode, **texts, **victim)
for (task, name, _, seed), model in trained.items():
    victim = read | dict(model=model, encoder=model.arguments["encoder"])
    here = {key[1]: unit for key, unit in attacks.items() if (key[0], *key[2:]) == (task, p.modes[0], seed)}
    columns = list(data.TASKS[task].text)
    transfers[task, name, seed] = runs.unit(methods.transferred, texts=here, columns=columns, **victim)

# %% tags=["units"]
footprints, speeds = {}, {}
for task, seed in splits:
    models_here = {name: model for (at, name, _, by), model in trained.items() if (at, by) == (task, seed)}
    encoders = {name: model.arguments["encoder"] for name, model in models_here.items()}
    texts = dict(
        split=data.Split(task, beds[task][0], p.source, max(p.speed_batches)), max_length=p.max_length
    )
    speeds[task, seed] = runs.unit(
        methods.timed, teacher=teachers[task, seed], encoders=encoders, batch_sizes=p.speed_batches, rounds=p.speed_rounds,
        compressed={name: model for name, model in models_here.items() if name != "Teacher"}, **texts,
    )  # fmt: skip
    if seed == p.seeds[0]:
        for name, model in models_here.items():
            weight = dict(model=model, encoder=encoders[name])
            footprints[task, name] = runs.unit(methods.footprint, **weight, **texts)
every = [*units.values(), *attacks.values(), *transfers.values(), *footprints.values(), *speeds.values()]
f"{len(units)} sets of predictions, {len(attacks)} of attacks, {len(runs.closure(every))} units with all they need"

# %% [markdown]
# ## Run
#
# Speed is timed last, when nothing else computes.

# %%
print(plan.forecast([units, attacks, transfers, footprints, likeness, speeds], run.store))

# %% tags=["run"]
predictions, attacked, transferred, weights, likeness = run.collect(
    [units, attacks, transfers, footprints, likeness]
)
speeds = {key: run.collect(unit) for key, unit in speeds.items()}  # one after the other

# %% [markdown]
# ## What was measured
#
# Label loyalty is $L_l = \mathrm{Accuracy}(pred_t, pred_s)$ (equation 1), probability loyalty $L_p = 1 - \sqrt{D_\mathrm{JS}(P \,\|\, Q)}$ of each
# example's two distributions (equations 3 and 4), with the logarithm to base 2, the one whose range is the stated [0, 1];
# then the mean (with natural logarithms $1 - L_p$ is 0.833 of that; which the paper printed is not known). After-attack accuracy counts, of all attacked texts, those that the model gets right and keeps right;
# queries are counted per originally correct text, successes and failures alike, `calls` without repetitions. After-attack accuracy
# favours who was right more often before; `fooled`, the share of right answers that the attack turns, does not. A word of the micro
# world has few synonyms, so its attack is weak: compare rows there, not levels with the paper's.
#
# First, how every attack ended, and what the least cosine accepts and refuses on one-word substitutions.

# %%
mode = p.modes[0]
ours = {(task, name, seed): frame for (task, name, how, seed), frame in attacked.items() if how == mode}
arms = compare.compressed(predictions, ours, speeds, beds)
names = {task: list(dict.fromkeys(name for at, name, _ in arms if at == task)) for task in p.tasks}
frames = {}  # predictions by seed, of a task, test bed and row
for (task, bed, name, _, seed), frame in predictions.items():
    frames.setdefault((task, bed, name), {})[seed] = frame
devices = ", ".join(sorted({device for frame in speeds.values() for device in frame["device"]}))
look = dict(
    scale=p.scale, same_setting=params.as_published("05_loyalty", p), units=report.COMPRESSION_UNITS,
    setting=f"encoder {p.encoder.rpartition('/')[2]}, source {p.source.rpartition('/')[2]}, attacked {p.attack_size or 'all'} texts as "
    f"`{mode}`, neighbours {p.words.rpartition('/')[2]}, speed in batches of {max(p.speed_batches)} on {devices}",
)  # fmt: skip

# %%
ended = {key: compare.attack_counts({key[2]: frame}) for key, frame in ours.items()}
ended = pd.concat(frame.assign(task=task, method=name) for (task, name, _), frame in ended.items())
seconds = pd.concat(frame.assign(task=task, seed=seed) for (task, seed), frame in speeds.items())
outputs = {
    "table_attacks": ended,
    "table_seconds": seconds.round(6),
    "table_likeness": pd.DataFrame(likeness)
    .T.round(3)
    .reset_index(names="task")
    .rename(columns={"accepted": "synonyms accepted", "refused": "random words refused"}),
}
report.save(run.directory, outputs, about=run.record)
display(outputs["table_likeness"])
ended.groupby(["task", "method"], sort=False)[["n", *compare.STATUSES]].sum()

# %% [markdown]
# ## Table 1: each method by itself

# %%
SINGLE = [
    "Teacher",
    "Truncate & Finetune",
    "Pure KD",
    "Q8-PTQ",
    INTEGER,
    "Q8-QAT",
    "Head Prune",
    "DistilBERT",
    "TinyBERT",
    "BERT-PKD",
]
SINGLE += ["BERT-of-Theseus", "Teacher +Finetune", "Teacher, another seed"]
if "mnli" in p.tasks:
    shown = {name: name for name in SINGLE if name in names["mnli"]}
    table = report.paper_table(
        report.compression_cells(arms, weights, "mnli", shown), printed=published.table(3, "Table 1"), **look
    )
    report.save(run.directory, {"table_1": table}, about=run.record)
    display(table)

# %% [markdown]
# ## Table 2: methods together

# %%
GROUPS = [
    "Teacher",
    "Head Prune",
    "Head Prune +Finetune",
    "Head Prune +KD",
    "Head Prune +KD+PTQ",
    "Q8-QAT",
    "Q8-PTQ",
]
GROUPS += ["Q8-PTQ +Finetune", "Q8-PTQ +KD", "BERT-PKD", "Theseus", "Theseus +KD", "Theseus +KD+PTQ"]
if "mnli" in p.tasks:
    shown = {name: {"Theseus": "BERT-of-Theseus"}.get(name, name) for name in GROUPS}
    shown = {row: name for row, name in shown.items() if name in names["mnli"]}
    table = report.paper_table(
        report.compression_cells(arms, weights, "mnli", shown), printed=published.table(3, "Table 2"), **look
    )
    report.save(run.directory, {"table_2": table}, about=run.record)
    display(table)

# %% [markdown]
# ## Table 3: sentiment

# %%
if "sst2" in p.tasks:
    shown = {"KD" if name == "Pure KD" else name: name for name in names["sst2"]}
    table = report.paper_table(
        report.compression_cells(arms, weights, "sst2", shown), printed=published.table(3, "Table 3"), **look
    )
    report.save(run.directory, {"table_3": table}, about=run.record)
    display(table)

# %% [markdown]
# ## Figure 1, measured
#
# The paper draws its three metrics as a diagram. Here they are, of every method, with 95 % intervals, the level of two unrelated
# models of the same accuracies (ticks), and what the paper printed (open markers: BERT-base on the whole data).

# %%
for task in p.tasks:
    shown = report.compression_cells(arms, weights, task, {name: name for name in names[task]})
    items = ("Table 1", "Table 2") if task == "mnli" else ("Table 3",)
    theirs = pd.concat([published.table(3, item) for item in items]).replace({"row": {"KD": "Pure KD"}})
    lines = report.loyalty_frame(shown, theirs)
    figure = report.loyalty_figure(lines)
    outputs = {f"figure_1_{task}": figure, f"table_figure_1_{task}": lines.round(3)}
    report.save(run.directory, outputs, about=run.record)
    display(figure)

# %% [markdown]
# ## What the two numbers do not say
#
# Two models of equal accuracy may disagree all the same: `lost`, what the teacher had right and the student has wrong; `won`, the other way
# round; `swapped`, one wrong label for another. `kl_forward` is KL(teacher $\|$ student), which distillation minimises, `kl_reverse` the other,
# both in bits. `exit agreement` is the rank correlation of the two confidences: would a cascade that stops where the student is sure stop
# where the teacher would? `calibration error` is the model's own. Behind each value stands that of an unrelated model of the same accuracy.

# %%
changes = []
for task, name in [(at, name) for at in p.tasks for name in names[at]]:
    bed = beds[task][0]
    found = compare.changes(task, bed, frames[task, bed, name], frames[task, bed, "Teacher"])
    changes.append(found.assign(task=task, method=name))
changes = pd.concat(changes, ignore_index=True)
report.save(run.directory, {"table_changes": changes.round(4)}, about=run.record)
report.wide(changes, ["task", "method"], ["measure"])

# %% [markdown]
# ## Where loyalty is lost
#
# Label loyalty in percent, in brackets that of an unrelated model of the same accuracy: by gold label, by length of the text in words, by difficulty (a hypothesis-only classifier is wrong on it), and by HANS's heuristic.

# %%
slices = []
for (task, bed, name), students in frames.items():
    if name != "Teacher" and bed in (beds[task][0], "hans/validation"):
        texts = data.Split(task, bed, p.source, p.test_size)
        lengths = texts.frame()[list(texts.text)].agg(" ".join, axis=1).str.split().str.len()
        parts = compare.slices(task, bed, students, frames[task, bed, "Teacher"], lengths=lengths)
        slices.append(parts.assign(task=task, testbed=bed, method=name))
slices = pd.concat(slices, ignore_index=True)
report.save(run.directory, {"table_slices": slices.round(4)}, about=run.record)
percent = slices.assign(**100 * slices[["value", "low", "high", "chance"]])
for _, rows in percent.groupby("testbed", sort=False):
    display(report.wide(rows, ["testbed", "method"], ["slice", "part"], digits=1))

# %% [markdown]
# ## Which TextFooler?
#
# The paper says "TextFooler" and no more. The released code, TextAttack's recipe and the algorithm as printed each differ from another in
# these points, and in what they call a query. The least similarities are those for their own sentence encoder; ours puts the calibrated
# cosine in their place. Texts below 15 words are hardly checked by the released code (0.1) and not at all by TextAttack's: no attacked
# text of the micro world is longer, so there the cosine decides in `paper` alone. Then the same models under each reading.

# %%
readings = {}
for task, name, how in dict.fromkeys(key[:3] for key in attacked):
    if name in ("Teacher", "Q8-PTQ"):
        fallen = {
            (*key[:2], key[3]): frame for key, frame in attacked.items() if key[:3] == (task, name, how)
        }
        found = compare.compressed({}, fallen, {}, {})
        for measure in ("after_attack", "queries", "calls"):
            readings[task, name, how, measure] = compare.measured(found, (task, name, measure))
readings = compare.frame(readings, ["task", "method", "mode", "measure"])
outputs = {"table_modes": textfooler.modes_table().reset_index(), "table_readings": readings.round(4)}
report.save(run.directory, outputs, about=run.record)
with pd.option_context("display.max_colwidth", None):
    display(textfooler.modes_table())
report.wide(readings, ["task", "method", "mode"], ["measure"])

# %% [markdown]
# ## Which examples flip
#
# From the teacher to each of its students, of the first seed: on each test bed the five whose gold label gained or lost most probability
# among those that are called otherwise. In brackets how sure the model is.

# %%
flipped = report.Examples()
for (task, bed, name), students in frames.items():
    if name != "Teacher":
        split = data.Split(task, bed, p.source, p.test_size)
        texts = split.frame()[list(split.text)]
        pair = {"Teacher": frames[task, bed, "Teacher"][p.seeds[0]]}, {name: students[p.seeds[0]]}
        flipped += report.flips(*pair, texts, facets={"test bed": bed}, most=5)
flipped

# %% [markdown]
# ## The attacked texts
#
# What TextFooler wrote, for the teacher and for its 8-bit version.

# %%
task, seed = p.tasks[0], p.seeds[0]
*context, text = data.TASKS[task].text
examples = []
for name in [name for name in ("Teacher", "Q8-PTQ") if name in names[task]]:
    fooled = ours[task, name, seed].query("status == 'success'").head(5)
    after = transferred[task, name, seed].query("source == @name").set_index("id")["predicted"]
    shown = fooled.rename(columns={text: "original", "rewritten": "attacked", "gold": "before"})
    shown = shown.assign(victim=name, after=fooled["id"].map(after))
    examples.append(shown.assign(context=shown[context[0]]) if context else shown)
report.attack_diffs(pd.concat(examples))

# %% [markdown]
# ## Do attacks transfer?
#
# Adversarial texts found on one model, tried on every other (the integer model is a source alone): the share that fools it too, of those whose original it had
# right. On itself a model is fooled by construction; of a few texts a share says little (limits in `table_transfer_<task>`).

# %%
for task in p.tasks:
    tried = {key[1:]: frame for key, frame in transferred.items() if key[0] == task}
    rates = compare.transfer(tried, {key[1:]: frame for key, frame in ours.items() if key[0] == task})
    figure = report.transfer_figure(rates)
    outputs = {f"transfer_{task}": figure, f"table_transfer_{task}": rates.round(2)}
    report.save(run.directory, outputs, about=run.record)
    display(figure)

# %% [markdown]
# ## Claims of sections 3.1, 4.3, 5 and 6
#
# MNLI; **with one seed no claim is judged**, nor with a model that is not above chance in distribution. Differences are paired by example and seed, in percentage points. Boundaries of ours:
# "drastically" is ten points (which a teacher that keeps 80 % or more cannot show); "identical" and "no significant difference"
# are less than one point apart; a strategy to recommend loses no more than one point of loyalty on Q8-PTQ; pretraining KD is
# DistilBERT and TinyBERT, downstream KD BERT-PKD; "good loyalty" is above that of the same layers without a teacher. That Pure KD bounds
# probability loyalty (4.1-a) is asked of Table 1: in Table 2 Theseus +KD, of as many layers, is above it (91.4, 89.5). "Our controls":
#
# - the integer model in place of the simulated one, and the share of right answers fooled in place of the accuracy left;
# - fine-tuning a quantised or pruned model against fine-tuning the teacher as long;
# - loyalty against that of the teacher with another seed;
# - Q8-PTQ +KD against Q8-PTQ: at equal depth, distilling and then quantising is just Q8-PTQ, as a teacher that learns from itself stays
#   what it is.


# %%
def check(item, model, other, *measures, told=True, **boundary):
    """The model less the other in each measure, where both were made; it cannot be told where one has learnt nothing."""
    for measure in measures:
        pair = [arms.get(("mnli", name, measure)) for name in (model, other)]
        if None not in pair:
            quantity = f"{TITLES[measure]}, points above {other}"
            ours = compare.difference(*pair).times(100)
            checks.add(item, model, quantity, ours, told=told and {model, other} <= learnt, **boundary)


# %%
ACCURACY, ATTACK, LOYAL = (
    "accuracy mnli/validation_matched",
    "after_attack",
    ("label_loyalty", "probability_loyalty"),
)
TITLES = {
    ACCURACY: "accuracy",
    ATTACK: "after-attack accuracy",
    LOYAL[0]: "label loyalty",
    LOYAL[1]: "probability loyalty",
}
checks = report.Checks(3, {}, p.scale)
accurate = {name: compare.measured(arms, ("mnli", name, ACCURACY)).low for name in names.get("mnli", ())}
learnt = {name for name, low in accurate.items() if low > 1 / 3}

# %%
for model, other in (("Pure KD", "Truncate & Finetune"), ("Head Prune +KD", "Head Prune +Finetune"),
                     ("Q8-PTQ +KD", "Q8-PTQ +Finetune"), ("Theseus +KD", "BERT-of-Theseus")):  # fmt: skip
    check("3.1-a", model, other, LOYAL[1], above=0)
    if model != "Pure KD":
        check("5-a", model, other, ACCURACY, *LOYAL, above=0)
# A teacher that keeps 80 % or more leaves too little room for ten points more.
room = {"told": arms["mnli", "Teacher", ATTACK].values.mean() < 0.8} if "mnli" in p.tasks else {}
check("4.3-a", "Q8-PTQ", "Teacher", ATTACK, above=10, printed=32.1, **room)
check(f"4.3-a{report.OURS}", INTEGER, "Teacher", ATTACK, above=10, **room)
if {"Q8-PTQ", "Teacher"} <= learnt:
    asked = compare.mean_queries_difference(
        *(arms["mnli", name, "queries"] for name in ("Q8-PTQ", "Teacher"))
    )
    checks.add("4.3-a", "Q8-PTQ", "queries, above Teacher", asked, above=0, printed=2.0)
check("4.3-b", "Head Prune", "Teacher", ATTACK, above=0, printed=1.0)
check("4.3-b", "Q8-PTQ", "Head Prune", ATTACK, above=0, printed=31.1)
for model, printed in (("Q8-PTQ +Finetune", -1.0), ("Head Prune +Finetune", -0.9)):
    check("4.3-c", model, "Teacher", ATTACK, below=0, printed=printed)
    check(f"4.3-c{report.OURS}", model, "Teacher +Finetune", ATTACK, below=0)

# %%
downstream, pretrained = "BERT-PKD", ("DistilBERT", "TinyBERT")
check("4.1-a", "BERT-of-Theseus", "Pure KD", LOYAL[1], below=0)
for model in ("Pure KD", downstream, *pretrained):
    check("4.3-d", model, "Truncate & Finetune", *LOYAL, above=0)
    check(f"4.3-d{report.OURS}", model, "Teacher, another seed", *LOYAL, above=0)
    check("4.3-h", "BERT-of-Theseus", model, *LOYAL, below=0)
    if model != "Pure KD":
        check("4.1-a", model, "Pure KD", LOYAL[1], below=0)
        check("4.3-e", model, "Pure KD", ACCURACY, above=0)
        check("4.3-e", model, "Pure KD", *LOYAL, below=0)
check("4.3-f", "TinyBERT", "DistilBERT", ACCURACY, above=0, printed=0.3)
check("4.3-f", "TinyBERT", "DistilBERT", *LOYAL, within=1)
for measure in (*LOYAL, ATTACK):
    three = [arms.get(("mnli", name, measure)) for name in (*pretrained, downstream)]
    if None not in three:
        apart = compare.interval(lambda one, two, other: (one + two) / 2 - other, three).times(100)
        quantity = f"{TITLES[measure]}, points above {downstream}"
        told = {*pretrained, downstream} <= learnt
        checks.add("4.3-g", " and ".join(pretrained), quantity, apart, within=1, told=told)

# %%
fastest = f"cpu seconds {max(p.speed_batches)}"  # where both compute
for model in ("Head Prune +KD", "Theseus +KD"):
    quantised = f"{model}+PTQ"
    check("5-b", quantised, model, ATTACK, above=0)
    check("5-c", "Q8-PTQ +KD", quantised, ACCURACY, LOYAL[0], above=0)
    check("5-c", "Q8-PTQ +KD", quantised, ATTACK, below=0)
    check("5-d", quantised, "Teacher", ATTACK, above=0)
    check("5-d", quantised, "Q8-PTQ", LOYAL[0], above=-1)
    pair = [arms.get(("mnli", name, fastest)) for name in (quantised, model)]
    if None not in pair:
        checks.add("5-b", quantised, f"speed-up, above that of {model}", compare.speedup(*pair), above=0)
        checks.add("5-d", quantised, "speed-up over the teacher", compare.speedup(pair[0]), above=1)
check("6-a", "Q8-PTQ", "Teacher", ATTACK, above=10, printed=32.1, **room)
# %%
check(f"5-c{report.OURS}", "Q8-PTQ +KD", "Q8-PTQ", ACCURACY, above=0)
check(f"5-c{report.OURS}", "Q8-PTQ +KD", "Q8-PTQ", ATTACK, below=0)
for item, model in (
    ("4.3-a", "Q8-PTQ"),
    ("4.3-b", "Head Prune"),
    ("5-b", "Head Prune +KD+PTQ"),
    ("5-b", "Theseus +KD+PTQ"),
):
    other = "Teacher" if item != "5-b" else model.removesuffix("+PTQ")
    pair = [arms.get(("mnli", name, "fooled")) for name in (model, other)]
    if None not in pair:
        fooled = compare.success_rate_difference(*pair).times(100)
        quantity, told = f"right answers fooled, points above {other}", {model, other} <= learnt
        checks.add(f"{item}{report.OURS}", model, quantity, fooled, below=0, told=told)
for measure, printed in zip(LOYAL, (1.5, 4.6), strict=True):
    check("6-a", "Pure KD", "Truncate & Finetune", measure, above=0, printed=printed)
claims = checks.claims
report.save(run.directory, {"claims": claims, "table_survival": checks.survival}, about=run.record)
display(report.sheet(checks.survival))
claims

# %% [markdown]
# ## Deviations
#
# - **Test sets.** The paper has accuracies from the GLUE server and loyalty on test sets without labels; ours are on the development
#   sets, loyalty on the matched one.
# - **Quantisation.** What the paper's PTQ is it does not say. Accuracy, loyalty and attacks are of symmetric 8 bits as in Q8BERT, simulated
#   in floating point with fixed activation ranges; only so does a text's score not depend on the texts beside it. **Speed and size**
#   are of true integer inference (torch's dynamic quantisation, on the CPU, activations of 7 bits on x86), and so is the row "Q8-PTQ, integer".
# - **KD.** Mean over the batch (`batchmean`) times $T^2$; the paper states neither. BERT-PKD keeps its code's mean over batch and classes.
# - **Epochs** are not stated in the paper. At micro scale all methods train for as many, and `theseus_slope` is scaled to that many
#   steps; at paper scale all train for 3, but BERT-of-Theseus for 20 (its code's default) and Theseus +KD for 10, since $p$ must reach 1.
# - **Q8-PTQ +Finetune, +KD** train the full-precision weights behind the 8-bit ones, straight-through, with ranges that go on moving. Q8-PTQ's
#   ranges are the largest that its `calibration_size` training examples bring; the paper does not say.
# - **Settings** of appendix A stand in the paper file; where it names no warm-up there is none, SST-2 has MNLI's settings, weight decay 0
#   and 128 tokens are ours. At micro scale all methods have one setting.
# - **Head Prune**: 44.4 % of the heads, as the code of Michel et al. rounds 45 % of 144; the expected sensitivity of each head per example,
#   ranked once, without their normalisation by layer; a layer keeps at least one head.
# - **TinyBERT** is the general checkpoint of 6 layers; the paper names none. BERT-PKD's teacher states are kept in half precision.
# - **Attacked texts.** Which, how many and at which threshold is not in the paper; TextFooler's own thousand MNLI pairs, and all of SST-2's
#   development set, are the paper scale's, some of the development set those of other scales. Texts are spaced as in those files. Hypotheses
#   alone are attacked, as TextFooler does.
# - **Neighbours**: a data directory's list of counter-fitted neighbours has at most 8 a word and no cosines, against 50 above 0.5, so
#   fewer queries; `python -m robust_lib.attack build` makes the whole table from the vectors. In the micro world a word's neighbours are
#   its synonyms.
# - **Sentence similarity**: any encoder's mean state stands in for USE, its threshold calibrated on one-word substitutions; hypotheses
#   shorter than 15 words are hardly checked by the released code either.
# - **Seeds** draw the training set, the head and the order of teacher and students alike: our intervals and spreads hold new teachers
#   too; the paper's ± may be that of students of one teacher. Q8-QAT, with the teacher's seed, begins with the teacher's head.
# - **Size** is the bytes of all weights: one for each of an 8-bit layer, four for all others. Embeddings, which the simulation rounds too, are
#   of fp32 there, as torch's integer kernels have them.
# - **Speed** is measured, teacher and model in turn, on the device the table names; the paper's factors look like ratios of layers.
# - **Micro scale** stands in for the data and for BERT: it shows the mechanism, and no printed number can be reproduced there.
