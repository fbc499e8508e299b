"""The embedded micro world: a small language whose sentences carry their facts, five tasks, a family of encoders.

It stands in for data and models without network: `frame("mnli/train")` is a split, `directory("micro-base")`
an encoder.
"""

from robust_lib.micro.family import FAMILY, directory
from robust_lib.micro.frames import frame
from robust_lib.micro.words import synonyms

__all__ = ["FAMILY", "directory", "frame", "synonyms"]
