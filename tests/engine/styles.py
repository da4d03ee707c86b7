"""Which prompt style suits which model: `python -m tests.engine.styles run DATA --out ROWS.jsonl`.

DATA is a folder with fim_commit_replay*.jsonl.gz (edits of real projects), and HumanEval's
single-line and random-span-light holes. Every style gets the same place and writes greedily; one
line per model and place is appended to ROWS, so that the study can be stopped and taken up again.
Models and sets take turns, so that it can be read at any time. Then `judge ROWS DATA` runs what
was written for HumanEval's holes in the sandbox, and `report ROWS` prints the tables.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cascade_lsp import catalogue
from tests.engine.styles_places import Place, order

PREFIX_CHARS, SUFFIX_CHARS, SHORT_CHARS = 1200, 600, 150
MOVED_CHARS = 24  # how much was typed since the moved suffix was evaluated
TYPED_CHARS = 12  # over how many typed characters the cost of one is averaged
MOST_TOKENS = 64
MOVED = {"psm-moved": 1, "psm-moved-text": 2}  # markers that are evaluated after every character
SPARE = 7  # the sequence in which a suffix is moved
# Two ways to move a suffix: with its marker, or behind a marker that is evaluated again.
MODELS = ("0.5B", "1.5B")
STYLES = ("prefix", "psm", "psm-150", "psm-moved", "psm-moved-text", "spm", "spm-psm")


# -- prompts: windows of whole lines, the blanks before the cursor left to the model -----------


def healed(text: str) -> str:
    return text.rstrip(" \t")


def head(text: str) -> str:
    if len(text) <= PREFIX_CHARS:
        return text
    text = text[-PREFIX_CHARS:]
    return text[text.find("\n") + 1 :]


def tail(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    end = text.rfind("\n", 0, limit)
    return text[: end + 1 if end >= 0 else limit]


@dataclass(frozen=True)
class Prompts:
    """The token lists of one place, by style; a moved suffix reads as psm does."""

    model: Any
    behind: list[int]
    short: list[int]

    def of(self, before: list[int]) -> dict[str, list[int]]:
        pre, suf, mid = self.model.pre, self.model.suf, self.model.mid
        psm = [pre, *before, suf, *self.behind, mid]
        return {
            "prefix": before,
            "psm": psm,
            "psm-150": [pre, *before, suf, *self.short, mid],
            "psm-moved": psm,
            "psm-moved-text": psm,
            "spm": [suf, *self.behind, pre, *before, mid],
            "spm-psm": [pre, suf, *self.behind, mid, *before],
        }


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many leading tokens two lists share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def warm_costs(prompts: Prompts, window: str, typed: str) -> dict[str, float]:
    """Return by style how many tokens one more character costs, typing `typed` in turn."""
    steps = [prompts.model.tokens(healed(window + typed[:n])) for n in range(len(typed) + 1)]
    costs: dict[str, list[int]] = {style: [] for style in STYLES}
    for old, new in pairwise(steps):
        olds, news = prompts.of(old), prompts.of(new)
        for style in STYLES:
            fresh = len(news[style]) - common(olds[style], news[style])
            if style in MOVED:
                fresh = len(new) - common(old, new) + MOVED[style]
            costs[style].append(max(1, fresh))
    return {style: round(sum(n) / len(n), 2) for style, n in costs.items() if n}


# -- one place, all styles ----------------------------------------------------------------------


def read_prompts(model: Any, prompts: Prompts, window: str, styles: Sequence[str]) -> list[int]:
    """Evaluate each style's prompt in a sequence of its own; return the first tokens written.

    What psm prompts share is evaluated once. llama.cpp evaluates only at a sequence's end, so a
    moved suffix and the prefix are each in a sequence of their own, and then put together.
    """
    before = model.tokens(window)
    of, first = prompts.of(before), []
    shared = len(before) + 1
    for sequence, style in enumerate(styles):
        tokens = of[style]
        if style == "psm-150":
            model.lend(styles.index("psm"), sequence, 0, shared)
            first.append(model.read(tokens[shared:], sequence, shared))
        elif style in MOVED:
            marked = shared + MOVED[style] - 1
            move_suffix(model, prompts, window, styles.index("psm"))
            model.lend(styles.index("psm"), sequence, 0, marked)
            model.lend(SPARE, sequence, marked)
            model.cut(SPARE, 0)
            first.append(model.read([model.mid], sequence, len(tokens) - 1))
        else:
            first.append(model.read(tokens, sequence))
    return first


def move_suffix(model: Any, prompts: Prompts, window: str, psm: int) -> None:
    """Evaluate the suffix, in the spare sequence, behind a prefix that ends MOVED_CHARS earlier,
    then move it to where it belongs."""
    old, before = model.tokens(healed(window[:-MOVED_CHARS])), model.tokens(window)
    kept = common(old, before)
    model.lend(psm, SPARE, 0, kept + 1)
    model.read([*old[kept:], model.suf, *prompts.behind], SPARE, kept + 1)
    model.cut(SPARE, 0, len(old) + 1)
    model.move(SPARE, len(old) + 1, len(before) - len(old))


def write(
    model: Any, first: Sequence[int], lengths: Sequence[int], enough: Callable[[str], bool]
) -> list[tuple[str, int]]:
    """Write greedily in all sequences together; return each one's text and number of tokens."""
    raw = [b""] * len(first)
    counts = [0] * len(first)
    following = dict(enumerate(first))
    while following:
        for sequence, token in list(following.items()):
            counts[sequence] += 1
            if not model.is_end(token):
                raw[sequence] += model.piece(token)
                text = raw[sequence].decode("utf-8", "replace")
                if not enough(text) and counts[sequence] < MOST_TOKENS:
                    continue
            del following[sequence]
        live = list(following)
        rows = [(following[s], lengths[s] + counts[s] - 1, s, True) for s in live]
        following = dict(zip(live, model.decode(rows) if rows else [], strict=True))
    return [(text.decode("utf-8", "replace"), n) for text, n in zip(raw, counts, strict=True)]


def has_line(text: str) -> bool:
    """Say whether a line that is not blank has been written whole."""
    return "\n" in text.lstrip()


def study(model: Any, place: Place, styles: Sequence[str]) -> dict[str, Any]:
    """Return what each style wrote at a place, and what it cost."""
    window = healed(head(place.before))
    behind = tail(place.behind, SUFFIX_CHARS)
    prompts = Prompts(model, model.tokens(behind), model.tokens(tail(place.behind, SHORT_CHARS)))
    of = prompts.of(model.tokens(window))
    model.clear()
    first = read_prompts(model, prompts, window, styles)
    whole = place.set == "span" and not place.inside_line
    written = write(
        model,
        first,
        [len(of[style]) for style in styles],
        (lambda text: "\n\n\n" in text) if whole else has_line,
    )
    typed = place.middle.strip("\n").split("\n")[0][:TYPED_CHARS]
    warm = warm_costs(prompts, head(place.before), typed)
    return {
        style: {"text": text, "cold": len(of[style]), "warm": warm[style], "new": n}
        for style, (text, n) in zip(styles, written, strict=True)
    }


# -- the study ----------------------------------------------------------------------------------


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Read the rows written so far; one that was cut off is none."""
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.endswith("}"):
            yield json.loads(line)


def run(data: Path, out: Path, threads: int, only: Sequence[str], styles: Sequence[str]) -> None:
    """Study every place with every model that has not been studied yet."""
    from tests.engine.styles_llama import Llama

    known = catalogue.load()
    roles = dict(zip(MODELS, ("small", "large"), strict=True))
    models = {
        Path(name).stem if name not in roles else name: Llama(
            catalogue.require(known.default(roles[name])) if name in roles else Path(name), threads
        )
        for name in only
    }
    done = {(row["model"], row["set"], row["id"]) for row in rows_of(out)}
    with out.open("a") as file:
        for place in order(data):
            for name, model in models.items():
                if (name, place.set, place.id) in done:
                    continue
                row = {
                    "model": name,
                    "set": place.set,
                    "id": place.id,
                    "group": place.group,
                    "validation": place.validation,
                    "blanks": place.before[len(healed(place.before)) :],
                    "middle": place.middle,
                    "styles": study(model, place, styles),
                }
                file.write(json.dumps(row) + "\n")
                file.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.engine.styles", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run")
    one.add_argument("data", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--threads", type=int, default=1)
    one.add_argument("--models", nargs="+", default=MODELS, help="0.5B, 1.5B, or a GGUF file")
    one.add_argument("--styles", nargs="+", default=STYLES, choices=STYLES)
    two = commands.add_parser("judge")
    two.add_argument("rows", type=Path)
    two.add_argument("data", type=Path)
    commands.add_parser("report").add_argument("rows", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "run":
        options = (arguments.threads, arguments.models, arguments.styles)
        run(arguments.data, arguments.out, *options)
        return
    from tests.engine import styles_report

    if arguments.command == "judge":
        asyncio.run(styles_report.judge(arguments.rows, arguments.data))
    else:
        print(styles_report.report(arguments.rows))


if __name__ == "__main__":
    main()
