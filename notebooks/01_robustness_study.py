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
# # 01 Robustness study: iterative magnitude pruning
#
# Paper 1, *Robustness Challenges in Model Distillation and Pruning for Natural Language Understanding*, section 3. Rebuilds
# **Table 1** and the claims of section 3.5 that concern pruning.
#
# The claim in one sentence: *pruned models keep their accuracy in distribution and lose it out of distribution.*
#
# The paper compares a pruned model with the dense one it came from. Pruning adds training, and more training alone raises
# accuracy out of distribution, so every pruned row here stands beside a **dense control** trained for as many steps.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/robust-lib/robust-lib/blob/main/notebooks/01_robustness_study.ipynb)

# %% tags=["parameters"]
scale = "micro"  # micro, colab or paper; names the outputs and decides what may be called reproduced
source = "micro"  # micro, hub, or a data directory
encoder = "micro-base"  # a micro encoder, a name of the papers, a hub id, or a directory
tasks = ["mnli", "fever", "qqp"]
train_paths = {}  # task: dataset/split, where it is not the task's own training set
train_size = 5000  # examples per task; None for all
test_size = 2000  # examples per test bed; None for all
sparsities = [0.2, 0.4, 0.6, 0.7]  # shares of every encoder matrix removed
schedule = "stepwise"  # stepwise: one chain through all sparsities; cubic: each from the pretrained encoder
epochs = 2  # of dense fine-tuning
pruning_epochs = 1  # per sparsity if stepwise, in all if cubic
learning_rate = 4e-4
batch_size = 32
max_length = 40  # tokens
warmup = 0.1  # share of the steps
weight_decay = 0.01
merge = "argmax"  # three classes to HANS's two: argmax, then merge; or sum, the probabilities of the two
precision = "fp32"
seeds = [0]  # each draws a training set, a head, an order

# %% [markdown]
# The parameters are judged before anything runs; the run records what it was made with.

# %% tags=["setup"]
import numpy as np

from robust_lib import compare, data, methods, models, params, published, report, runs

p = params.check("01_robustness_study", globals())
run = runs.start("01_robustness_study", p)

# %% [markdown]
# ## The models
#
# One chain per task and seed: fine-tune; then for each sparsity remove the smallest weights of every encoder matrix to that
# share and train on (`stepwise`), or prune during one fine-tuning to each sparsity (`cubic`). Embeddings are frozen meanwhile.
# The dense control walks the same steps and removes nothing.


# %% tags=["units"]
def chain(task, seed):
    """(method, sparsity) -> model: the fine-tuned encoder, then each pruned level beside its dense control."""
    split = data.Split(task, p.train_paths.get(task, data.TASKS[task].train), p.source, p.train_size, seed)
    fixed = dict(
        encoder=models.Encoder(p.encoder), split=split, learning_rate=p.learning_rate, batch_size=p.batch_size,
        max_length=p.max_length, warmup=p.warmup, weight_decay=p.weight_decay, precision=p.precision, seed=seed,
    )  # fmt: skip
    dense = runs.unit(methods.finetuned, epochs=p.epochs, **fixed)
    yield ("dense", 0.0), dense
    for method in ("pruned", "control"):
        start = dense if p.schedule == "stepwise" else None
        for sparsity in p.sparsities:
            target = sparsity if method == "pruned" else 0.0
            model = runs.unit(
                methods.imp,
                start=start,
                sparsity=target,
                schedule=p.schedule,
                epochs=p.pruning_epochs,
                **fixed,
            )
            start = model if p.schedule == "stepwise" else None
            yield (method, sparsity), model


# %% tags=["units"]
beds = {
    task: [
        data.TASKS[task].in_distribution[0].path,
        *(bed.path for bed in data.TASKS[task].out_of_distribution),
    ]
    for task in p.tasks
}
units = {
    (task, testbed, method, sparsity, seed): runs.unit(
        methods.predicted, model=model, encoder=models.Encoder(p.encoder), max_length=p.max_length,
        precision=p.precision, split=data.Split(task, testbed, p.source, p.test_size),
    )
    for task in p.tasks
    for seed in p.seeds
    for (method, sparsity), model in chain(task, seed)
    for testbed in beds[task]
}  # fmt: skip
f"{len(units)} sets of predictions from {len(runs.closure(units.values())) - len(units)} models"

# %% [markdown]
# ## The data
#
# One example of each training set, and of each set the models are measured on. The out-of-distribution sets are built so
# that the shortcuts of the training set (word overlap, negation, what a claim alone gives away) point the wrong way.

# %%
for task in p.tasks:
    train = data.Split(
        task, p.train_paths.get(task, data.TASKS[task].train), p.source, p.train_size, p.seeds[0]
    )
    for split in (train, *(data.Split(task, testbed, p.source, p.test_size) for testbed in beds[task])):
        frame = split.frame()
        print(f"{split.path}: {len(frame):,} examples, {dict(frame['label'].value_counts())}")
        print("    " + " | ".join(f"{column}: {frame[column].iloc[0]}" for column in (*split.text, "label")))

# %% [markdown]
# ## Run
#
# Fine-tuning minimises cross entropy; pruning sets to zero, in every matrix $W$ of the encoder, the share $s$ of entries with
# the smallest $|W_{ij}|$. What is in the store already is not computed again.

# %% tags=["run"]
predictions = run.collect(units)
found = compare.profiles(predictions, beds, merge=p.merge)

# %% [markdown]
# ## Table 1
#
# $F_\mathrm{bias}$ (section 3.4) is the model's relative loss out of distribution, $(D - O) / D$, over that of the model it is
# compared with: above 1, the compressed model is the more biased one. The paper compares with BERT-base; the last column of
# each task compares with the dense control of as many steps. Intervals are 95 %, over items and seeds, paired.

# %%
table = report.robustness_table(
    found, report.pruning_rows(p.sparsities), printed=published.table(1, "Table 1"), scale=p.scale
)
report.save(
    run.directory, {"table_1": table, "accuracies": compare.tidy(found, model=p.encoder)}, about=run.record
)
table

# %% [markdown]
# ## In distribution against out of distribution
#
# The claim is that pruning moves a model down more than left. The dense control shows where as many further steps alone take it.

# %%
figure = report.id_ood_figure(compare.points(found))
report.save(run.directory, {"id_against_ood": figure}, about=run.record)
figure

# %%
figure = report.sparsity_figure(compare.points(found))
report.save(run.directory, {"accuracy_by_sparsity": figure}, about=run.record)
figure

# %% [markdown]
# ## Claims of section 3.5
#
# Each on the paper's own comparison (against BERT-base) and against the dense control of as many steps. "On a par" is no more
# than a point lower, "substantially" and "significantly" more than a point lower, "random guessing" within five points of
# chance. "Holds" means that the whole interval lies on the claimed side, "cannot be told" that it spans the boundary.

# %%
changes = {}
for task in p.tasks:
    for sparsity in p.sparsities:
        for other, key in (("BERT-base", ("dense", 0.0)), ("dense control", ("control", sparsity))):
            pruned, reference = found[task, "pruned", sparsity], found[(task, *key)]
            changes[task, sparsity, other] = {
                "DEV": compare.difference(pruned.id, reference.id, generator=np.random.default_rng(0)).times(
                    100
                ),
                "OOD": compare.ood_difference(pruned, reference, generator=np.random.default_rng(0)).times(
                    100
                ),
                "F_bias": compare.f_bias([(pruned, reference)], generator=np.random.default_rng(0)),
            }

# %%
checks = []  # claim, row, quantity, interval, boundary
for (task, sparsity, other), change in changes.items():
    row = f"{task.upper()} {100 * sparsity:g}%"
    if sparsity <= 0.6:
        checks += [("3.5-a", row, f"DEV, points above {other}", change["DEV"], {"above": -1})]
        checks += [("3.5-c", row, f"OOD, points above {other}", change["OOD"], {"below": -1})]
    if sparsity == 0.6 and task == "fever":
        checks += [("3.5-b", row, f"DEV, points above {other}", change["DEV"], {"above": -1})]
    if sparsity == p.sparsities[-1]:
        for where in ("DEV", "OOD"):
            checks += [("3.5-e", row, f"{where}, points above {other}", change[where], {"below": -1})]
    checks += [("3.5-f", row, f"F_bias against {other}", change["F_bias"], {"above": 1})]

# %%
for task in p.tasks:
    mild, hard = (found[task, "pruned", sparsity] for sparsity in (p.sparsities[0], p.sparsities[-1]))
    dense, control = found[task, "dense", 0.0], found[task, "control", p.sparsities[-1]]
    fall = compare.ood_difference(hard, mild, generator=np.random.default_rng(0)).times(100)
    gain = compare.ood_difference(control, dense, generator=np.random.default_rng(0)).times(100)
    level = compare.ood_accuracy(hard, generator=np.random.default_rng(0)).times(100)
    row, high = task.upper(), f"{100 * p.sparsities[-1]:g}%"
    if len(p.sparsities) > 1:
        checks += [
            ("3.5-d", row, f"OOD at {high}, points above {100 * p.sparsities[0]:g}%", fall, {"below": -1})
        ]
    checks += [("3.5-d", row, f"OOD accuracy at {high}", level, {"below": 100 * hard.chance + 5})]
    checks += [("3.3-a", row, f"OOD of the control at {high}, points above BERT-base", gain, {"above": 0})]

claims = report.Claims(tuple(
    report.claim(1, f"claim {item}", row, quantity, interval, scale=p.scale, **boundary)
    for item, row, quantity, interval, boundary in sorted(checks, key=lambda check: check[0])
))  # fmt: skip
report.save(run.directory, {"claims": claims}, about=run.record)
claims

# %% [markdown]
# ## Deviations
#
# - **Controls.** The dense control rows and the second $F_\mathrm{bias}$ are ours; the paper has neither.
# - **Schedule.** The paper does not say how sparsity rises. `cubic` is that of the code it cites (Sanh et al. 2020); `stepwise`
#   is one chain through all sparsities, as in iterative magnitude pruning elsewhere, and costs a fraction.
# - **Masks** are recomputed a hundred times over a schedule, not at every step.
# - **Warm-up, batch size, length, weight decay** are not in the paper; the parameter file says where ours come from.
# - **#Param** is left out: the paper counts all 109M parameters as pruned, and only the encoder's 85M are.
# - **Claims** 3.5-g (beyond 70 %) is not measured here, and 3.5-h is what 3.5-f says as a ratio.
# - **Micro scale** stands in for the data and for BERT: it shows the mechanism, and no printed number can be reproduced there.
