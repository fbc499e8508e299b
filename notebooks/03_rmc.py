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
# # 03 RMC: robust model compression
#
# Paper 1, *Robustness Challenges in Model Distillation and Pruning for Natural Language Understanding*, sections 5 and 6. Rebuilds
# **Tables 4, 5 and 6** and **Figure 3** (Figure 2 is a diagram of the method), and judges the claims of sections 6.3, 6.4 and 7.
#
# The claim in one sentence: *a compressed model that learns from a teacher smoothed by each example's difficulty is more robust
# out of distribution, and no worse in distribution.*
#
# All methods of one family train for as many steps, so they are each other's controls; pruned rows also stand beside a **dense
# control** of as many steps with plain cross entropy, and beside BERT-base trained with RMC itself: does the gain belong to
# compression?
#
# Micro scale: 7:39 with one seed on two cores, after 01 and 02, whose models it shares; on real MNLI and HANS, small, 26 minutes
# after them (README). Colab and paper scale are not measured: `make plan`.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/robust-lib/robust-lib/blob/main/notebooks/03_rmc.ipynb)

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
encoder = "micro-base"  # the teacher, and what is pruned
student = "micro-minilm"  # the distilled encoder of Table 5
student_layers = None  # None: all of them
tasks = ["mnli", "fever", "qqp"]
train_paths = {}  # task: dataset/split, where it is not the task's own training set
train_size = 5000  # examples per task; None for all
test_size = 2000  # examples per test bed; None for all
sparsities = [0.2, 0.4, 0.6, 0.7, 0.85]  # of stage one and of Figure 3
sparsity = 0.4  # of Tables 4 and 6
schedule = "stepwise"  # stepwise: one chain through all sparsities; cubic: each from the pretrained encoder
epochs = 2  # of dense fine-tuning
pruning_epochs = 1  # per sparsity if stepwise, in all if cubic
weight = 0.9  # lambda: how much the teacher counts against the labels
degree = 0.9  # d of Smooth, for every example
gamma = 2.0  # of Focal
up_weight = 2.0  # of JTT's errors, before the mean becomes 1
jtt_epochs = 1  # of JTT's first model
alpha = {}  # task: smoothing of the easiest example; a task not named takes the chosen one
alpha_grid = [0.2, 0.5, 0.8]  # to choose from
easy_share = 0.5  # of the development set, by loss variance: the shortcut subset that chooses alpha
learning_rate = 4e-4
batch_size = 32
max_length = 40  # tokens
warmup = 0.1  # share of the steps
weight_decay = 0.01
merge = "argmax"  # three classes to HANS's two: argmax, then merge; or sum, the probabilities of the two
precision = "fp32"
engine = "processes"  # processes, ray, or host:port of a Ray cluster: where units run
seeds = [0]  # each draws a training set, a head, an order

# %% [markdown]
# The parameters are judged before anything runs; the run records what it was made with.

# %% tags=["setup"]
import pandas as pd
import torch

from robust_lib import (
    compare,
    data,
    methods,
    metrics,
    models,
    objectives,
    params,
    plan,
    published,
    report,
    runs,
    smoothing,
    train,
)

p = params.check("03_rmc", globals())
run = runs.start("03_rmc", p)
run

# %% [markdown]
# ## Stage one: how hard is each example?
#
# Five pruned models, the same as in `02_attribution` (and, from the store, the very same). For example $x_i$ with losses
# $l_{i,t}$ under them, $v_i = \frac{1}{n} \sum_t (l_{i,t} - \bar l_i)^2$: the more the models disagree on what it costs, the harder it is.

# %% tags=["units"]
encoder, student = models.Encoder(p.encoder), models.Encoder(p.student, p.student_layers)
recipe = train.Recipe(**p.recipe)
pruning = train.Recipe(**p.recipe | {"epochs": p.pruning_epochs})
splits = data.training(p.tasks, p.seeds, source=p.source, size=p.train_size, paths=p.train_paths)
beds = data.beds(p.tasks)
developments = {task: data.Split(task, beds[task][0], p.source, p.test_size) for task in p.tasks}


# %% tags=["units"]
def seen(model, split):
    """The model's predictions on a split."""
    fixed = dict(encoder=model.arguments["encoder"], max_length=p.max_length, precision=p.precision)
    return runs.unit(methods.predicted, model=model, split=split, **fixed)


trained, variances = {}, {}  # by task, method, sparsity, seed; by task and seed
for (task, seed), split in splits.items():
    fixed = dict(encoder=encoder, split=split, seed=seed)
    dense = trained[task, "dense", 0.0, seed] = runs.unit(methods.finetuned, recipe=recipe, **fixed)
    chain = dict(start=dense, sparsities=p.sparsities, schedule=p.schedule, recipe=pruning, **fixed)
    stage_one = methods.pruning_chain(**chain)
    trained |= {(task, "vanilla", sparsity, seed): model for sparsity, model in stage_one.items()}
    control = methods.pruning_chain(removed=False, **chain)
    trained |= {(task, "control", sparsity, seed): model for sparsity, model in control.items()}
    for where in (split, developments[task]):
        losses = [seen(model, where) for model in stage_one.values()]
        variances[where.path, seed] = runs.unit(methods.loss_variance, predictions=losses)

# %% [markdown]
# ## Stage two: learn from the smoothed teacher
#
# Difficulty $d_i = \alpha + (1 - \alpha)\,(v_i - V_\min) / (V_\max - V_\min)$ (equation 1). The teacher's probabilities to the
# power $d_i$, renormalised, are what the student learns from (equation 2): a teacher says less about an easy example. The
# loss is $(1 - \lambda) L_\mathrm{CE} + \lambda\,\mathrm{KL}$ (equation 3). The baselines (section 6.2): Distil is $d_i = 1$, Smooth $d_i = 0.9$
# for all; Focal and JTT weigh the labels and have no teacher.


# %% tags=["units"]
def mitigations(task, seed, alpha, teacher="dense"):
    """Name: objective and what it needs to know of the training examples."""
    split, sparsity = splits[task, seed], 0.0 if teacher == "dense" else p.sparsity
    short = train.Recipe(**p.recipe | {"epochs": p.jtt_epochs})
    first = runs.unit(methods.finetuned, encoder=encoder, split=split, recipe=short, seed=seed)
    taught = {"teacher": seen(trained[task, teacher, sparsity, seed], split), "weight": p.weight}
    return {
        "vanilla": (objectives.vanilla, {}),
        "distil": (objectives.distil, taught),
        "smooth": (objectives.smooth, taught | {"degree": p.degree}),
        "focal": (objectives.focal, {"gamma": p.gamma}),
        "jtt": (objectives.jtt, {"first": seen(first, split), "up_weight": p.up_weight}),
        "rmc": (objectives.rmc, taught | {"variances": variances[split.path, seed], "alpha": alpha}),
        "smooth at alpha": (objectives.smooth, taught | {"degree": alpha}),
    }


# %% [markdown]
# $\alpha$ is chosen on the development set alone, never on an OOD set (section 6.1): the student is trained with each
# candidate, the development set is split by loss variance into shortcut and hard, and the $\alpha$ with the smallest relative
# gap (easy $-$ hard) / easy wins among those within a point of the best accuracy. The choice is made once per task, with the
# first seed.

# %% tags=["units"]
gaps, chosen, seed = {}, {}, p.seeds[0]
for task in p.tasks:
    candidates = {}
    for alpha in p.alpha_grid:
        objective, given = mitigations(task, seed, alpha)["rmc"]
        model = runs.unit(
            methods.finetuned, encoder=student, split=splits[task, seed], recipe=recipe, seed=seed,
            objective=objective, given=given,
        )  # fmt: skip
        candidates[str(alpha)] = seen(model, developments[task])
    gaps[task] = runs.unit(
        methods.easy_and_hard, candidates=candidates, easy_share=p.easy_share,
        variances=variances[developments[task].path, seed],
    )  # fmt: skip
    chosen[task] = runs.unit(methods.chosen_alpha, gaps=gaps[task])

# %% [markdown]
# The distilled encoder of Table 5 is fine-tuned with every method. BERT-base, trained for as many steps, is its teacher.

# %% tags=["units"]
for (task, seed), split in splits.items():
    for name, (objective, given) in mitigations(task, seed, p.alpha.get(task, chosen[task])).items():
        trained[task, f"MiniLM {name}", 0.0, seed] = runs.unit(
            methods.finetuned,
            encoder=student,
            split=split,
            recipe=recipe,
            seed=seed,
            objective=objective,
            given=given,
        )

# %% [markdown]
# So is BERT-base pruned, to the sparsity of Table 4. With `stepwise` the dense start too is trained with the method's objective, and the
# teacher is the dense control, trained for as many steps as its student: one that stopped earlier would hold it back. On inference
# RMC goes on to all sparsities, for Figure 3.

# %% tags=["units"]
for (task, seed), split in splits.items():
    teacher = "control" if p.schedule == "stepwise" else "dense"
    methods_here = mitigations(task, seed, p.alpha.get(task, chosen[task]), teacher)
    for name in ("distil", "smooth", "focal", "jtt", "rmc"):  # stage one has the vanilla ones
        objective, given = methods_here[name]
        fixed = dict(encoder=encoder, split=split, seed=seed, objective=objective, given=given)
        start = runs.unit(methods.finetuned, recipe=recipe, **fixed)
        trained |= {(task, "dense rmc", 0.0, seed): start} if name == "rmc" else {}
        drawn = (task, name) == ("mnli", "rmc")
        levels = [sparsity for sparsity in p.sparsities if drawn or sparsity <= p.sparsity]
        chain = methods.pruning_chain(
            start=start, sparsities=levels, schedule=p.schedule, recipe=pruning, **fixed
        )
        shown = levels if drawn else [p.sparsity]
        trained |= {(task, name, sparsity, seed): chain[sparsity] for sparsity in shown}

# %% tags=["units"]
eight_bit = {
    (task, f"8-bit {name}", 0.0, seed): trained[task, method, 0.0, seed]
    for (task, seed) in splits
    for name, method in (("vanilla", "dense"), ("rmc", "dense rmc"))
}
where = dict(source=p.source, size=p.test_size, max_length=p.max_length)
units = methods.measured(
    {key: model for key, model in trained.items() if key[0] == "mnli" or key[2] in (0.0, p.sparsity)},
    beds, precision=p.precision, **where,
)  # fmt: skip
units |= methods.measured(eight_bit, beds, by=methods.q8_ptq_predicted, **where)
flagged = {task: runs.unit(methods.hypothesis_only, split=splits[task, p.seeds[0]], test=developments[task])
           for task in p.tasks if task == "mnli"}  # fmt: skip
f"{len(units)} sets of predictions, {len(runs.closure(units.values()))} units with all they need"

# %% [markdown]
# ## Run
#
# What `01_robustness_study` and `02_attribution` have left in the store is not computed again.

# %%
print(plan.forecast([units, variances, gaps, chosen, flagged], run.store))

# %% tags=["run"]
predictions, variances, gaps, chosen, flagged = run.collect([units, variances, gaps, chosen, flagged])
for task, frame in flagged.items():
    for key in predictions:
        if key[:2] == (task, developments[task].path):
            predictions[key] = metrics.with_hard(predictions[key], frame)
found = compare.profiles(predictions, beds, merge=p.merge)

# %% [markdown]
# ## Easy and hard, by the losses
#
# The ten easiest and the ten hardest training examples of the first task, by the variance of their losses (in nats). All of
# them stand in `difficulties.parquet`, to be sorted by whoever wants to know their training set.

# %%
task, seed = p.tasks[0], p.seeds[0]
examples = splits[task, seed].frame()[list(splits[task, seed].text)]
extremes = report.extremes(variances[splits[task, seed].path, seed], examples)
difficulties = pd.concat(frame.assign(path=path, seed=seed) for (path, seed), frame in variances.items())
difficulties.to_parquet(run.directory / "difficulties.parquet", index=False)
extremes

# %% [markdown]
# ## The choice of $\alpha$
#
# The rule of section 6.1 at work, one training for each candidate: differences between gaps of a few thousandths are noise. The
# paper's candidates are not printed.

# %%
theirs = published.table(1, "Section 6.1").set_index("row")["printed"]
choice = pd.concat(
    table.round(4).assign(task=task, paper=theirs[task.upper()], chosen=table["alpha"].eq(chosen[task]))
    for task, table in gaps.items()
)
used = {task: p.alpha.get(task, chosen[task]) for task in p.tasks}
report.save(run.directory, {"table_alpha": choice}, about=run.record)
print(f"used: {used}")
choice

# %% [markdown]
# Equation 1 stretches the variances from the smallest to the **largest**, and one outlier sets the scale: how many examples
# come out as easy as it gets? Where nearly all do, RMC is Smooth with $d = \alpha$, and Table 5 has that student as a row of ours.

# %%
spread = pd.concat(
    pd.DataFrame({
        "task": task, "alpha": used[task],
        "difficulty": smoothing.difficulty(torch.tensor(variances[splits[task, seed].path, seed]["variance"].to_numpy()), used[task]),
    }) for task, seed in splits
)  # fmt: skip
figure = report.difficulty_figure(spread)
at_floor = spread["difficulty"] < spread["alpha"] + 0.05 * (1 - spread["alpha"])
summary = spread.assign(at_floor=at_floor).groupby("task", sort=False).agg(
    alpha=("alpha", "first"), median=("difficulty", "median"), in_the_lowest_5_percent_of_the_range=("at_floor", "mean")
).round(4).reset_index()  # fmt: skip
report.save(run.directory, {"difficulty": figure, "table_difficulty": summary}, about=run.record)
display(summary)
figure

# %% [markdown]
# ## Table 4: pruning with each method
#
# $F_\mathrm{bias}$ is the relative loss from in to out of distribution over that of the model it is compared with, above 1 = more biased:
# BERT-base, and in the last column of each task the dense control of as many steps. The rows below the paper's
# are ours: BERT-base itself trained with RMC, and 8-bit models (quantised after training, in integer arithmetic on the CPU).

# %%
labels, names = data.TASKS[p.tasks[0]].labels, ["vanilla", "distil", "smooth", "focal", "jtt", "rmc"]
titles = dict(zip(names, ["Vanilla", "Distil", "Smooth", "Focal", "JTT", "RMC"], strict=True))
(whole, matrices), (half, _) = (methods.millions(one, labels) for one in (encoder, student))
left = {(name, p.sparsity): whole - p.sparsity * matrices for name in names}
left |= {(name, 0.0): whole for name in ("dense", "dense rmc", "8-bit vanilla", "8-bit rmc")}
left |= {("control", p.sparsity): whole}
left |= {(f"MiniLM {name}", 0.0): half for name in (*names, "smooth at alpha")}
look = dict(
    scale=p.scale, same_setting=params.as_published("03_rmc", p), exact={"#Param": left},
    setting=f"encoder {p.encoder.rpartition('/')[2]}, student {p.student.rpartition('/')[2]}, "
    f"source {p.source.rpartition('/')[2]}, HANS by {p.merge}, alpha {used}",
)  # fmt: skip
percent, dense, control = (
    f"{100 * p.sparsity:g}%",
    report.Row("BERT-base", "dense", 0.0),
    ("control", p.sparsity),
)

# %%
rows = [dense, report.Row(f"{percent} dense control", *control)]
rows += [report.Row(f"{percent} – {titles[name]}", name, p.sparsity, control) for name in names]
rows += [report.Row("BERT-base – RMC", "dense rmc", 0.0)]
rows += [report.Row(f"8-bit – {titles[name]}", f"8-bit {name}", 0.0) for name in ("vanilla", "rmc")]
table = report.robustness_table(found, rows, printed=published.table(1, "Table 4"), **look)
outputs = {"table_4": table, "accuracies": compare.tidy(found, model=p.encoder.rpartition("/")[2])}
report.save(run.directory, outputs, about=run.record)
table

# %% [markdown]
# ## Table 5: the distilled encoder with each method

# %%
rows = [dense, *(report.Row(f"MiniLM – {titles[name]}", f"MiniLM {name}", 0.0) for name in names)]
rows += [report.Row("MiniLM – Smooth at α", "MiniLM smooth at alpha", 0.0)]
table = report.robustness_table(found, rows, printed=published.table(1, "Table 5"), **look)
report.save(run.directory, {"table_5": table}, about=run.record)
table

# %% [markdown]
# ## Table 6: easy and hard samples
#
# Inference only. Hard: a hypothesis-only classifier is wrong on it.

# %%
if "mnli" in p.tasks:
    kinds = [("MiniLM–Vanilla", "MiniLM vanilla", 0.0), ("MiniLM–RMC", "MiniLM rmc", 0.0)]
    kinds += [(f"{percent}–Vanilla", "vanilla", p.sparsity), (f"{percent}–RMC", "rmc", p.sparsity)]
    kinds += [
        (f"{percent} dense control", *control),
        ("BERT-base", "dense", 0.0),
        ("BERT-base–RMC", "dense rmc", 0.0),
    ]
    kinds += [("8-bit–Vanilla", "8-bit vanilla", 0.0), ("8-bit–RMC", "8-bit rmc", 0.0)]
    inference = {key: profile for key, profile in found.items() if key[0] == "mnli"}
    table = report.robustness_table(
        inference,
        [report.Row(*kind) for kind in kinds],
        printed=published.table(1, "Table 6"),
        **look | {"exact": {}},
    )
    report.save(run.directory, {"table_6": table}, about=run.record)
    display(table)

# %% [markdown]
# ## Figure 3: RMC against Vanilla over sparsities
#
# The paper draws it and prints only its 40 % points.

# %%
if "mnli" in p.tasks:
    intervals, base = {}, found["mnli", "dense", 0.0]
    for method in ("vanilla", "rmc", "control"):
        for sparsity in p.sparsities:
            profile = found["mnli", method, sparsity]
            intervals[method, sparsity, "ood"] = compare.ood_accuracy(profile).times(100)
            intervals[method, sparsity, "f_bias"] = compare.f_bias([(profile, base)])
    curves = compare.frame(intervals, ["method", "sparsity", "quantity"])
    figure = report.mitigation_figure(curves, printed=published.table(1, "Table 4"), chance=100 * base.chance)
    report.save(run.directory, {"figure_3": figure, "table_figure_3": curves.round(4)}, about=run.record)
    display(figure)

# %% [markdown]
# ## Claims of sections 6.3, 6.4 and 7
#
# "Slightly" (6.3-a) is asked as any gain; "closer to BERT-base than any other" is more accurate OOD than each, as
# long as none passes BERT-base; "not giving up" is no more than a point lower: boundaries that the paper's own numbers meet. RMC and
# Vanilla train for as many steps, so these comparisons have their equal-training control built in (the five pruned models and
# the teacher come on top, JTT's first model too). "Our controls" ask more: does RMC beat the dense model of as many steps, the
# student smoothed at $\alpha$ for all alike, and its own gain on the dense model?

# %%
named = {"dense": "BERT-base", "control": "dense control"} | titles
named |= {f"MiniLM {name}": f"MiniLM {title}" for name, title in titles.items()}
named |= {"dense rmc": "BERT-base RMC", "MiniLM smooth at alpha": "MiniLM Smooth at α"}
checks = report.Checks(1, found, p.scale, named, ours={"control", "dense rmc", "MiniLM smooth at alpha"})
every = {name: [(task, name, p.sparsity) for task in p.tasks] for name in [*names, "control"]}
small = {name: [(task, f"MiniLM {name}", 0.0) for task in p.tasks] for name in [*names, "smooth at alpha"]}
base = [(task, "dense", 0.0) for task in p.tasks]
checks.ood("6.3-a", every["distil"], every["vanilla"], above=0)
for other in ("vanilla", "distil"):
    checks.ood("6.3-b", every["smooth"], every[other], above=0)
for other in names[:-1]:
    checks.ood("6.3-c", every["rmc"], every[other], above=0)
    checks.ood("6.3-g", small["rmc"], small[other], above=0)
checks.ood("6.3-c", every["rmc"], every["control"], above=0)
checks.ood("6.3-g", small["rmc"], small["smooth at alpha"], above=0)
# The printed percentages are averages over three tasks at 40 %.
printed = (10, 10.4) if (len(p.tasks), p.sparsity) == (3, 0.4) else (None, None)
checks.less_biased("6.3-d", every["rmc"], every["vanilla"], base, above=0, printed=printed[0])
checks.less_biased("6.3-h", small["rmc"], small["vanilla"], base, above=0, printed=printed[1])

# %%
for task in p.tasks:
    rmc, vanilla = (task, "MiniLM rmc", 0.0), (task, "MiniLM vanilla", 0.0)
    pruned, plain, control = ((task, name, p.sparsity) for name in ("rmc", "vanilla", "control"))
    checks.ood("6.3-f", rmc, vanilla, above=0)
    if task == "qqp":
        checks.dev("6.3-i", rmc, vanilla, above=0)
        for one, two in zip(found[rmc].ood, found[vanilla].ood, strict=True):
            quantity = f"{one.testbed}, points above MiniLM Vanilla"
            checks.add("6.3-i", checks.named(rmc), quantity, compare.difference(one, two).times(100), above=0)
    for model, other in ((rmc, vanilla), (pruned, plain), (pruned, control)):
        checks.dev("7-a", model, other, above=-1)
        checks.ood("7-a", model, other, above=0)
    # Twice the difference of means is the gain of the pruned model less that of the dense one.
    first, second = [pruned, (task, "dense", 0.0)], [plain, (task, "dense rmc", 0.0)]
    profiles = [[found[key] for key in keys] for keys in (first, second)]
    gain, quantity = (
        compare.contrast(*profiles, "ood").times(200),
        "OOD gain from RMC, points above that of BERT-base",
    )
    checks.add(f"7-a{report.OURS}", checks.named(pruned), quantity, gain, above=0)

# %%
if "mnli" in p.tasks:
    for sparsity in p.sparsities:
        rmc, vanilla = ("mnli", "rmc", sparsity), ("mnli", "vanilla", sparsity)
        checks.ood("6.3-e", rmc, vanilla, above=0)
        checks.less_biased("6.3-e", rmc, vanilla, ("mnli", "dense", 0.0), above=0)
    families = [("6.4-b", "rmc", "vanilla", p.sparsity, 10.6 if p.sparsity == 0.4 else None)]
    families += [("6.4-c", "MiniLM rmc", "MiniLM vanilla", 0.0, 11.3)]
    for item, method, reference, sparsity, printed in families:
        model, other = ("mnli", method, sparsity), ("mnli", reference, sparsity)
        checks.part("6.4-a", "hard", model, other, above=0)
        ours, quantity = (
            compare.gap_reduction(found[model], found[other]),
            "percent smaller gap between easy and hard",
        )
        checks.add(item, checks.named(model), quantity, ours.times(100), above=0, printed=printed)
claims = checks.claims
report.save(run.directory, {"claims": claims, "table_survival": checks.survival}, about=run.record)
display(report.sheet(checks.survival))
claims

# %% [markdown]
# ## Where the paper contradicts itself

# %%
for item in ("Table 4", "Table 5", "Table 6"):
    display(report.disagreements(1, item))

# %% [markdown]
# ## Deviations
#
# - **Schedule.** `stepwise` is one chain through all sparsities, and a method's chain starts from a dense model trained with the
#   method; `cubic`, the paper scale's, is one fine-tuning from the pretrained encoder. The paper does not say.
# - **Five sparsities.** The paper gives five in [0.2, 0.85]; 0.2, 0.4, 0.6, 0.7, 0.85 are the natural reading.
# - **Temperature** of the distillation is 1; the paper has none. KL is from teacher to student, mean over the batch.
# - **Teacher.** It trains for as many steps as its student: BERT-base for the distilled encoder, with `stepwise` the dense control for
#   the pruned one. The paper fine-tunes all for five epochs.
# - **Choice of $\alpha$.** What "relative robustness between the hard and easy subset" is, where the development set is cut
#   and which candidates competed are not in the paper; ours are stated above. One choice per task, with the first seed and the
#   distilled student, serves both families, as one $\alpha$ per task does in the paper.
# - **The development set** both chooses $\alpha$ and measures accuracy in distribution; only RMC is chosen for. No OOD set is.
# - **JTT** up-weights by loss weights of mean 1 over the training set, as the paper has it, not by copies as the original; the
#   first model trains for `jtt_epochs`.
# - **Focal** weights carry a gradient, the mean that normalises them does not: through it, easy examples would be pushed away
#   from their label.
# - **Hard and easy** come from the development set's own flags where it has them, else from our hypothesis-only classifier.
# - **8-bit, dense control, BERT-base – RMC** rows are ours.
# - **Micro scale** stands in for the data and for BERT: it shows the mechanism, and no printed number can be reproduced there.
