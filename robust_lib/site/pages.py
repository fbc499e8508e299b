"""The site's sources in Markdown from the files of a run: front page, one for each paper, notebooks, figures, code."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from robust_lib import published, report
from robust_lib.site import chapters, sources, verdicts
from robust_lib.site.chapters import Chapter

SCALES = {
    "micro": "At the **micro scale** all of it runs on an embedded world, a small language with tasks and encoders of "
    "its own. Every mechanism is real there and no printed number can be reproduced: cells stand beside the paper's.",
    "colab": "The **colab scale** is real data, small public encoders and samples of the training sets: not the "
    "papers' setting, so most printed numbers cannot be compared.",
    "paper": "The **paper scale** is the papers' own data, encoders and hyper-parameters.",
}
_FRONT = """# robust-lib

*What else changes when a language model is compressed?* Four papers ask, and none can be regenerated from its own
published code. This is their reference companion: one code base that rebuilds their tables and figures and says, cell
by cell and claim by claim, what became of them.

{papers}

{scale}

## Scorecard

{scorecard}

## Notebooks

{notebooks}

## Figures

{thumbnails}

```{{toctree}}
:hidden:
:caption: Scorecard

{paper_pages}
```

```{{toctree}}
:hidden:
:caption: Notebooks

{notebook_pages}
```

```{{toctree}}
:hidden:
:caption: More

figures
code/index
```
"""


def write(folder: Path, run: Path, notebooks: Sequence[Path], *, scale: str, code: sources.Code) -> None:
    """Write the sources of the site of a run into an empty folder; see `site.build`."""
    parts = chapters.chapters(run, notebooks)
    card = run / "scorecard.json"
    try:
        records = report.scored(card) if card.exists() else []
    except report.ScorecardError as error:
        raise chapters.SiteError(str(error)) from error
    texts = {"index": _front(parts, records, scale), "figures": _figures(parts), **code.texts}
    for paper in published.PAPERS:
        texts[f"paper_{paper}"] = _paper(paper, parts, _of(paper, records))
    for name, text in texts.items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "extra").mkdir()
    for chapter in parts:
        chapters.write(chapter, folder, run, scale=scale, code=code)


def _front(parts: Sequence[Chapter], records: Sequence[report.Record], scale: str) -> str:
    papers = [paper for paper in published.PAPERS if _of(paper, records)]
    maps = [f"### Paper {paper}\n\n{verdicts.overview(_of(paper, records))}" for paper in papers]
    counted = verdicts.tally(records) if records else "This run has made no table yet."
    return _FRONT.format(
        papers="\n".join(
            f"{paper}. {_cited(paper)} [Its verdicts](paper_{paper}.md)" for paper in published.PAPERS
        ),
        scale=SCALES[scale],
        scorecard="\n\n".join([counted, *_unjudged(records), *maps]),
        notebooks="\n".join(map(_listed, parts)),
        thumbnails=_thumbnails(parts),
        paper_pages="\n".join(f"Paper {paper} <paper_{paper}>" for paper in published.PAPERS),
        notebook_pages="\n".join(f"{part.title.partition(':')[0]} <notebooks/{part.name}>" for part in parts),
    )


def _unjudged(records: Sequence[report.Record]) -> list[str]:
    """Why no claim is judged, where that is so."""
    if not records or any((one["seeds"] or 0) > 1 for one in records):
        return []
    reason = "This run has one seed, and one training cannot carry a claim about a method"
    return [f"{reason}: **none is judged**. `make reproduce SEEDS=3` adds two."]


def _of(paper: int, records: Sequence[report.Record]) -> list[report.Record]:
    return [one for one in records if one["paper"] == paper]


def _citation(paper: int) -> list[str]:
    """Authors, title, and the rest."""
    item = str(published.items().query("paper == @paper")["item"].iloc[0])
    return str(published.protocol(paper, item)["citation"]).split(". ", 2)


def _cited(paper: int) -> str:
    authors, title, rest = _citation(paper)
    return f"{authors}. *{title}*. {rest}"


def _listed(chapter: Chapter) -> str:
    told = f"Paper {chapter.paper} claims: *{chapter.claim}*" if chapter.paper else f"*{chapter.claim}*"
    state = "" if chapter.state == "executed" else f" **({chapter.state})**"
    return f"- [{chapter.title}](notebooks/{chapter.name}.ipynb){state}<br>{told}"


def _paper(paper: int, parts: Sequence[Chapter], records: Sequence[report.Record]) -> str:
    mine = [f"[{part.title}](notebooks/{part.name}.ipynb)" for part in parts if part.paper == paper]
    head = [f"# Paper {paper}: {_citation(paper)[1]}", _cited(paper), f"Notebooks: {', '.join(mine)}"]
    if not records:
        return "\n\n".join([*head, "This run holds none of its cells and claims yet."]) + "\n"
    claims = dict(zip(published.claims(paper)["item"], published.claims(paper)["claim"], strict=True))
    body = [verdicts.tally(records), "## Verdicts", verdicts.overview(records, claims)]
    return "\n\n".join([*head, *body, "## All cells and claims", verdicts.listing(records)]) + "\n"


def _thumbnails(parts: Sequence[Chapter]) -> str:
    shown = [
        f"<a href='notebooks/{part.name}.html'><img src='files/{part.name}/{part.pictures[0]}' "
        f"alt='{part.pictures[0]}' loading='lazy'><span>{html.escape(part.title)}</span></a>"
        for part in parts
        if part.pictures
    ]
    return f"<div class='thumbs'>\n{''.join(shown)}\n</div>\n\n[All figures](figures.md)"


def _figures(parts: Sequence[Chapter]) -> str:
    texts = [
        "# Figures",
        "Each links to itself as a drawing that can be enlarged; its numbers are with its notebook.",
    ]
    for part in filter(lambda part: part.pictures, parts):
        texts += [f"## {part.title}", f"[The notebook](notebooks/{part.name}.ipynb)"]
        texts += [_figure(part, file) for file in part.pictures]
    return "\n\n".join(texts) + "\n"


def _figure(chapter: Chapter, file: str) -> str:
    stem, folder = Path(file).stem, f"files/{chapter.name}"
    drawing = f"{stem}.svg" if f"{stem}.svg" in chapter.files else file
    picture = f"<img src='{folder}/{file}' alt='{stem} of {chapter.name}' loading='lazy'>"
    title = stem.replace("_", " ").capitalize()
    return f"<figure><figcaption>{title}</figcaption><a href='{folder}/{drawing}'>{picture}</a></figure>"
