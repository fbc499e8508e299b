r"""Tables for a paper: booktabs, one tabular for each block, with intervals.

A file is one table environment, or a longtable where it is longer than a page, and needs in the preamble what its first
line says: `\usepackage{amssymb, booktabs, longtable}`. No line depends on the encoding but for accented letters.
"""

from collections.abc import Sequence

import pandas as pd

PREAMBLE = r"\usepackage{amssymb, booktabs, longtable}"
PAGE = 40  # rows of a table that still floats
_ESCAPES = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": r"\textasciigrave{}", "\n": " ",
    "[": "{[}", "]": "{]}",  # a bracket behind the end of a row would be its argument
    "✓": r"$\checkmark$", "✗": r"$\times$", "†": r"$\dagger$", "→": r"$\to$", "·": r"$\cdot$", "…": r"\dots{}",
    "≠": r"$\neq$", "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "±": r"$\pm$", "×": r"$\times$", "−": "$-$",
    "α": r"$\alpha$", "κ": r"$\kappa$", "ρ": r"$\rho$", "σ": r"$\sigma$", "τ": r"$\tau$", "²": "$^2$", "√": r"$\surd$",
    "∞": r"$\infty$", "–": "--", "—": "---", "’": "'", "“": "``", "”": "''", "\u00a0": "~",
})  # fmt: skip


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; signs that its fonts lack become mathematics."""
    return text.translate(_ESCAPES)


def stacked(lines: Sequence[str]) -> str:
    """A cell of escaped lines, all but the first small."""
    first, *more = map(escape, lines)
    small = "".join(rf"\\{{\scriptsize {line}}}" for line in more)
    return rf"\shortstack[l]{{{first}{small}}}" if more else first


def table(title: str, blocks: Sequence[pd.DataFrame], notes: Sequence[str], *, columns: str = "") -> str:
    r"""A table of blocks under one another, whose cells and headings are LaTeX; title and notes are text.

    `columns` is the format of all blocks, as "lrp{4cm}"; by default all columns are left-aligned.
    """
    head = f"% {PREAMBLE}\n"
    forms = [columns or "l" * len(block.columns) for block in blocks]
    below = "\n\n".join(map(escape, notes))
    if sum(map(len, blocks)) > PAGE:
        parts = [
            block.to_latex(
                index=False, escape=False, longtable=True, column_format=form, caption=escape(title)
            )
            for block, form in zip(blocks, forms, strict=True)
        ]
        body = "\n".join(parts)
        return f"{head}\\begingroup\\footnotesize\n{body}\n\\noindent {below}\n\\par\\endgroup\n"
    parts = [
        block.to_latex(index=False, escape=False, column_format=form)
        for block, form in zip(blocks, forms, strict=True)
    ]
    body = "\n\\medskip\n".join(parts)
    caption = f"\\begin{{table}}\n\\caption{{{escape(title)}}}\n\\footnotesize\n"
    return f"{head}{caption}{body}\n\\medskip\n{below}\n\\end{{table}}\n"
