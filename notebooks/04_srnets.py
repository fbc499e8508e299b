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
# # 04 SRNets: sparse and robust subnetworks
#
# Paper 4, *A Win-win Deal: Towards Sparse and Robust Pre-trained Language Models*, sections 4 and 5. Rebuilds **Figures 2 to 8** and, as far as
# they are known, the appendix studies: **C.1** (other losses), **C.2** and **C.3** (Figures 6 and 7 on other `tasks`), **C.4** (Figure 8), **C.5** (`more_encoders`). The
# paper draws its results and prints no values; a table of ours stands beside every figure.
#
# The claim in one sentence: *a pretrained encoder contains subnetworks that are sparse and robust to dataset bias at once, and training
# a mask with a debiasing loss finds them without changing a weight.*
#
# Searching a subnetwork comes on top of fine-tuning, so it stands beside a **dense control**: the full model trained on with the
# same loss for as many steps. Does the gain belong to the subnetwork, or to the training?
#
# Micro scale: 3:48 with one seed on two cores; part of it on real MNLI and HANS, small, 30 minutes (README). Colab and paper scale are not measured: `make plan`.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/robust-lib/robust-lib/blob/main/notebooks/04_srnets.ipynb)

# %% [markdown]
# Where the package is missing, as on Colab, it is installed first. On Colab `scale = "colab"` in the cell of values is
# enough: what is not changed there comes from that scale's file.

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
figures = [2, 3, 4, 5, 6, 7, 8]  # to rebuild
encoder = "micro-base"
more_encoders = []  # appendix C.5
tasks = ["mnli"]  # mnli, fever, qqp: a column of every figure each
train_paths = {}  # task: dataset/split, where it is not the task's own training set
by_task = {}  # task: {parameter: value}, where a task's value is another
train_size = 1500  # examples per task; None for all
test_size = 600  # examples per test bed; None for all
epochs = 3  # of dense fine-tuning
loss_epochs = {}  # loss: epochs of dense fine-tuning, where not `epochs`
more_losses = ["reweight", "confreg"]  # appendix C.1
sparsities = [0.5, 0.7, 0.9]  # of mask training
mask_epochs = 2
mask_loss_epochs = {}  # loss: epochs of mask training, where not `mask_epochs`
mask_learning_rate = None  # of the scores; None: the one of `mask_rates` that is best in distribution
mask_rates = [5e-5, 3e-4, 1e-3]  # the first is the paper's for MNLI
init = "soft"  # hard: scores of 0.02 and 0 by magnitude, the paper's; soft: |W| itself
interval = 20  # steps between re-thresholdings
select_from = 0.7  # share of mask training after which a mask may be chosen; 0 on the pretrained encoder
imp_sparsities = [0.3, 0.5, 0.7, 0.9]  # a round each
imp_epochs = 5  # of IMP's whole schedule; a round is a tenth of it
ood_size = 500  # examples of each OOD training set, for the upper bound
ood_epochs = 2
ood_learning_rate = None  # of the scores there; None: as above
sparsity = 0.7  # of Figure 7
starts = [0.0, 0.5]  # of Figure 7, shares of dense fine-tuning
high_sparsity = 0.9  # of Figure 8
initial_sparsity = 0.7  # where its gradual increase begins
lengths = [1, 3]  # of Figure 8, epochs
learning_rate = 4e-4  # of weights
batch_size = 32
max_length = 40  # tokens
warmup = 0.1  # share of dense fine-tuning's steps; longer trainings warm up for as many steps
weight_decay = 0.0
merge = "argmax"  # three classes to HANS's two: argmax, then merge; or sum, the probabilities of the two
precision = "fp32"
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
    masks,
    methods,
    metrics,
    models,
    objectives,
    params,
    plan,
    published,
    report,
    runs,
    train,
)

p = params.check("04_srnets", globals())
run = runs.start("04_srnets", p)
run

# %% [markdown]
# ## Data and bias models
#
# A bias model sees only what gives the label away: for inference and paraphrase seven features of the words that the two texts
# share, for fact verification the words of the claim. It predicts $p_b$, the model $p_m$. The bias model's probability of the gold label, $\beta$, says how
# biased an example is.

# %% tags=["units"]
encoder, of = models.Encoder(p.encoder), {task: p.of(task) for task in p.tasks}
splits = {
    key: split
    for task in p.tasks
    for key, split in data.training(
        [task], p.seeds, source=p.source, size=of[task].train_size, paths=p.train_paths
    ).items()
}
beds, measures = data.beds(p.tasks), {"qqp": "f1"}
developments = {task: data.Split(task, beds[task][0], p.source, p.test_size) for task in p.tasks}
biases = {
    key: runs.unit(methods.bias_only, encoder=encoder, split=split, test=split)
    for key, split in splits.items()
}
bias_units = {
    (task, bed, "bias model", 0.0, seed): runs.unit(
        methods.bias_only, encoder=encoder, split=split, test=data.Split(task, bed, p.source, p.test_size)
    )
    for (task, seed), split in splits.items()
    for bed in beds[task]
}
{key: (split.path, split.size) for key, split in splits.items()}

# %% [markdown]
# ## Full models, with four losses
#
# $L_\mathrm{std}$ is cross entropy. $L_\mathrm{poe}$ is that of model and bias model together, $\mathrm{softmax}(\log p_m + \log p_b)$;
# reweighting weighs an example $1 - \beta$; confidence regularisation learns from the CE model's own probabilities to the power
# $1 - \beta$. In all three an example teaches the less, the better the bias model explains it.

# %% tags=["units"]
OBJECTIVES = {
    "std": objectives.vanilla,
    "poe": objectives.poe,
    "reweight": objectives.reweight,
    "confreg": objectives.confidence_regularised,
}
named = ["std", "poe", *p.more_losses]


def recipe(task, epochs, **other):
    """Dense fine-tuning's values for other epochs; the warm-up takes as many steps of the training set as there."""
    own = of[task]
    return train.Recipe(
        **own.recipe | {"epochs": epochs, "warmup": min(0.9, own.warmup * own.epochs / epochs)} | other
    )


# %% tags=["units"]
def common(task, seed, loss, encoder=encoder):
    """What every training with a loss is given."""
    given = {} if loss == "std" else {"bias": biases[task, seed]}
    if loss == "confreg":
        where = dict(
            encoder=encoder, split=splits[task, seed], max_length=p.max_length, precision=p.precision
        )
        given["teacher"] = runs.unit(methods.predicted, model=full[task, "std", seed], **where)
    known = {"objective": OBJECTIVES[loss], "given": given or None}
    return {"encoder": encoder, "split": splits[task, seed], "seed": seed} | known


full = {}
for task, seed in splits:
    for loss in named:
        longer = of[task].loss_epochs.get(loss, of[task].epochs)
        full[task, loss, seed] = runs.unit(
            methods.finetuned, recipe=recipe(task, longer), **common(task, seed, loss)
        )
trained = {(task, f"full {loss}", 0.0, seed): model for (task, loss, seed), model in full.items()}

# %% [markdown]
# ## Mask training, and how far a learning rate carries
#
# Weights are frozen; each has a score $\hat m$, and acts where $\hat m > \phi$ (equation 1 has $\geq$, the released code $>$). The gradient passes through
# the comparison as if it were not there. The threshold $\phi$ of every matrix is set anew every `interval` steps, so that exactly the
# share `sparsity` of its scores lies at or below it.
#
# **The short-run trap.** With hard initialisation kept and removed entries are 0.02 apart, and Adam moves a score by about the learning rate per step. In
# the paper's 61,360 steps at 5e-5 a score can travel 77 times that gap; in a hundred steps at the same rate an eighth of it, and the mask
# stays the magnitude mask it began as. A rate large enough for a short run makes scores *wander* past each other by noise alone. So rates are tried
# on the first task and seed at one sparsity, and each kind of initialisation takes the one that is best in distribution.


# %% tags=["units"]
def mask_training(task, seed, loss, start, sparsity, **other):
    """The unit of a mask training; `other` replaces what holds for most."""
    own = of[task]
    epochs = other.pop("epochs", own.mask_loss_epochs.get(loss, own.mask_epochs))
    fixed = dict(development=developments[task], measure=measures.get(task, "accuracy"), merge=p.merge)
    fixed |= dict(init=p.init, interval=own.interval, select_from=p.select_from, seed=seed + 1000)
    fixed = common(task, seed, loss, other.pop("encoder", encoder)) | fixed | other
    if "learning_rate" not in fixed:
        fixed["learning_rate"] = own.mask_learning_rate or chosen[fixed["init"]]
    return runs.unit(
        methods.mask_trained, start=start, sparsity=sparsity, recipe=recipe(task, epochs), **fixed
    )


# %% tags=["units"]
first, seed = p.tasks[0], p.seeds[0]
trials = {
    (init, one): mask_training(
        first, seed, "std", full[first, "std", seed], p.sparsity, init=init, learning_rate=one
    )
    for init in ("hard", "soft")
    for one in p.mask_rates
}
chosen = {
    init: runs.unit(methods.chosen_rate, trials={str(one): trials[init, one] for one in p.mask_rates})
    for init in ("hard", "soft")
}

# %% [markdown]
# ## Subnetworks of fine-tuned models (Figures 2 and 3, C.1)
#
# $\max_m \mathcal{E}_\mathrm{ID} + \mathcal{E}_\mathrm{OOD}$ (equation 2), sought by minimising a loss in distribution. **Mask training** changes no weight.
# **IMP** removes the smallest weights of each matrix up to the next of `imp_sparsities` (a tenth more at paper scale), trains on, and so forth; the
# debiasing loss is truly passed to it.
#
# Controls of ours: the full model trained on, nothing removed, for the steps of mask training and of each round of IMP; and the one-shot
# magnitude mask of encoder and pooler, untrained.

# %% tags=["units"]
drawn = set(p.figures)
finetunings = [("std", "std")] * (2 in drawn) + [("std", "poe")] * bool(drawn & {2, 3, 4, 5} or p.more_losses)
finetunings += [("poe", "poe")] * (3 in drawn) + [("std", loss) for loss in p.more_losses]
searches = [
    (*key, *pair) for key in splits for pair in finetunings
]  # task, seed, loss of the full model, of the search
called = {(begun, loss): loss if begun == "std" else f"{loss} of {begun}" for begun, loss in finetunings}
searched = {}  # masks by task, loss of the search, sparsity, seed
for task, seed, begun, loss in searches:
    start, name, own = full[task, begun, seed], called[begun, loss], of[task]
    for sparsity in p.sparsities:
        found = mask_training(task, seed, loss, start, sparsity)
        searched[task, name, sparsity, seed] = trained[task, f"mask {name}", sparsity, seed] = found
    longer = recipe(task, own.mask_loss_epochs.get(loss, own.mask_epochs))
    again = common(task, seed, loss) | {"seed": seed + 1000}
    trained[task, f"control {name}", 0.0, seed] = runs.unit(
        methods.finetuned, start=start, recipe=longer, **again
    )

# %% tags=["units"]
for task, seed, begun, loss in searches if drawn & {2, 3} else ():
    if loss in ("std", "poe"):
        a_tenth = recipe(task, of[task].imp_epochs, warmup=0.0, until=0.1)
        fixed = dict(start=full[task, begun, seed], sparsities=p.imp_sparsities, recipe=a_tenth)
        for kind, removed in (("imp", True), ("control imp", False)):
            chain = methods.imp_chain(removed=removed, **fixed, **common(task, seed, loss))
            for sparsity, model in chain.items():
                trained[task, f"{kind} {called[begun, loss]}", sparsity, seed] = model
for task, seed in splits if 2 in drawn else ():
    none = dict(start=full[task, "std", seed], recipe=recipe(task, 1, until=0.0), **common(task, seed, "std"))
    for sparsity in p.sparsities:
        trained[task, "magnitude", sparsity, seed] = runs.unit(methods.imp_round, sparsity=sparsity, **none)

# %% [markdown]
# ## Subnetworks fine-tuned in isolation (Figure 4), and not fine-tuned at all (Figure 5)
#
# The lottery ticket's pipeline: find a mask, put it on the *pretrained* weights under a new classifier, then fine-tune (equation 3). Masks from mask training on
# the fine-tuned model and from IMP with rewinding, both with PoE. Last, masks trained on the pretrained encoder itself, whose weights
# are never trained (equation 4); its classifier is random and stays so.

# %% tags=["units"]
pretrained = {
    (task, seed): runs.unit(
        methods.finetuned, recipe=recipe(task, of[task].epochs, until=0.0), **common(task, seed, "std")
    )
    for task, seed in splits
}
for task, seed in splits if 4 in drawn else ():
    a_tenth = recipe(task, of[task].imp_epochs, warmup=0.0, until=0.1)
    fixed = dict(sparsities=p.imp_sparsities, recipe=a_tenth, **common(task, seed, "poe"))
    tickets = {("imp", sparsity): one for sparsity, one in methods.rewinding_chain(**fixed).items()}
    tickets |= {("mask", sparsity): searched[task, "poe", sparsity, seed] for sparsity in p.sparsities}
    for (kind, sparsity), subnetwork in tickets.items():
        for loss in ("std", "poe") if sparsity in p.sparsities else ():
            longer = recipe(task, of[task].loss_epochs.get(loss, of[task].epochs))
            fixed = dict(subnetwork=subnetwork, recipe=longer, **common(task, seed, loss))
            trained[task, f"{kind} ft {loss}", sparsity, seed] = runs.unit(methods.finetuned, **fixed)
for task, seed in splits if 5 in drawn else ():
    for sparsity in p.sparsities:
        for loss in ("std", "poe"):
            fixed = (task, seed, loss, pretrained[task, seed], sparsity)
            trained[task, f"pretrained {loss}", sparsity, seed] = mask_training(*fixed, select_from=0.0)

# %% [markdown]
# ## With OOD training data (Figure 6, C.2)
#
# The upper bound: the challenge set's own training examples join the training set, with cross entropy. The control of ours is the full model
# trained on with the same examples.

# %% tags=["units"]
for task, seed in splits if 6 in drawn else ():
    own, start = of[task], full[task, "std", seed]
    known = [
        (data.Split(task, path, p.source, own.ood_size, seed), times)
        for path, times in data.TASKS[task].ood_training
    ]
    other = dict(extra=known, epochs=own.ood_epochs)
    other |= {"learning_rate": own.ood_learning_rate} if own.ood_learning_rate else {}
    for sparsity in p.sparsities:
        found = trained[task, "ood ft", sparsity, seed] = mask_training(
            task, seed, "std", start, sparsity, **other
        )
        fixed = (task, seed, "std", pretrained[task, seed], sparsity)
        trained[task, "ood pt", sparsity, seed] = mask_training(*fixed, select_from=0.0, **other)
        fixed = dict(subnetwork=found, recipe=recipe(task, own.epochs), **common(task, seed, "std"))
        trained[task, "ood pt + ft", sparsity, seed] = runs.unit(methods.finetuned, **fixed)
    again = common(task, seed, "std") | {"seed": seed + 1000}
    trained[task, "control ood", 0.0, seed] = runs.unit(
        methods.finetuned, start=start, recipe=recipe(task, own.ood_epochs), extra=known, **again
    )

# %% [markdown]
# ## When to start, and how to reach high sparsity (Figures 7 and 8, C.3, C.4)
#
# Mask training with PoE from checkpoints along fine-tuning. At high sparsity, a fixed sparsity against one that rises from `initial_sparsity` on
# a cubic schedule over the whole training. In the paper the fixed runs begin with hard scores and the gradual ones with soft scores; a fixed
# run with soft scores tells the two differences apart.

# %% tags=["units"]
courses = {}
for task, seed in splits if 7 in drawn else ():
    watched = [data.Split(task, bed, p.source, p.test_size) for bed in beds[task]]
    checkpoints = {0.0: pretrained[task, seed], 1.0: full[task, "std", seed]} | {
        share: runs.unit(
            methods.finetuned, recipe=recipe(task, of[task].epochs, until=share), **common(task, seed, "std")
        )
        for share in of[task].starts
        if share
    }
    for share in [*of[task].starts, 1.0]:
        other = dict(select_from=p.select_from if share else 0.0, watched=watched)
        courses[task, share, seed] = mask_training(task, seed, "poe", checkpoints[share], p.sparsity, **other)

# %% tags=["units"]
reached = {}
kinds = {"gradual": {"init": "soft", "initial": p.initial_sparsity}}
kinds |= {f"fixed, {init}": {"init": init} for init in ("hard", "soft")}
for task, seed in splits if 8 in drawn else ():
    for length in of[task].lengths:
        for kind, other in kinds.items():
            fixed = (task, seed, "poe", full[task, "std", seed], p.high_sparsity)
            reached[task, f"{kind} {length}", p.high_sparsity, seed] = mask_training(
                *fixed, epochs=length, **other
            )

# %% [markdown]
# ## Other encoders (C.5)

# %% tags=["units"]
others = {}
for name in p.more_encoders:
    one = models.Encoder(name)
    for task, seed in splits:
        start = runs.unit(
            methods.finetuned, recipe=recipe(task, of[task].epochs), **common(task, seed, "std", one)
        )
        others[name, task, "full std", 0.0, seed] = start
        for loss in ("std", "poe"):
            for sparsity in p.sparsities:
                others[name, task, f"mask {loss}", sparsity, seed] = mask_training(
                    task, seed, loss, start, sparsity, encoder=one
                )

# %% [markdown]
# ## Run

# %% tags=["units"]
where = dict(source=p.source, size=p.test_size, max_length=p.max_length, precision=p.precision)
ended = {(task, f"start {share:g}", p.sparsity, seed): unit for (task, share, seed), unit in courses.items()}
units = methods.measured(trained | reached | ended, beds, **where) | bias_units
other_units = {
    name: methods.measured({key[1:]: unit for key, unit in others.items() if key[0] == name}, beds, **where)
    for name in p.more_encoders
}
everything = (
    trained
    | reached
    | ended
    | {(task, f"{name}, {method}", *at): one for (name, task, method, *at), one in others.items()}
)
changes = {key: unit for key, unit in everything.items() if unit.function is methods.mask_trained}
every = [units, other_units, trials, chosen, courses, changes, biases]

# %%
print(plan.forecast(every, run.store))

# %% tags=["run"]
predictions, other_predictions, trials, chosen, courses, changes, biases = run.collect(every)
found = compare.profiles(predictions, beds, merge=p.merge, measures=measures)
points = compare.by_testbed(found)

# %% [markdown]
# Names as in the paper, or ours where it has none; "bert" stands for the encoder.

# %%
names = {
    "mnli/validation_matched": "MNLI dev", "hans/validation": "HANS", "fever/dev": "FEVER dev",
    "fever_symmetric/v1_generated": "Symm1", "fever_symmetric/v2_test": "Symm2",
    "qqp/validation": "QQP dev", "paws_wiki/test": "PAWS-wiki", "paws_qqp/dev_and_test": "PAWS-qqp",
}  # fmt: skip
methods_named = {
    "ood ft": "bert-ft subnet", "ood pt": "bert-pt subnet", "ood pt + ft": "bert-pt subnet + ft",
    "control ood": "full model (std) trained on with OOD data", "magnitude": "one-shot magnitude (ours)",
}  # fmt: skip
for loss in ("std", "poe", "reweight", "confreg"):
    methods_named |= {
        f"full {loss}": f"full model ({loss})", f"mask {loss}": f"mask train ({loss})", f"imp {loss}": f"imp ({loss})",
        f"control {loss}": f"dense control of mask train ({loss})", f"control imp {loss}": f"dense control of imp ({loss})",
        f"pretrained {loss}": f"mask train ({loss}), pretrained",
        f"mask ft {loss}": f"mask train (poe) + {loss} ft", f"imp ft {loss}": f"imp (poe) + {loss} ft",
    }  # fmt: skip
methods_named |= {
    f"start {share:g}": f"mask train (poe) from {100 * share:g} % of fine-tuning" for _, share, _ in courses
}
for kind in ("mask", "imp", "control", "control imp"):
    methods_named[f"{kind} poe of poe"] = f"{methods_named[f'{kind} poe']} on full model (poe)"

# %% [markdown]
# ## The bias models
#
# The losses read the bias model on the training set. If it were certain there, it would silence examples altogether: its calibration (expected
# calibration error, of all classes) stands beside its accuracy, on the training set and on every test bed. For inference it is also asked entailment or
# not, which is all that it was trained on.

# %%
intervals = {}
for task in p.tasks:
    for bed in ["training set, first seed", *beds[task]]:
        frames = {seed: predictions.get((task, bed, "bias model", 0.0, seed)) for seed in p.seeds}
        if bed not in beds[task]:  # every seed draws another
            frames = {p.seeds[0]: biases[task, p.seeds[0]]}
        error = compare.calibration_error(compare.calibration(task, bed, frames))
        right = {"accuracy (%)": {seed: metrics.correct(frame) for seed, frame in frames.items()}}
        if task == "mnli":
            right["entailment or not (%)"] = {
                seed: metrics.correct(
                    frame.assign(gold=frame["gold"].where(frame["gold"] == "entailment", "non-entailment")),
                    "sum",
                )
                for seed, frame in frames.items()
            }
        for quantity, outcomes in right.items():
            intervals[task, bed, quantity] = compare.accuracy(compare.arm(task, bed, outcomes)).times(100)
        intervals[task, bed, "calibration error (%)"] = error.times(100)
bias_models = compare.frame(intervals, ["task", "test bed", "quantity"]).round(1)
report.save(run.directory, {"table_bias_models": bias_models}, about=run.record)
bias_models

# %% [markdown]
# ## The short-run trap, measured
#
# `travel`: the sum of the learning rates, in gaps of hard initialisation; below one half hardly an entry of a hard mask can change. `wandering`: how far noise
# alone carries. `changed at the end`: share of mask entries that differ from the magnitude mask of the same sparsity. `chosen`: the rate that is used with that
# initialisation, where the parameters give none.
#
# Then, for every mask training of this notebook, the same share of the mask that was kept (at most $2\min(s, 1 - s)$), over seeds; and to what
# sparsity it had drifted, at its lowest, before a re-thresholding that was evaluated (the last 30 % of the steps; all, on the pretrained encoder).

# %%
steps = recipe(first, of[first].mask_epochs)
total = steps.epochs * -(-len(splits[first, p.seeds[0]].frame()) // p.batch_size)
rates = {
    one: [one * train.linear(step, total, steps.warmup) for step in range(total)] for one in p.mask_rates
}
trap = pd.DataFrame(
    {
        "init": init,
        "learning rate": one,
        "steps": total,
        "travel": masks.travel(rates[one]),
        "wandering": masks.wandering(rates[one]),
        "changed at the end": trial["course"]["changed"].iloc[-1],
        "best in distribution": trial["best"],
    }
    for (init, one), trial in trials.items()
)
trap["chosen"] = trap["learning rate"] == trap["init"].map(chosen)
trap = trap.round({"travel": 2, "wandering": 3, "changed at the end": 4, "best in distribution": 3})
report.save(run.directory, {"table_learning_rates": trap}, about=run.record)
trap

# %%
share = pd.DataFrame(
    [(*key, result["kept"], result["course"]["drifted"].min()) for key, result in changes.items()],
    columns=["task", "method", "sparsity", "seed", "changed", "drifted"],
)
share["method"] = share["method"].map(lambda method: methods_named.get(method, method))
table = share.groupby(["task", "method", "sparsity"], sort=False).agg(
    changed=("changed", "mean"), least_changed=("changed", "min"), most_changed=("changed", "max"),
    lowest_sparsity_drifted_to=("drifted", "min"), seeds=("seed", "size"),
).round(4).reset_index()  # fmt: skip
report.save(run.directory, {"table_changed": table}, about=run.record)
table

# %% [markdown]
# ## Figure 2: subnetworks of the CE fine-tuned model
#
# In distribution above, out of it below. Bands are standard deviations over seeds, as in the paper; bars 95 % intervals. Thin lines are the
# dense controls of ours, without bands; bars left of the first sparsity belong to the horizontal lines. F1 of *duplicate* on QQP and PAWS: calling everything a
# duplicate reaches the dotted line, calling nothing one gives 0. On PAWS the full model is near that line, and a model can gain F1 merely by
# collapsing towards it.

# %%
setting = (
    f"Encoder {p.encoder.rpartition('/')[2]}, source {p.source.rpartition('/')[2]}, {p.init} initialisation"
)
BLUE, ORANGE, GREEN, PURPLE, SKY, _ = report.SERIES  # colour and marker of each


# %%
def shown(
    name, title, lines, full, controls=None, points=points, draw=report.subnetwork_figure, setting=setting
):
    """The figure and the table of what was measured, saved and displayed; `lines` and `controls` are looks by method."""
    # Other losses' full models have the colour of their mask training.
    own = {
        method: lines.get(f"mask {method[5:]}", (None, "")) if method[5:] in p.more_losses else (None, "")
        for method in full
    }
    chosen = {"lines": lines, "full": own, "controls": controls or {}}
    there = set(points["method"])
    look = {
        kind: [
            report.Line(method, methods_named.get(method, method), *at)
            for method, at in some.items()
            if method in there
        ]
        for kind, some in chosen.items()
    }
    table = report.subnetwork_table(points, title=f"Paper 4, {title}", setting=setting, beds=names, **look)
    figure = draw(points, beds=names, **look)
    report.save(run.directory, {name: figure, f"table_{name}": table}, about=run.record)
    display(table, figure)


# %%
if 2 in drawn:
    lines = {"mask std": BLUE, "mask poe": ORANGE, "imp std": GREEN, "imp poe": PURPLE, "magnitude": SKY}
    controls = {
        "control std": BLUE,
        "control poe": ORANGE,
        "control imp std": GREEN,
        "control imp poe": PURPLE,
    }
    full = ["full std", "full poe"]
    shown("figure_2", "Figure 2: subnetworks of the CE fine-tuned model", lines, full, controls)

# %% [markdown]
# ## Figure 3: subnetworks of the PoE fine-tuned model

# %%
if 3 in drawn:
    lines = {"mask poe": ORANGE, "mask poe of poe": BLUE, "imp poe of poe": GREEN}
    controls = {"control poe of poe": BLUE, "control imp poe of poe": GREEN}
    full = ["full std", "full poe"]
    shown("figure_3", "Figure 3: subnetworks of the PoE fine-tuned model", lines, full, controls)

# %% [markdown]
# ## Figure 4: subnetworks fine-tuned in isolation
#
# The full models are trained for as many steps as the subnetworks' weights. The mask was found in a model that had been fine-tuned before; the
# dense controls of ours are the full model (std), trained on with either loss for the steps of that search. The ticket's own fine-tuning comes on top of these.

# %%
if 4 in drawn:
    lines = {"mask ft std": BLUE, "mask ft poe": ORANGE, "imp ft std": GREEN, "imp ft poe": PURPLE}
    controls = {"control std": BLUE, "control poe": ORANGE}
    full = ["full std", "full poe"]
    shown("figure_4", "Figure 4: subnetworks fine-tuned in isolation", lines, full, controls)

# %% [markdown]
# ## Figure 5: subnetworks without fine-tuning

# %%
if 5 in drawn:
    lines = {"mask poe": ORANGE, "pretrained std": BLUE, "pretrained poe": GREEN}
    shown("figure_5", "Figure 5: subnetworks without fine-tuning", lines, ["full std", "full poe"])

# %% [markdown]
# ## Figure 6: with OOD training data

# %%
if 6 in drawn:
    lines, controls = {"ood ft": BLUE, "ood pt": ORANGE, "ood pt + ft": GREEN}, {"control ood": BLUE}
    shown("figure_6", "Figure 6: subnetworks found with OOD data", lines, ["full std"], controls)

# %% [markdown]
# ## Figure 7: mask training from checkpoints along fine-tuning
#
# Mask training with PoE at `sparsity`; every point has just been re-thresholded. "ft step" counts the steps of dense fine-tuning before it. Lines are means over
# seeds. The table is of the last step; the claims of section 5.1 take the masks that were selected.

# %%
for task in p.tasks if 7 in drawn else ():
    steps = of[task].epochs * -(-len(splits[task, p.seeds[0]].frame()) // p.batch_size)
    measure = measures.get(task, "accuracy")
    begun = {
        share: "ft to end" if share == 1 else f"ft step {round(share * steps)}" for _, share, _ in courses
    }
    curves = pd.concat(
        result["course"].assign(measure=measure, seed=seed, start=begun[share])
        for (of_task, share, seed), result in courses.items()
        if of_task == task
    )
    ends = curves.groupby(["start", "testbed", "seed"], sort=False)["value"].last().mul(100).reset_index()
    ends["testbed"] = ends["testbed"].map(names) + f", {measure} (%)"
    table = (
        ends.groupby(["start", "testbed"], sort=False)["value"]
        .agg(["mean", "std", "size"])
        .round(1)
        .reset_index()
    )
    table.columns = ["start", "test bed", "at the last step", "sd over seeds", "seeds"]
    figure = report.curves_figure(curves, beds=names)
    name = "figure_7" if task == p.tasks[0] else f"figure_7_{task}"
    curves.to_parquet(run.directory / f"{name}.parquet", index=False)
    report.save(run.directory, {name: figure, f"table_{name}": table}, about=run.record)
    display(table, figure)

# %% [markdown]
# ## Figure 8: fixed sparsity against its gradual increase
#
# Three kinds, so that initialisation and schedule can be told apart (C.4): fixed with hard scores is the paper's fixed, gradual with soft
# scores its gradual.

# %%
if 8 in drawn:
    at_high = points[points["method"].str.match(r"(fixed|gradual).* \d+$")]
    kind, length = (at_high["method"].str.extract(r"^(.*) (\d+)$")[place] for place in (0, 1))
    at_high = at_high.assign(epochs=length.astype(int), method=kind)
    at_high = pd.concat([at_high, points[points["method"] == "full std"]])
    lines = {"fixed, hard": BLUE, "fixed, soft": ORANGE, "gradual": GREEN}
    other = dict(
        points=at_high,
        draw=report.lengths_figure,
        setting=f"{setting.rpartition(',')[0]}, sparsity {p.high_sparsity:g}",
    )
    shown("figure_8", "Figure 8: fixed sparsity and gradual increase", lines, ["full std"], **other)

# %% [markdown]
# ## Appendix C.1: other debiasing losses

# %%
if p.more_losses:
    looks = dict(zip(p.more_losses, (BLUE, GREEN), strict=False))
    lines = {"mask poe": ORANGE} | {f"mask {loss}": look for loss, look in looks.items()}
    controls = {f"control {loss}": look for loss, look in looks.items()}
    controls |= {"control poe": ORANGE}
    full = ["full std", "full poe", *(f"full {loss}" for loss in looks)]
    shown("figure_c1", "C.1: other debiasing losses", lines, full, controls)

# %% [markdown]
# ## Appendix C.5: other encoders

# %%
for encoder_name, frames in other_predictions.items():
    theirs = compare.by_testbed(compare.profiles(frames, beds, merge=p.merge, measures=measures))
    short = encoder_name.rpartition("/")[2]
    key = "".join(letter if letter.isalnum() else "_" for letter in short.lower())

    other = dict(
        points=theirs, setting=f"Encoder {short}, mask learning rate chosen on {p.encoder.rpartition('/')[2]}"
    )
    shown(f"figure_c5_{key}", f"C.5: {short}", {"mask std": BLUE, "mask poe": ORANGE}, ["full std"], **other)

# %% [markdown]
# ## Claims of sections 4.2.2, 4.3.2, 4.4.2, 4.5.2, 5.1 and 5.2
#
# - "Comparable" is asked as within two points, "match", "competitive" and "close" as no more than two points lower; "nearly 100 %" as above 95, "nearly 90 %" and "very
#   high" as above 85; "declines sharply", "clearly", "slightly", "helps" as any difference. These boundaries are ours: the paper prints no numbers to hold them against.
# - Claims of 20 to 70 % sparsity are asked at every sparsity up to 70 %, those of "under 50 %" up to and including 50 %. A claim that such subnetworks *exist* is thus asked more
#   than it says, and one measurement can stand under several claims: the checks are not independent. Two models that collapsed to the same constant answer differ by exactly 0.
# - OOD on QQP is the mean F1 of the two PAWS sets. Where both models call nearly everything a duplicate, or nothing, a verdict there carries nothing; of 4.2.2-g the paper says
#   "some methods", and all four are asked.
# - That a subnetwork "cannot outperform" (4.2.2-j) is part of being within two points; that mask training "converges slower" (5.1-a) is left to the figure; 5.1-c asks 5.1-b's
#   question one-sidedly, since the saving is the start itself. Sections 4.5 and 5.1 claim for inference alone, and so they are asked.
# - "Our controls" compare with what the paper has not: above all, is the subnetwork better than the dense model trained on with the same loss for as many steps? Under 4.5.2-a it
#   is no more than two points below the dense model trained on with the OOD data.

# %%
ours = {method for _, method, _ in found if method.startswith(("control", "magnitude", "fixed, soft"))}
checks = report.Checks(4, found, p.scale, methods_named, ours=ours)
moderate = [sparsity for sparsity in p.sparsities if sparsity <= 0.7]


# %%
def ask(kind, item, model, *others, **boundary):
    """A check of what was measured; nothing where a figure was left out."""
    if {model, *others} <= found.keys():
        getattr(checks, kind)(item, model, *others, **boundary)


for task in p.tasks:
    std, poe = (task, "full std", 0.0), (task, "full poe", 0.0)
    profile = found[std]
    gap = compare.interval(
        lambda inside, *outside, own=profile: own.ood_accuracy(outside) - inside, profile.arms
    )
    checks.add("4.2.2-a", checks.named(std), "OOD, points above DEV", gap.times(100), below=0)
    ask("ood", "4.2.2-i", poe, std, above=0)
    ask("dev", "4.2.2-i", poe, std, below=0)
    for kind in ("mask", "imp"):
        for sparsity in moderate:
            for loss in ("std", "poe"):
                ask("retained", "4.2.2-b", (task, f"{kind} {loss}", sparsity), std, above=95)
            ask("ood", "4.2.2-d", (task, f"{kind} poe", sparsity), (task, f"{kind} std", sparsity), above=0)
            ask("retained", "4.2.2-d", (task, f"{kind} poe", sparsity), std, above=95)

# %%
for task, sparsity in [(task, sparsity) for task in p.tasks for sparsity in moderate]:
    std, continued = (task, "full std", 0.0), (task, "control std", 0.0)
    model = (task, "mask poe", sparsity)
    for other in (std, (task, "control poe", 0.0), continued, (task, "magnitude", sparsity)):
        ask("ood", "4.2.2-e", model, other, above=0)
    ask("ood", "4.2.2-f", model, std, above=0)
    ask("retained", "4.2.2-f", model, std, above=95)
    for kind, control in {"mask": continued, "imp": (task, "control imp std", sparsity)}.items():
        for other in (std, control) if task in ("mnli", "qqp") else ():
            ask("ood", "4.2.2-c", (task, f"{kind} std", sparsity), other, above=0)
    for loss in ("std", "poe"):
        mask, imp = ((task, f"{kind} {loss}", sparsity) for kind in ("mask", "imp"))
        ask("dev", "4.2.2-h", mask, imp, above=0)
        ask("ood", "4.2.2-h", mask, imp, above=0)

# %%
for task in p.tasks:
    ask("retained", "4.2.2-f", (task, "mask poe", 0.9), (task, "full std", 0.0), below=95)
    for place in ("dev", "ood") if task != "mnli" else ():
        ask(place, "4.2.2-h", (task, "mask poe", 0.9), (task, "imp poe", 0.9), below=0)
    for method in ("mask std", "mask poe", "imp std", "imp poe"):
        high, less = (task, method, 0.9), (task, method, 0.7)
        ask("dev", "5.2-a", high, less, below=0)
        if task == "qqp":
            ask("dev", "4.2.2-g", high, less, below=0)
            ask("ood", "4.2.2-g", high, less, above=0)
        else:
            ask("ood", "5.2-a", high, less, below=0)

# %%
for task in p.tasks:
    std, poe = (task, "full std", 0.0), (task, "full poe", 0.0)
    for sparsity in moderate:
        mask, imp = ((task, f"{kind} poe of poe", sparsity) for kind in ("mask", "imp"))
        for place in ("dev", "ood"):
            for model in (mask, imp):
                ask(place, "4.2.2-j", model, poe, within=2)
            ask(place, "4.2.2-k", (task, "mask poe", sparsity), mask, within=2)
            ask(place, "4.2.2-l", imp, mask, below=0)
            for kind in ("mask", "imp"):
                ask(place, "4.3.2-b", (task, f"{kind} ft poe", sparsity), poe, within=2)
            ask(place, "4.3.2-d", (task, "mask ft std", sparsity), std, above=-2)
            ask(place, "4.3.2-d", (task, "mask ft poe", sparsity), poe, above=-2)
        for other in (std, (task, "control std", 0.0)):
            ask("ood", "4.3.2-a", (task, "mask ft std", sparsity), other, above=0)
        for kind in ("mask", "imp"):
            tuned = ((task, f"{kind} ft {loss}", sparsity) for loss in ("poe", "std"))
            ask("ood", "4.3.2-c", *tuned, above=0)
    for place in ("dev", "ood") if task == "fever" else ():
        ask(place, "4.2.2-l", (task, "imp poe of poe", 0.9), (task, "mask poe of poe", 0.9), above=0)

# %%
for task in p.tasks:
    for sparsity in moderate:
        for loss, place in ((loss, place) for loss in ("std", "poe") for place in ("dev", "ood")):
            model, whole = (task, f"pretrained {loss}", sparsity), (task, f"full {loss}", 0.0)
            if sparsity <= 0.5:
                item, limit = ("4.4.2-a", {"above": -2}) if loss == "std" else ("4.4.2-b", {"within": 2})
                ask(place, item, model, whole, **limit)

            matched = place == "ood" and (task == "qqp" or (task == "fever" and sparsity <= 0.5))
            if loss == "poe" and not matched:
                ask(place, "4.4.2-c", (task, "mask poe", sparsity), model, above=0)
        if task == "qqp" or (task == "fever" and sparsity <= 0.5):
            ask("ood", "4.4.2-c", (task, "pretrained poe", sparsity), (task, "mask poe", sparsity), within=2)

# %%
for task, sparsity in (
    [("mnli", sparsity) for sparsity in moderate] if 6 in drawn and "mnli" in p.tasks else ()
):
    tuned, raw, after = ((task, f"ood {kind}", sparsity) for kind in ("ft", "pt", "pt + ft"))
    ask("dev", "4.5.2-a", tuned, (task, "full std", 0.0), above=-2)
    ask("ood", "4.5.2-a", tuned, (task, "control ood", 0.0), above=-2)
    ask("dev", "4.5.2-b", raw, tuned, below=0)
    for other in (tuned, raw):
        ask("dev", "4.5.2-c", after, other, above=0)
        ask("ood", "4.5.2-c", after, other, below=0)
    reaches = [
        ("4.5.2-a", tuned, 95),
        ("4.5.2-b", raw, 85),
        *(("4.5.2-d", one, 85) for one in (tuned, raw, after)),
    ]
    reaches += [("4.5.2-c", after, 85)] if sparsity == 0.5 else []
    for item, model, limit in reaches:
        reached_there = compare.ood_accuracy(found[model]).times(100)
        checks.add(item, checks.named(model), "HANS, percent", reached_there, above=limit)

# %%
if 7 in drawn and "mnli" in p.tasks:
    ends = {share: ("mnli", f"start {share:g}", p.sparsity) for share in [*of["mnli"].starts, 1.0]}
    for place in ("dev", "ood"):
        ask(place, "5.1-a", ends.get(0.0), ends[1.0], below=0)
        ask(place, "5.1-b", ends[of["mnli"].starts[-1]], ends[1.0], within=2)
        ask(place, "5.1-c", ends[of["mnli"].starts[-1]], ends[1.0], above=-2)
for task in p.tasks if 8 in drawn else ():
    at, lengths = {name: (task, name, p.high_sparsity) for _, name, _ in found}, sorted(of[task].lengths)
    for place in ("dev", "ood") if task != "qqp" else ("dev",):  # the paper excepts PAWS
        ask(place, "5.2-b", at[f"fixed, hard {lengths[-1]}"], at[f"fixed, hard {lengths[0]}"], above=0)
        for length in lengths:
            for other in ("fixed, hard", "fixed, soft"):
                ask(place, "5.2-b", at[f"gradual {length}"], at[f"{other} {length}"], above=0)
        for shorter, longer in itertools.pairwise(lengths):
            ask(place, "5.2-c", at[f"gradual {shorter}"], at[f"fixed, hard {longer}"], above=0)
claims = checks.claims
report.save(run.directory, {"claims": claims, "table_survival": checks.survival}, about=run.record)
asked = {entry["item"].split(",")[0] for entry in checks.records}
absent = [item for item in published.claims(4)["item"] if item not in asked]
print(f"not asked with these parameters: {', '.join(absent) or 'none'}")
display(report.sheet(checks.survival))
claims

# %% [markdown]
# ## Deviations
#
# - **Threshold.** $>$ as in the released code; equation 1 has $\geq$. Sparsity is exact at every re-thresholding, ties going in storage order; in between
#   it drifts, as in the code: little with soft scores, far towards denser networks with hard ones and a high rate (`table_changed`). A mask that is measured or
#   kept has always just been re-thresholded.
# - **Gradual sparsity.** The released code keeps the mask at the *initial* sparsity (70 % for 90 %). Here every mask that competes is at the final one.
# - **IMP with PoE.** The released code never passes the debiasing loss to IMP, so its "imp (poe)" is "imp (std)". Here it is passed.
# - **IMP** trains a tenth of its schedule after each pruning, as the code does, which starts the schedule anew each time: every model of IMP, and its dense control, is
#   measured at nine tenths of the peak learning rate, the full models and mask training at the end of theirs. Micro and colab scale have fewer rounds or epochs.
# - **What is masked.** IMP prunes encoder and pooler, mask training the classifier too, as in the code; the paper speaks of the Transformer layers. An isolated
#   subnetwork has a whole new classifier; rewinding leaves the classifier as trained.
# - **Mask learning rate and initialisation.** Below paper scale chosen in distribution (above): a short run at the published rate changes nothing.
#   With hard scores all entries are equally far from the threshold, so that in a short run many cross it at the same step; soft scores cross a few at a time, and
#   are the default of short runs.
# - **Selection** of the mask, and of the mask learning rate (one task, seed, loss and fine-tuned start for all), is on the development set that also reports accuracy
#   in distribution, as the paper selects. No OOD set is looked at. Dense controls and IMP are measured at their last step and have no such choice.
# - **Bias models.** Word vectors are the encoder's own input embeddings, not fastText; words are split by a regular expression, not NLTK; for paraphrase the
#   second question plays the hypothesis. Fit and applied on the training set itself, as the reference does.
# - **Debiasing losses** read the bias model as it is: no annealing, no learned mixing.
# - **Figure 6.** "bert-pt subnet + ft" is read by equation 3: the mask of "bert-ft subnet" on the pretrained weights, fine-tuned on the ID data alone. HANS's
#   non-entailment counts as contradiction in training, as in the code. FEVER's OOD training set (v2_dev) holds 354 of the 717 pairs of Symm1, in the paper
#   as here: only Symm2 is out of training.
# - **Clipping** is by the global norm everywhere; the code clips each tensor by itself when it trains masks on QQP.
# - **Steps.** IMP at a sparsity has trained as many tenths of its schedule as it has had rounds, mask training all of its epochs, as in the code. Retraining IMP's
#   subnetworks takes as many epochs as the full model; the scripts give MNLI five with either loss. With OOD data the scripts train longer at the highest
#   sparsities, and on QQP without warm-up; here one setting serves all.
# - **C.4 and C.5** are known by name alone: ours vary the initialisation, and repeat Figure 2's mask training with other encoders.
# - **Seeds** draw another part of the training set below paper scale, besides the classifier and the order.
# - **HANS** is read by `merge`: argmax of three classes, then neutral and contradiction are non-entailment.
# - **Dense controls, the one-shot magnitude masks and the fixed sparsity with soft scores** are ours.
# - **Micro scale** stands in for the data and for BERT: it shows the mechanism, and no number of the paper can be reproduced there.
