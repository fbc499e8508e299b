"""Tasks and test beds in one canonical form, from the micro world, a data directory or the hub."""

from robust_lib.data.encoding import Encoded, batches, concatenated, joined, tokenised
from robust_lib.data.error_lists import error_lists
from robust_lib.data.points import encoded_points, points
from robust_lib.data.reading import Windows, windows
from robust_lib.data.split import Split, training
from robust_lib.data.tasks import DATASETS, TASKS, DataError, Dataset, Task, TestBed, beds

__all__ = [
    "DATASETS",
    "TASKS",
    "DataError",
    "Dataset",
    "Encoded",
    "Split",
    "Task",
    "TestBed",
    "Windows",
    "batches",
    "beds",
    "concatenated",
    "encoded_points",
    "error_lists",
    "joined",
    "points",
    "tokenised",
    "training",
    "windows",
]
