"""Units of work and their store: run what is missing, resume after a kill, share what several tables need.

    run = runs.start("01_robustness_study", parameters)
    teacher = runs.unit(methods.finetuned, encoder=encoder, split=split, seed=0)
    pruned = {sparsity: runs.unit(methods.imp, start=teacher, sparsity=sparsity) for sparsity in sparsities}
    models = run.collect(pruned)

A unit's key is a hash of its code and arguments (`units`, `reach`); finished units live in the store under it
(`store`, `codecs`); `schedule` runs what is missing on an `engine`.
"""

from robust_lib.runs.codecs import ResultError
from robust_lib.runs.engine import Engine, EngineError, InProcess, Pool, Receipt, WorkerDied, default_workers
from robust_lib.runs.journals import Journal, journal
from robust_lib.runs.run import Plan, Planned, Run, commit, home, planning, start
from robust_lib.runs.schedule import FailedRepeatedly, UnitsFailed
from robust_lib.runs.source import SourceChanged
from robust_lib.runs.store import Damaged, DamagedWarning, Missing, Pace, Store, StoreFull
from robust_lib.runs.units import Unit, UnitError, closure, unit

__all__ = [
    "Damaged",
    "DamagedWarning",
    "Engine",
    "EngineError",
    "FailedRepeatedly",
    "InProcess",
    "Journal",
    "Missing",
    "Pace",
    "Plan",
    "Planned",
    "Pool",
    "Receipt",
    "ResultError",
    "Run",
    "SourceChanged",
    "Store",
    "StoreFull",
    "Unit",
    "UnitError",
    "UnitsFailed",
    "WorkerDied",
    "closure",
    "commit",
    "default_workers",
    "home",
    "journal",
    "planning",
    "start",
    "unit",
]
