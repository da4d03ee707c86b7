"""What the study of prompt styles found: programs are run in the sandbox, and tables made."""

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cascade_lsp.sandbox import Limits, SandboxOptions, make_sandbox
from tests.engine.styles import STYLES, healed, rows_of
from tests.engine.styles_places import SETS, Place, places

RESAMPLES = 4000
HEAD = (
    "| model | style | n | next line exact | holes passed | exact, minus prefix | "
    "passed, minus prefix | tokens per typed character | prompt tokens | written tokens |"
)


def first_line(text: str) -> str:
    """Return the first line that is not blank, without blanks at its end."""
    return next((line.rstrip() for line in text.split("\n") if line.strip()), "")


def matches(row: dict[str, Any], text: str) -> bool:
    return first_line(text) == first_line(row["blanks"] + row["middle"])


# -- programs -----------------------------------------------------------------------------------


def program(place: Place, text: str) -> str:
    """Return the whole program with what of a model's text belongs into the hole."""
    return healed(place.before) + fitting(place, text) + place.behind + place.test


def fitting(place: Place, text: str) -> str:
    if place.set == "line":
        blank = len(text) - len(text.lstrip("\n"))
        return "\n" * blank + text[blank:].split("\n", 1)[0] + "\n"
    rest = place.behind.split("\n", 1)[0]
    if place.inside_line:
        text, ended, _ = text.partition("\n")
        if not ended:  # the model stopped by itself inside the line
            return text
        sizes = range(min(len(text), len(rest)), 0, -1)
        return next((text[:-n] for n in sizes if text.endswith(rest[:n])), text)
    behind = place.behind if place.middle.endswith("\n") else place.behind[len(rest) :]
    following = first_line(behind).strip()
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if len(following) > 2 and line.strip() == following:
            lines = lines[:i]
            break
    return "\n".join(lines).rstrip() + ("\n" if place.middle.endswith("\n") else "")


def verdicts_of(rows: Path) -> Path:
    return rows.with_suffix(".verdicts.jsonl")


async def judge(rows: Path, data: Path) -> None:
    """Run what was written for every hole with tests, and append the verdicts."""
    out = verdicts_of(rows)
    done = {(v["model"], v["set"], v["id"], v["style"]) for v in rows_of(out)}
    known = {(p.set, p.id): p for name in ("line", "span") for p in places(data, name)}
    sandbox, kinds = make_sandbox(SandboxOptions()), dict[str, str]()
    assert sandbox, "programs are never run outside a sandbox"
    with out.open("a") as file:
        for row in rows_of(rows):
            place = known.get((row["set"], row["id"]))
            for style, written in row["styles"].items() if place else ():
                key = (row["model"], row["set"], row["id"], style)
                if key in done:
                    continue
                source = program(place, written["text"])
                if source not in kinds:
                    outcome = await sandbox.run_script(source, Limits(time_s=10))
                    kinds[source] = outcome.kind
                verdict = dict(zip(("model", "set", "id", "style"), key, strict=True))
                file.write(json.dumps(verdict | {"kind": kinds[source]}) + "\n")
    await sandbox.close()


# -- tables -------------------------------------------------------------------------------------


def wilson(values: Sequence[bool]) -> str:
    """Return a share with its 95 % Wilson interval, in percent."""
    n, z = len(values), 1.96
    if not n:
        return ""
    p = sum(values) / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{p:.1%} ({max(0.0, middle - half):.1%} to {min(1.0, middle + half):.1%})"


def difference(one: Sequence[bool], base: Sequence[bool], groups: Sequence[str]) -> str:
    """Return the mean paired difference with a 95 % bootstrap interval over whole groups."""
    if not one:
        return ""
    sums, sizes = defaultdict[str, int](int), defaultdict[str, int](int)
    for a, b, group in zip(one, base, groups, strict=True):
        sums[group] += a - b
        sizes[group] += 1
    names = list(sums)
    total, size = (np.array([counts[name] for name in names]) for counts in (sums, sizes))
    drawn = np.random.default_rng(1).integers(0, len(names), (RESAMPLES, len(names)))
    shares = total[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    low, high = np.percentile(shares, (2.5, 97.5))
    return f"{100 * total.sum() / size.sum():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def mean(values: Iterable[float]) -> str:
    return f"{np.mean(list(values)):.1f}"


def table(rows: Sequence[dict[str, Any]], verdicts: dict[tuple[str, ...], str]) -> list[str]:
    """Return the lines of one set's table."""
    lines = [HEAD, "|---|---|" + "---:|" * 8]
    for model in dict.fromkeys(row["model"] for row in rows):
        for style in STYLES:
            own = [row for row in rows if row["model"] == model and style in row["styles"]]
            if not own:
                continue
            groups = [row["group"] for row in own]
            exact = {
                name: [matches(row, row["styles"][name]["text"]) for row in own]
                for name in (style, "prefix")
                if own[0]["set"] != "span"
            }
            judged = [row for row in own if (model, row["set"], row["id"], style) in verdicts]
            passed, base = (
                [verdicts[model, row["set"], row["id"], name] == "passed" for row in judged]
                for name in (style, "prefix")
            )
            costs = [row["styles"][style] for row in own]
            first = style == "prefix"
            cells = (
                model,
                style,
                str(len(own)),
                wilson(exact.get(style, [])),
                wilson(passed),
                "" if first or not exact else difference(exact[style], exact["prefix"], groups),
                "" if first else difference(passed, base, [row["group"] for row in judged]),
                mean(cost["warm"] for cost in costs),
                mean(cost["cold"] for cost in costs),
                mean(cost["new"] for cost in costs),
            )
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def report(path: Path) -> str:
    """Return the tables of all sets, the validation third and the rest apart."""
    verdicts = {
        (v["model"], v["set"], v["id"], v["style"]): v["kind"] for v in rows_of(verdicts_of(path))
    }
    found, lines = list(rows_of(path)), list[str]()
    for name in SETS:
        for validation in (False, True):
            rows = [r for r in found if r["set"] == name and r["validation"] is validation]
            if rows:
                part = "the third for choosing" if validation else "the rest, which is reported"
                lines += [f"## {name}: {part}", "", *table(rows, verdicts), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit("Run `python -m tests.engine.styles report ROWS`.")
