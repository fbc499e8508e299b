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
# # 07 Audit: what changed when your model was compressed?
#
# For whoever is about to ship a compressed model: the measures of the four papers, turned on two models and a test set of your own.
# One page says what changed, how sure that is, and what it is to be read against: **a second training of the uncompressed model** differs
# from the first one too. No table of a paper is rebuilt here.
#
# As it stands it audits the embedded example: a classifier of sentiment and a student of half its depth. For your own, set `scale = "own"` and
# name models and tables in the cell of values, or take `params/my_audit.yaml`:
#
# ```
# papermill notebooks/07_audit.ipynb audit.ipynb -f my_audit.yaml
# ```
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/robust-lib/robust-lib/blob/main/notebooks/07_audit.ipynb)

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
scale = "micro"  # micro: the embedded example; own: models of yours
name = "example"  # of the audit: its folder of results
original = "example/original"  # transformers directory, hub id, .onnx file, or file.py:function
compressed = "example/student"  # or {"place": ..., "mask": ..., "tokenizer": ..., "labels": [...]}
second = "example/second"  # the original trained again with another seed, or None
test = "example/test.csv"  # csv, tsv, jsonl, parquet, or owner/name/split of the hub
ood = (
    "example/ood.csv"  # texts of another kind, with labels; or {"place", "text", "label", "values"}; or None
)
train = "example/train.csv"  # for leaked rows and OOD detection; or None
slices = ["length > 9"]  # columns of the test set, or pandas queries
minutes = 2  # on one core; samples are chosen to fit
max_length = 40  # tokens
source = "micro"  # whose synonyms TextFooler takes: micro, or a data directory
sentences = "micro-base"  # encoder that judges how alike an attacked text stays, or None
speed_batches = [1, 32]  # texts per batch that is timed
speed_rounds = 7
examples = 10  # texts shown of each kind; 0 leaves all texts out of the page
engine = "processes"  # processes, ray, or host:port of a Ray cluster: where units run
seeds = [0]  # draws the samples

# %% [markdown]
# The parameters are judged before anything runs; the run records what it was made with.

# %% tags=["setup"]
from datetime import timedelta

import pandas as pd

from robust_lib import audit, methods, models, params, report, runs
from robust_lib.attack import lexica

p = params.check("07_audit", globals())
run = runs.start("07_audit", p)
run

# %% [markdown]
# ## What was given
#
# Models and tables are opened, columns and labels guessed where only one guess is possible, and everything odd is named. The paces
# of the models on a few texts choose the samples that fit into the minutes.

# %% tags=["units"]
words = None
if p.source:
    words = lexica.Words(p.source, models.Encoder(p.sentences) if p.sentences else None)
example = audit.example_of(p)

# %% tags=["run"]
made = run.collect(example)

# %%
subjects, given = audit.models_of(p, made), audit.tables_of(p, made)
reads = dict(max_length=p.max_length)
look = runs.unit(
    audit.prepared, models=subjects, tables=given, words=words, slices=p.slices, minutes=p.minutes, **reads
)
prepared = run.collect(look)
sizes, rows = audit.Sizes(**prepared["sizes"]), prepared["rows"]
reasons = dict(prepared["unmeasured"])
tables = audit.sampled(prepared, p.seeds[0])
for name, lines in prepared["told"].items():
    print(f"{name}: {rows[name]:,} rows", *lines, sep="\n    ")
print(", ".join(f"{what} {count:,}" for what, count in prepared["sizes"].items() if what != "seconds"))

# %% [markdown]
# ## The work
#
# Every model answers the same texts. Where hidden states are to be had, each text's nearest neighbours under the original are compared with those
# under the others. TextFooler attacks every model on one sample, and what fools one is tried on the others.

# %%
answers = {
    name: {
        role: runs.unit(audit.answered, model=model, table=tables[name], **reads)
        for role, model in subjects.items()
    }
    for name in tables
    if name != "train"
}
vectors = {}  # by set and role
for name in tables if "neighbours" not in reasons else ():
    few = audit.sampled(prepared, p.seeds[0], most=sizes.vectors)[name]
    for role, model in subjects.items():
        vectors.setdefault(name, {})[role] = runs.unit(audit.vectors, model=model, table=few, **reads)
near = far = {}
if vectors:
    pairs = [["original", role] for role in subjects if role != "original"]
    near = runs.unit(methods.shared_neighbours, vectors=vectors["test"], pairs=pairs, ks=[audit.NEIGHBOURS])
if vectors and "OOD detection" not in reasons:
    far = {
        role: runs.unit(
            methods.distances, train=vectors["train"][role], ks=[audit.NEIGHBOURS],
            sets={"heldout": vectors["test"][role], "ood": vectors["ood"][role]},
        )
        for role in subjects
    }  # fmt: skip

# %%
attacks, transfers = {}, {}
if "attack" not in reasons:
    few = audit.sampled(prepared, p.seeds[0], most=sizes.attack)["test"]
    alike = runs.unit(methods.calibrated, split=few, words=words) if p.sentences else None
    attacks = {
        role: runs.unit(audit.attacked, model=model, table=few, words=words, calibration=alike, **reads)
        for role, model in subjects.items()
    }
    transfers = {
        role: runs.unit(audit.transferred, model=model, texts=attacks, columns=list(few.text), **reads)
        for role, model in subjects.items()
    }
batch = audit.sampled(prepared, p.seeds[0], most=2 * max(p.speed_batches))["test"]
weights = {
    role: runs.unit(audit.weighed, model=model, table=batch, **reads) for role, model in subjects.items()
}
rounds = dict(batch_sizes=p.speed_batches, rounds=p.speed_rounds)
speed = runs.unit(audit.timed, models=subjects, table=batch, **rounds, **reads)

# %% [markdown]
# ## Run
#
# Speed is timed last, when nothing else computes.

# %%
print(f"about {timedelta(seconds=round(sizes.seconds))} on one core, of {p.minutes:g} minutes given")

# %%
answers, near, far, attacked, transferred, weights = run.collect(
    [answers, near, far, attacks, transfers, weights]
)
times = run.collect(speed)

# %% [markdown]
# ## What may be wrong with the input
#
# Rows on which a model gives no numbers are left out of everything that follows.

# %%
answers, odd = audit.sound(answers)
ids = pd.Index(answers["test"]["original"]["id"])
parts, more = audit.parts(tables, p.slices, ids)
problems = [audit.Problem(**one) for one in prepared["problems"]] + odd + more
pd.DataFrame(problems, columns=["kind", "where", "told", "remedy"])

# %% [markdown]
# ## What changed
#
# Every number with its interval over new texts, its paired test (corrected after Benjamini and Hochberg for all tests of the page), what a second training
# differs by, and chance. The summary follows from the verdicts by fixed rules.

# %%
near = dict(list(near.groupby("second"))) if len(near) else {}
exchanged = {
    source: {target: frame[frame["source"] == source] for target, frame in transferred.items()}
    for source in transferred
}
found = audit.measured(
    answers,
    parts=parts,
    neighbours=near,
    distances=far,
    attacked=attacked,
    transferred=exchanged,
    times=times,
    sizes=weights,
)
reasons |= audit.unweighed(weights)
sentences = audit.summary(found, problems, list(reasons.items()))
print(*sentences, sep="\n")

# %% [markdown]
# Changes in units of what matters; the bands are what a second training changes.

# %%
drawn = {"changes": audit.figure(found), "slices": audit.slices_figure(found)}
drawn = {name: figure for name, figure in drawn.items() if figure is not None}
report.save(run.directory / p.name, drawn, about=run.record)
display(*drawn.values())

# %%
numbers = ["original", "compressed", "value", "low", "high", "n", "p_corrected", "control", "chance"]
report.sheet(found[["topic", "measure", "set", "part", *numbers, "verdict"]].round(dict.fromkeys(numbers, 3)))

# %% [markdown]
# ## Texts whose label flips, and texts that an attack wrote

# %%
texts = tables["test"].frame()[list(tables["test"].text)]
pair = ({role: answers["test"][role]} for role in ("original", "compressed"))
flips = report.flips(*pair, texts, most=p.examples) if "flips" not in reasons else report.Examples()
flips

# %%
written = report.attack_diffs(audit.fooled(attacked, transferred, tables["test"].text, most=p.examples))
written

# %% [markdown]
# ## The page
#
# One HTML file that needs no network, the same as JSON, and every frame as CSV.

# %%
frames = {f"answers_{name}_{role}": frame for name, of in answers.items() for role, frame in of.items()}
frames |= {f"attacks_{role}": frame for role, frame in attacked.items()} if p.examples else {}
page = audit.Audit(
    name=p.name, about=run.record, models=audit.described(subjects, weights), sets=audit.read(prepared, tables),
    problems=problems, findings=found, summary=sentences, unmeasured=list(reasons.items()), rules=audit.rules(),
    budget=audit.told(sizes, p.minutes, rows, found), flips=flips, attacks=written, figures={},
    frames=frames | {"times": times},
)  # fmt: skip
for file in audit.write(run.directory / p.name, page):
    print(file)
