"""What may be wrong with what an audit is given: an error that stops it, or a problem that its page names."""

from dataclasses import dataclass


class AuditError(ValueError):
    """Input that cannot be audited; the message names file, field and value, and says what would help."""


class Unmeasured(Exception):
    """A measure that this model or these data cannot give; the message is the reason, for the page."""


@dataclass(frozen=True)
class Problem:
    """Something odd in the input that a number of the page may rest on.

    `kind` is its short name ("swapped labels"), `where` the file, set or model, `told` what was found with counts,
    `remedy` what to do.
    """

    kind: str
    where: str
    told: str
    remedy: str
