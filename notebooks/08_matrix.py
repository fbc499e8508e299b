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
# # 08 The matrix: every compression method by every measure
#
# No paper of the four measures what another one measures. Here **every method of all four** (pruning, heads, masks, distillation,
# quantisation, small models), made of the same teachers, is put to **every measure of all four**: accuracy in and out of
# distribution, $F_\mathrm{bias}$, easy and hard, loyalty, attacks, errors, neighbours, distribution, calibration, speed and size.
#
# Three questions of it no single paper can ask: *does loyalty predict accuracy out of distribution? do neighbours predict
# loyalty? does $F_\mathrm{bias}$ predict robustness to attacks?*
#
# Beside every number stands the control that makes it readable: **the teacher trained again with another seed**. Where a method
# differs from its teacher no more than that, no effect of the method is shown.
#
# Micro scale alone; `make matrix` runs three seeds. No claim of a paper is judged here.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/robust-lib/robust-lib/blob/main/notebooks/08_matrix.ipynb)

# %% [markdown]
# Where the package is missing, as on Colab, it is installed first.

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
scale = "micro"  # micro, the only scale of this notebook: all methods of one teacher are too many for a larger one
source = "micro"
tasks = ["mnli", "fever", "qqp", "sst2", "squad"]  # squad: readers of spans, which the methods of paper 2 are
encoder = "micro-base"  # the teacher
small_encoders = {
    "DistilBERT": "micro-distil", "TinyBERT": "micro-tinybert", "MiniLM": "micro-minilm", "Pretrained-l6": "micro-half",
    "BERT-medium": "micro-medium", "BERT-mini": "micro-mini", "BERT-tiny": "micro-tiny",
}  # fmt: skip
student_layers = 2  # that a student keeps of the teacher
rows = {  # family: {method: the paper it is of}
    "control": {"Teacher, another seed": None, "Teacher +Finetune": 3},
    "magnitude pruning": {
        "IMP 40 %": 1, "IMP 70 %": 1, "IMP 70 %, all weights": 4, "One-shot 50 %": 4, "Pruned 40 %, then trained": 2,
    },
    "robust pruning": {"Distil 40 %": 1, "Smooth 40 %": 1, "Focal 40 %": 1, "JTT 40 %": 1, "RMC 40 %": 1},
    "masks": {"Mask 70 %": 4, "Mask 70 %, PoE": 4, "Mask 70 %, in isolation": 4},
    "heads": {"Heads 19 %": 1, "Head Prune": 3, "Head Prune +Finetune": 3, "Head Prune +KD": 3},
    "half the layers": {
        "Truncate & Finetune": 3, "Pure KD": 3, "BERT-PKD": 3, "BERT-of-Theseus": 3, "Theseus +KD": 3,
    },
    "8 bits": {
        "Q8-PTQ": 3, "Q8-PTQ, integer": 3, "Q8-QAT": 3, "Q8-PTQ +Finetune": 3, "Q8-PTQ +KD": 3,
        "Head Prune +KD+PTQ": 3, "Theseus +KD+PTQ": 3,
    },
    "small encoders": {
        "DistilBERT": 3, "TinyBERT": 3, "MiniLM": 1, "Pretrained-l6": 1, "BERT-medium": 2, "BERT-mini": 2, "BERT-tiny": 2,
    },
}  # fmt: skip
train_size = 2000  # examples per task
test_size = 1000  # examples per test bed
epochs = 4  # of what begins with a pretrained encoder
more_epochs = 2  # of what goes on from the teacher
learning_rate = 4e-4
batch_size = 32
max_length = 64  # tokens; no pair and no review of the micro world is longer
window = 40  # tokens of a question and a window of its context
stride = 12  # tokens that two windows share
warmup = 0.1  # share of the steps
weight_decay = 0.01
precision = "fp32"
temperature = 10.0  # of every distillation of paper 3
theseus_slope = 0.005  # k, per step: all modules are replaced from step 100 of 126
alpha = 0.5  # of RMC
mask_learning_rate = 1e-3  # of the scores: of those that 04_srnets tries, the best in distribution
head_sample = 1000  # training examples that rank the heads
calibration_size = 512  # training examples that set the 8-bit ranges and the similarity threshold
attacked_tasks = ["mnli", "sst2"]
attack_size = 100  # examples attacked
words = "micro"  # neighbours and tags
sentences = "micro-base"  # encoder of the sentence similarity; None leaves the check out
k = 10  # neighbours
index_size = 1000  # training examples that distances are measured to
speed_batch = 32  # examples per batch that is timed
speed_rounds = 5
engine = "processes"  # processes, ray, or host:port of a Ray cluster: where units run
seeds = [0]  # each draws a training set, a head, an order

# %% [markdown]
# The parameters are judged before anything runs; the run records what it was made with.

# %% tags=["setup"]
import itertools

import pandas as pd

from robust_lib import (
    compare,
    data,
    methods,
    models,
    objectives,
    params,
    plan,
    replace,
    report,
    runs,
    train,
)
from robust_lib.attack import lexica
from robust_lib.methods import wearing

p = params.check("08_matrix", globals())
run = runs.start("08_matrix", p)
run

# %% [markdown]
# ## The teachers
#
# One teacher per task and seed, and two further trainings of it that differ in head and order alone: the control, and a *judge*, whose confidence says which test
# examples are hard. Hard by the teacher's own errors would make the teacher look bad on them, hard by the control's the control.

# %% tags=["units"]
encoder, half = models.Encoder(p.encoder), models.Encoder(p.encoder, p.student_layers)
small = {name: models.Encoder(location) for name, location in p.small_encoders.items()}
chosen = [name for family in p.rows.values() for name in family]
recipe = train.Recipe(**p.recipe)
further, one_epoch, untrained = (
    train.Recipe(**p.recipe | {"epochs": count}) for count in (p.more_epochs, 1, 0)
)

# %% tags=["units"]
CONTROL, JUDGE, INTEGER, PRUNED = (
    "Teacher, another seed",
    "Judge",
    "Q8-PTQ, integer",
    "Pruned 40 %, then trained",
)
REVIEWS = "imdb/test"
read = dict(max_length=p.max_length, precision=p.precision)
splits = data.training(
    [task for task in p.tasks if task != "squad"], p.seeds, source=p.source, size=p.train_size
)
beds = {
    task: [bed.path for bed in data.TASKS[task].testbeds if "mismatched" not in bed.path] for task in p.tasks
}
if "sst2" in p.tasks:
    beds["sst2"].append(REVIEWS)  # reviews: sentiment out of distribution, which paper 3 has no set for
tested = {
    bed: data.Split("imdb" if bed == REVIEWS else task, bed, p.source, p.test_size)
    for task, paths in beds.items()
    for bed in paths
}


# %% tags=["units"]
def trained(task, seed, /, function=methods.finetuned, kd=False, **other):
    """The unit of a training on the labels, or on the teacher's predictions; `other` replaces what holds for most."""
    fixed = dict(encoder=encoder, split=splits[task, seed], seed=seed)
    fixed |= dict(recipe=further if other.get("start") else recipe)
    fixed |= dict(objective=objectives.kd, given=taught[task, seed]) if kd else {}
    return runs.unit(function, **fixed | other)


def predicted(model, split):
    """The unit of a model's predictions on a split."""
    return runs.unit(methods.predicted, model=model, encoder=reads(model), split=split, **read)


def reads(model):
    """The encoder that a model was made of; one under masks has the teacher's."""
    return model.arguments.get("encoder", encoder)


built, teachers, taught = {}, {}, {}
for task, seed in splits:
    teachers[task, seed] = trained(task, seed)
    again = {CONTROL: trained(task, seed, seed=seed + 1000), JUDGE: trained(task, seed, seed=seed + 2000)}
    built[task, seed] = {"Teacher": teachers[task, seed], **again}
    answers = predicted(teachers[task, seed], splits[task, seed])
    taught[task, seed] = {"teacher": answers, "temperature": p.temperature}

# %% [markdown]
# ## Pruning by magnitude (papers 1, 2 and 4) and its robust versions (paper 1)
#
# The chain of paper 1 goes on from the teacher: the smallest weights of every matrix of the encoder go, and it is trained for an epoch, at 40 % and again at 70 %.
# The variance of the two losses is the difficulty that RMC smooths its teacher by; that teacher is the dense model trained on for as long. Paper 4 removes
# in rounds, embeddings trained along, or at once and without training; paper 2 prunes before fine-tuning.

# %% tags=["units"]
pruned_encoder = runs.unit(methods.magnitude_pruned, encoder=encoder, sparsity=0.4)
a_tenth = train.Recipe(**p.recipe | {"epochs": 5, "warmup": 0.0, "until": 0.1})
chains = {}
for (task, seed), teacher in teachers.items():
    start = dict(encoder=encoder, split=splits[task, seed], start=teacher, seed=seed)
    chains[task, seed] = chain = dict(start, sparsities=[0.4, 0.7], schedule="stepwise", recipe=one_epoch)
    stepwise = methods.pruning_chain(**chain)
    rounds = methods.imp_chain(**start, sparsities=[0.3, 0.5, 0.7], recipe=a_tenth)
    built[task, seed] |= {
        "Teacher +Finetune": trained(task, seed, start=teacher),
        "IMP 40 %": stepwise[0.4],
        "IMP 70 %": stepwise[0.7],
        "IMP 70 %, all weights": rounds[0.7],
        "One-shot 50 %": trained(
            task, seed, methods.imp_round, start=teacher, sparsity=0.5, recipe=untrained
        ),
        PRUNED: trained(task, seed, subnetwork=pruned_encoder),
    }

# %% tags=["units"]
for task, seed in teachers:
    split, chain, here = splits[task, seed], chains[task, seed], built[task, seed]
    losses = [predicted(here[name], split) for name in ("IMP 40 %", "IMP 70 %")]
    longer = methods.pruning_chain(**chain | {"sparsities": [0.4]}, removed=False)[
        0.4
    ]  # as long as its students
    known = {"teacher": predicted(longer, split), "weight": 0.9}
    variances = runs.unit(methods.loss_variance, predictions=losses)
    first = predicted(trained(task, seed, recipe=one_epoch), split)
    for name, objective, given in (
        ("Distil 40 %", objectives.distil, known),
        ("Smooth 40 %", objectives.smooth, known | {"degree": 0.9}),
        ("Focal 40 %", objectives.focal, {"gamma": 2.0}),
        ("JTT 40 %", objectives.jtt, {"first": first, "up_weight": 2.0}),
        ("RMC 40 %", objectives.rmc, known | {"variances": variances, "alpha": p.alpha}),
    ):
        by = dict(objective=objective, given=given)
        start = dict(start=trained(task, seed, **by), sparsities=[0.4])
        here[name] = methods.pruning_chain(**chain | start, **by)[0.4]

# %% [markdown]
# ## Masks (paper 4)
#
# Masks of 70 %, trained on the frozen teacher, and chosen on examples that nothing below is measured on; with cross entropy and, where there is
# a bias model (not for sentiment), with the product of experts. In isolation: the first mask on the pretrained encoder, which is then trained.

# %% tags=["units"]
for (task, seed), teacher in teachers.items():
    development = data.Split(task, beds[task][0], p.source, p.test_size // 2, seed + 1)
    found = dict(
        development=development, sparsity=0.7, interval=20, init="soft", learning_rate=p.mask_learning_rate
    )
    found |= dict(start=teacher, seed=seed + 1000)
    mask = trained(task, seed, methods.mask_trained, **found)
    built[task, seed] |= {
        "Mask 70 %": runs.unit(wearing.worn, start=teacher, subnetwork=mask),
        "Mask 70 %, in isolation": trained(task, seed, subnetwork=mask),
    }
    if task != "sst2":
        split = splits[task, seed]
        bias = {"bias": runs.unit(methods.bias_only, encoder=encoder, split=split, test=split)}
        mask = trained(task, seed, methods.mask_trained, **found, objective=objectives.poe, given=bias)
        built[task, seed]["Mask 70 %, PoE"] = runs.unit(wearing.worn, start=teacher, subnetwork=mask)

# %% [markdown]
# ## Heads, layers, 8 bits and small encoders (papers 1 and 3)
#
# Heads 19 % is paper 1's, trained on for an epoch; the others remove 44 %. The students of paper 3 have half the layers of the teacher. Q8 is
# simulated in floating point, "integer" is true integer arithmetic on the CPU. The small encoders are fine-tuned on the labels.

# %% tags=["units"]
for (task, seed), teacher in teachers.items():
    sample, few = (
        data.Split(task, splits[task, seed].path, p.source, size, seed)
        for size in (p.head_sample, p.calibration_size)
    )
    importance = runs.unit(
        methods.head_importance, model=teacher, encoder=encoder, split=sample, max_length=p.max_length
    )
    heads = dict(function=methods.head_pruned, start=teacher, importance=importance, share=0.4444)
    eight_bit = dict(split=few, max_length=p.max_length, decay=0.99)
    built[task, seed] |= {
        "Heads 19 %": trained(task, seed, **heads | {"share": 0.1944}, recipe=one_epoch),
        "Head Prune": trained(task, seed, **heads, recipe=untrained),
        "Head Prune +Finetune": trained(task, seed, **heads),
        "Head Prune +KD": trained(task, seed, **heads, kd=True),
        "Q8-PTQ": runs.unit(methods.q8_ptq, encoder=encoder, start=teacher, **eight_bit),
        "Q8-QAT": trained(task, seed, methods.q8_trained, start=None, decay=0.99),
    }
    for name, kd in (("Q8-PTQ +Finetune", False), ("Q8-PTQ +KD", True)):
        again = dict(start=built[task, seed]["Q8-PTQ"], decay=0.99)
        built[task, seed][name] = trained(task, seed, methods.q8_trained, kd, **again)

# %% tags=["units"]
for (task, seed), teacher in teachers.items():
    own, here = dict(encoder=half, start=teacher), built[task, seed]
    replacing = dict(own, function=methods.theseus, slope=p.theseus_slope, base=0.5)
    states = runs.unit(
        methods.cls_states, model=teacher, encoder=encoder, split=splits[task, seed],
        layers=replace.skip(encoder.shape()[0], p.student_layers), max_length=p.max_length,
    )  # fmt: skip
    patient = dict(states=states, given=taught[task, seed] | {"alpha": 0.7, "beta": 500.0})
    here |= {
        "Truncate & Finetune": trained(task, seed, **own),
        "Pure KD": trained(task, seed, **own, kd=True),
        "BERT-PKD": trained(task, seed, methods.pkd, **own, **patient),
        "BERT-of-Theseus": trained(task, seed, **replacing),
        "Theseus +KD": trained(task, seed, **replacing, kd=True),
    }
    here |= {name: trained(task, seed, encoder=one) for name, one in small.items()}

# %% tags=["units"]
for (task, seed), here in built.items():
    few = data.Split(task, splits[task, seed].path, p.source, p.calibration_size, seed)
    for name in ("Head Prune +KD", "Theseus +KD"):
        student = dict(encoder=reads(here[name]), start=here[name])
        here[f"{name}+PTQ"] = runs.unit(
            methods.q8_ptq, **student, split=few, max_length=p.max_length, decay=0.99
        )
models_of = {
    at: {name: model for name, model in here.items() if name in ("Teacher", JUDGE, *chosen)}
    for at, here in built.items()
}

# %% [markdown]
# ## Readers of spans (paper 2)
#
# Its family: small encoders, and one pruned before it is trained. What the other papers do to classifiers is not defined for readers.

# %% tags=["units"]
answers = {}
for seed in p.seeds if "squad" in p.tasks else ():
    questions = data.Split("squad", data.TASKS["squad"].train, p.source, p.train_size, seed)
    short = train.Recipe(**p.recipe | {"max_length": p.window})
    fixed = dict(split=questions, recipe=short, stride=p.stride, seed=seed)
    made = {"Teacher": runs.unit(methods.reader, encoder=encoder, **fixed)}
    made[CONTROL] = runs.unit(methods.reader, encoder=encoder, **fixed | {"seed": seed + 1000})
    made[PRUNED] = runs.unit(methods.reader, encoder=encoder, subnetwork=pruned_encoder, **fixed)
    made |= {name: runs.unit(methods.reader, encoder=one, **fixed) for name, one in small.items()}
    splits["squad", seed] = questions
    models_of["squad", seed] = {name: one for name, one in made.items() if name in ("Teacher", *chosen)}
    for (name, model), bed in itertools.product(models_of["squad", seed].items(), beds["squad"]):
        asked = dict(model=model, encoder=reads(model), split=tested[bed], stride=p.stride)
        answers["squad", bed, name, 0.0, seed] = runs.unit(
            methods.answered, **asked, max_length=p.window, precision=p.precision
        )

# %% [markdown]
# ## What is measured
#
# Predictions on the development set and the sets out of distribution. TextFooler (as its authors released it) on the first examples of the development
# set. The [CLS] vectors of that set, of the first set out of distribution and of some training examples, for neighbours and for
# deep nearest neighbours. What is true of a model's arithmetic alone, as true 8-bit integers, is not looked for in its vectors.

# %% tags=["units"]
predictions, attacks = {}, {}
lexicon = lexica.Words(p.words, models.Encoder(p.sentences) if p.sentences else None)
for (task, seed), here in models_of.items():
    if task == "squad":
        continue
    for (name, model), bed in itertools.product(here.items(), beds[task]):
        predictions[task, bed, name, 0.0, seed] = predicted(model, tested[bed])
    if INTEGER in chosen:
        whole = dict(model=here["Teacher"], encoder=encoder, max_length=p.max_length)
        for bed in beds[task]:
            predictions[task, bed, INTEGER, 0.0, seed] = runs.unit(
                methods.q8_ptq_predicted, split=tested[bed], **whole
            )
    if task in p.attacked_tasks:
        few = data.Split(task, splits[task, p.seeds[0]].path, p.source, p.calibration_size, p.seeds[0])
        like = runs.unit(methods.calibrated, split=few, words=lexicon) if p.sentences else None
        texts = data.Split(task, beds[task][0], p.source, p.attack_size)
        by = dict(split=texts, words=lexicon, mode="authors", calibration=like, **read)
        victims = {name: model for name, model in here.items() if name != JUDGE}
        victims |= {INTEGER: here["Teacher"]} if INTEGER in chosen else {}
        for name, model in victims.items():
            one = dict(model=model, encoder=reads(model), integer=name == INTEGER)
            attacks[task, name, seed] = runs.unit(methods.attacked, **one, **by)

# %% tags=["units"]
shared, distances = {}, {}
for (task, seed), here in models_of.items():
    index = data.Split(task, splits[task, seed].path, p.source, p.index_size, seed)
    length = p.window if task == "squad" else p.max_length
    states = {
        (name, at): runs.unit(
            methods.vectors, model=model, encoder=reads(model), split=split, read="pair",
            max_length=length, precision=p.precision,
        )
        for name, model in here.items() if name != JUDGE
        for at, split in (("train", index), ("heldout", tested[beds[task][0]]), ("test", tested[beds[task][1]]))
    }  # fmt: skip
    points = {name: unit for (name, at), unit in states.items() if at == "heldout"}
    pairs = [("Teacher", name) for name in points if name != "Teacher"]
    shared[task, seed] = runs.unit(methods.shared_neighbours, vectors=points, pairs=pairs, ks=[p.k])
    for name in points:
        known, heldout, test = (states[name, at] for at in ("train", "heldout", "test"))
        distances[task, name, seed] = runs.unit(
            methods.distances, train=known, sets={"heldout": heldout, "test": test}, ks=[p.k]
        )

# %% [markdown]
# Speed and size, of the first seed: no seed changes them but for the clock. 8-bit models compute in true integers here.

# %% tags=["units"]
footprints, speeds, weights = {}, {}, {}
for (task, seed), here in models_of.items():
    if seed != p.seeds[0]:
        continue
    if task == "squad":
        weights |= {name: runs.unit(methods.weighed, encoder=reads(model)) for name, model in here.items()}
        continue
    texts = dict(split=data.Split(task, beds[task][0], p.source, p.speed_batch), max_length=p.max_length)
    timed = {name: model for name, model in here.items() if name != JUDGE}
    for name, model in timed.items():
        footprints[task, name] = runs.unit(methods.footprint, model=model, encoder=reads(model), **texts)
    teacher, encoders = timed.pop("Teacher"), {name: reads(model) for name, model in timed.items()}
    speeds[task] = runs.unit(
        methods.timed, teacher=teacher, compressed=timed, encoders=encoders | {"Teacher": encoder},
        batch_sizes=[p.speed_batch], rounds=p.speed_rounds, **texts,
    )  # fmt: skip
every = [*predictions.values(), *answers.values(), *attacks.values(), *shared.values(), *distances.values()]
f"{len(chosen)} methods, {len(attacks)} attacks, {len(runs.closure(every))} units with all they need"

# %% [markdown]
# ## Run
#
# Stopped at any point, the same command goes on from there. Speed is timed last, when nothing else computes.

# %%
print(
    plan.forecast([predictions, answers, attacks, shared, distances, footprints, weights, speeds], run.store)
)

# %% tags=["run"]
predictions, answers, attacks, shared, distances, footprints, weights = run.collect(
    [predictions, answers, attacks, shared, distances, footprints, weights]
)
speeds = {task: run.collect(unit) for task, unit in speeds.items()}  # one after the other

# %% [markdown]
# ## The matrix
#
# **errors kept**, **neighbours kept** and **distribution kept** are Jaccard coefficients with the teacher: of the test examples both get wrong, of an example's
# `k` nearest others, of the examples out of distribution that deep nearest neighbours call so. The **easy-hard gap** is the accuracy on the half of the test
# examples that the judges are surer of less that on the other half. **attack success** is the share of right answers that TextFooler turns. Of
# readers, accuracy is exact match.
#
# Intervals are 95 %, over test items and, from two seeds on, over seeds; differences to the control are paired. Speed, size and operations are of
# one training. A method without its own number there has none to give: masks and unstructured pruning store their zeros.

# %%
families = pd.DataFrame(
    [(name, family, paper) for family, own in p.rows.items() for name, paper in own.items()],
    columns=["method", "family", "paper"],
)
sizes = footprints | {("squad", name): one for name, one in weights.items()}
spent = compare.costs(speeds, sizes, seed=p.seeds[0])


def measured(*found):
    """The evidence of every cell, from predictions, answers, attacks, neighbours and distances."""
    names = ("answers", "attacked", "shared", "distances")
    return compare.evidence(found[0], beds, **dict(zip(names, found[1:], strict=True)), k=p.k) | spent


collected = predictions, answers, attacks, shared, distances
table = compare.matrix(measured(*collected), control=CONTROL)
values = compare.by_seed(
    {
        seed: measured(*({key: one for key, one in found.items() if key[-1] == seed} for found in collected))
        for seed in p.seeds
    }
)

# %%
table = table.merge(families, on="method", how="left").fillna({"family": "teacher"})
table["paper"] = table["paper"].astype("Int64")
controls = compare.controls(values, table, control=CONTROL)
head = ["task", "method", "family", "paper", "measure"]
outputs = {
    "matrix": table[head + [name for name in table if name not in head]],
    "table_controls": controls,
}
report.save(run.directory, {name: frame.round(5) for name, frame in outputs.items()}, about=run.record)
means = compare.mean_over_tasks(table).merge(families, on="method", how="left").fillna({"family": "teacher"})
report.wide(means, ["family", "method"], ["measure"])

# %% [markdown]
# Means over the tasks that a method has: of readers there are few, so compare rows of classifiers. Task by task, in `matrix`; what two
# trainings of the teacher differ by, in `table_controls`:

# %%
report.wide(controls, ["task"], ["measure"])

# %% [markdown]
# ## One picture
#
# How much better (purple) or worse (orange) than **the teacher trained again** a method is: the difference in standard deviations of the methods on a task,
# mean over tasks. Hatched is what cannot be told from it. Methods and measures that are alike stand together.
#
# **Who has learnt little has little to lose**: $F_\mathrm{bias}$, the easy-hard gap and attack success favour weak models. Read them beside accuracy.

# %%
scaled = compare.standardised(table, control=CONTROL)
heat = scaled.merge(families, on="method")
figure = report.matrix_figure(heat, list(p.rows))
report.save(run.directory, {"heat_map": figure, "standardised": scaled.round(4)}, about=run.record)
figure

# %% [markdown]
# ## Does one robustness predict another?
#
# Spearman's $\rho$ over the methods (not over the controls), within each task, then averaged; limits by leaving out families of methods, which
# share recipe or start. Nearly everything goes with accuracy: the rows with `given` hold the ranks of the measured accuracy fixed, which with few seeds leaves some of the true one.

# %%
ASKED = [
    ("label loyalty", "OOD accuracy"),
    ("probability loyalty", "OOD accuracy"),
    ("neighbours kept", "label loyalty"),
    ("F_bias", "attack success"),
    ("F_bias", "after-attack accuracy"),
]
compressing = families.loc[families["family"] != "control", "method"]
kin = families.set_index("method")["family"].to_dict()
ranked = values[values.index.get_level_values("method").isin(compressing)]
every_pair = list(itertools.combinations(ranked.columns, 2))
correlations = pd.concat(
    compare.rank_correlations(
        ranked, given=given, families=kin, pairs=[pair for pair in every_pair if given not in pair]
    )
    for given in (None, "accuracy")
)
either = [frozenset(pair) for pair in ASKED]
asked = correlations[
    [frozenset(pair) in either for pair in zip(correlations["first"], correlations["second"], strict=True)]
]
outputs = {"correlations": correlations.round(4), "table_questions": asked.round(4)}
report.save(run.directory, outputs, about=run.record)
report.sheet(asked)

# %% [markdown]
# ## What robustness costs
#
# Mean over the classification tasks, of the methods that have all of them; up is better everywhere. By these values no method off the line is
# worth its megabytes, or its time. The fronts are of values; the bars say how well these are known.

# %%
fronts = []
classified = table[table["task"].ne("squad") & table["method"].isin(compressing)]
whole = compare.mean_over_tasks(classified).merge(families, on="method")
whole["better"] = whole["measure"].map(lambda name: compare.MEASURES[name].better)
for cost, better in (("megabytes", -1), ("speed-up", 1)):
    price = whole[whole["measure"] == cost].set_index("method")["value"]
    for _, rows in whole[~whole["measure"].isin(compare.COSTS)].groupby("measure", sort=False):
        rows = rows[rows["tasks"] == rows["tasks"].max()].assign(cost=rows["method"].map(price))
        rows = rows.dropna(subset=["cost", "value"])
        own = rows.set_index("method")
        front = compare.pareto(-better * own["cost"], own["value"] * own["better"])
        fronts.append(rows.assign(by=cost, front=rows["method"].map(front)))
fronts = pd.concat(fronts, ignore_index=True)
report.save(run.directory, {"pareto": fronts.round(5)}, about=run.record)

# %%
for cost in fronts["by"].unique():
    figure = report.pareto_figure(fronts[fronts["by"] == cost], cost, list(p.rows))
    report.save(run.directory, {f"pareto_{cost.replace('-', '_')}": figure}, about=run.record)
    display(figure)

# %% [markdown]
# ## Findings
#
# Written by fixed rules from the tables above, true at this scale: a micro world, models of less than a million weights, `train_size` examples. "Goes with" and "goes against" are
# said where the interval of $\rho$ leaves out 0.


# %%
def said(name):
    """In how many of a measure's cells a method is worse, and better, than a second training."""
    cells = judged.loc[judged["measure"] == name, "verdict"]
    return f"{name} {(cells == 'worse').sum()} worse and {(cells == 'better').sum()} better of {len(cells)}"


def rho(row):
    """A correlation in words."""
    limits = f"{row['value']:.2f}, {row['low']:.2f} to {row['high']:.2f}"
    how = "goes with" if row["low"] > 0 else "goes against" if row["high"] < 0 else "is not shown to go with"
    fixed = ", measured accuracy held fixed" if row["given"] else ""
    return f"{row['first']} {how} {row['second']}{fixed} ({limits}; methods {row['n']}, tasks {row['tasks']})"


# %%
judged = table[
    table["method"].isin(compressing) & table["verdict"].isin(["better", "worse", "not told apart"])
]
told = [name for name in compare.MEASURES if name in set(judged["measure"])]
robust = [name for name in told if name not in compare.COSTS]
sentences = [
    f"Beside a second training of the teacher, cells of method and task (by chance 2.5 % either way): "
    f"{'; '.join(map(said, robust))}."
]
sentences += [f"{'; '.join(map(rho, asked[asked['value'].notna()].to_dict('records')))}."]
for cost, rows in fronts[fronts["front"]].groupby("by", sort=False):
    price = rows["cost"] * (1 if cost == "megabytes" else -1)
    cheapest, count = rows.loc[price.idxmin(), "method"], rows["measure"].nunique()
    most = rows.loc[rows["method"] != cheapest, "method"].value_counts().head(4)
    named = ", ".join(f"{name} ({times})" for name, times in most.items())
    sentences.append(
        f"By {cost}, of {count} fronts of values, {cheapest} being the cheapest, most are held by {named}."
    )
findings = pd.DataFrame({"finding": [f"{one} Seeds: {len(p.seeds)}." for one in sentences]})
report.save(run.directory, {"findings": findings}, about=run.record)
print(*findings["finding"], sep="\n\n")

# %% [markdown]
# ## Deviations
#
# - **Micro scale** shows the mechanism on a made-up world; its models are trained in seconds. Nothing here says how BERT's compression ranks.
# - **Training.** What begins with a pretrained encoder is trained for `epochs`, what goes on from the teacher for `more_epochs` (for one in each step of paper 1's pruning), so
#   it has seen more than the teacher and than the control. **Teacher +Finetune** shows what that alone does.
# - **Hyperparameters** are the same for all methods, and chosen on none of them: no method is at its best.
# - **Sentiment** out of distribution is reviews, which no paper measures; the product of experts has no bias model there and is left out.
# - **Masks** are chosen on further examples of the development set's making, with which nothing is measured.
# - **Readers** are compared by what paper 2 compares; loyalty and attacks are of classifiers.
# - **Speed and size**: unstructured pruning and masks keep their zeros in memory, so they save nothing here; 8-bit models are timed and weighed in integers, the
#   row "Q8-PTQ, integer" is not timed again.
# - **Difficulty** is by a further training's confidence, a mean over seeds, so it is of no row.
