"""What changed between a model and its compressed version, on one page: notebook `07_audit`.

models, tables = audit.models_of(p), audit.tables_of(p)
prepared = ...                       columns, labels, problems, samples: the unit `audit.prepared`
answers = ...                        the units `answered`, `vectors`, `attacked`, `transferred`, `timed`
found = audit.measured(answers, ...) every number with interval, test, control and chance
audit.write(folder, audit.Audit(...))
"""

from robust_lib.audit.budget import Sizes, told
from robust_lib.audit.findings import measured
from robust_lib.audit.given import (
    described,
    example_of,
    fooled,
    models_of,
    parts,
    read,
    sampled,
    sound,
    tables_of,
)
from robust_lib.audit.models import Model
from robust_lib.audit.page import Audit, figure, slices_figure, write
from robust_lib.audit.problems import AuditError, Problem
from robust_lib.audit.tables import Table
from robust_lib.audit.verdicts import table as rules
from robust_lib.audit.words import summary
from robust_lib.audit.work import (
    NEIGHBOURS,
    answered,
    attacked,
    prepared,
    timed,
    transferred,
    unweighed,
    vectors,
    weighed,
)

__all__ = [
    "NEIGHBOURS",
    "Audit",
    "AuditError",
    "Model",
    "Problem",
    "Sizes",
    "Table",
    "answered",
    "attacked",
    "described",
    "example_of",
    "figure",
    "fooled",
    "measured",
    "models_of",
    "parts",
    "prepared",
    "read",
    "rules",
    "sampled",
    "slices_figure",
    "sound",
    "summary",
    "tables_of",
    "timed",
    "told",
    "transferred",
    "unweighed",
    "vectors",
    "weighed",
    "write",
]
