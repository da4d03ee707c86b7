"""What speculation would gain: `python -m tests.engine.speculation accept DATA --out ROWS.jsonl`.

At places of real files both default models write greedily. How much of that a draft would have
foreseen follows from the text alone: drafts looked up in the buffer by the last tokens, and for
the large model those of the small one. `cost` measures, on a machine that does nothing else, what
a step of several tokens costs in steps of one; `report ROWS COSTS.json` puts both together.
"""

import argparse
import gzip
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cascade_lsp import catalogue
from tests.engine.styles import common, head, healed, rows_of
from tests.engine.styles_llama import Llama

REPOS = ("attrs", "boltons", "click", "flask", "httpx", "requests")
PER_REPO, WRITTEN, DRAFTS = 10, 48, (3, 4, 5)
MATCHES = (3, 2)  # how many last tokens are looked up, the longer match first
NO_DRAFT, SMALL, LARGE = -1, "0.5B", "1.5B"


def places(data: Path) -> Iterator[tuple[str, str, str]]:
    """Yield an id, the text before and the text behind, at line starts in a fixed order."""
    for turn in zip(*(_of_repo(data, repo) for repo in REPOS), strict=True):
        yield from turn


def _of_repo(data: Path, repo: str) -> list[tuple[str, str, str]]:
    with gzip.open(data / f"repo_py_{repo}.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    chosen, found = random.Random(repo), []
    rows = [row for row in rows if row["text"].count("\n") >= 80 and "test" not in row["path"]]
    for row in chosen.choices(rows, k=PER_REPO):
        lines = row["text"].splitlines(keepends=True)
        at = chosen.randrange(30, len(lines) - 20)
        found.append((f"{repo}/{row['path']}:{at}", "".join(lines[:at]), "".join(lines[at:])))
    return found


def write(model: Any, prompt: Sequence[int]) -> list[int]:
    """Write greedily behind a prompt."""
    model.clear()
    tokens = [model.read(prompt, 0)]
    while len(tokens) < WRITTEN and not model.is_end(tokens[-1]):
        tokens.append(model.read(tokens[-1:], 0, len(prompt) + len(tokens) - 1))
    return tokens


def foreseen(model: Any, prompt: Sequence[int], written: Sequence[int]) -> list[bool]:
    """Say for each written token whether the model would write it, too, after what is before."""
    model.clear()
    model.read(prompt[:-1], 0)
    asked = [prompt[-1], *written[:-1]]
    start = len(prompt) - 1
    best = model.decode([(t, start + i, 0, True) for i, t in enumerate(asked)])
    return [a == b for a, b in zip(best, written, strict=True)]


def looked_up(before: Sequence[int], behind: Sequence[int], m: int) -> list[int]:
    """Return the m tokens that followed the last ones when they stood in the buffer last."""
    for n in MATCHES:
        key = list(before[-n:])
        for text, last in ((before, len(before) - n - 1), (behind, len(behind) - n)):
            for at in range(last, -1, -1):
                if list(text[at : at + n]) == key:
                    return list(text[at + n : at + n + m])
    return []


def lookup_steps(
    before: Sequence[int], behind: Sequence[int], written: Sequence[int], m: int
) -> list[int]:
    """Return for each step how many drafted tokens were right, or that there was no draft."""
    steps, done = list[int](), 0
    while done < len(written):
        draft = looked_up([*before, *written[:done]], behind, m)
        right = common(draft, written[done:-1])  # the last one is the model's own
        steps.append(right if draft else NO_DRAFT)
        done += right + 1
    return steps


def model_steps(agrees: Sequence[bool], m: int) -> list[int]:
    """Return for each step how many of a smaller model's m tokens were right."""
    steps, done = list[int](), 0
    while done < len(agrees):
        ahead = agrees[done:-1][:m]
        right = ahead.index(False) if False in ahead else len(ahead)
        steps.append(right)
        done += right + 1
    return steps


def accept(data: Path, out: Path, threads: int) -> None:
    """Append one line per place and kind of draft: the steps for each number of tokens."""
    known = catalogue.load()
    small, large = (
        Llama(catalogue.require(known.default(role)), threads) for role in ("small", "large")
    )
    done = {row["id"] for row in rows_of(out)}
    with out.open("a") as file:
        for name, text, rest in places(data):
            if name in done:
                continue
            prompt = small.tokens(healed(head(text)))
            before, behind = small.tokens(text), small.tokens(rest)
            steps: dict[str, dict[int, list[int]]] = {}
            for size, model in ((SMALL, small), (LARGE, large)):
                written = write(model, prompt)
                steps[f"{size}, looked up in the file"] = {
                    m: lookup_steps(before, behind, written, m) for m in DRAFTS
                }
                steps[f"{size}, looked up in the prompt"] = {
                    m: lookup_steps(prompt, [], written, m) for m in DRAFTS
                }
            agrees = foreseen(small, prompt, written)
            steps[f"{LARGE}, drafted by the {SMALL}"] = {m: model_steps(agrees, m) for m in DRAFTS}
            file.write(json.dumps({"id": name, "steps": steps}) + "\n")
            file.flush()


def cost(out: Path, threads: int, rounds: int) -> None:
    """Measure steps of one and of more tokens in turn, behind a prompt of 400 tokens."""
    known, found = catalogue.load(), dict[str, Any]()
    for size, role in ((SMALL, "small"), (LARGE, "large")):
        model = Llama(catalogue.require(known.default(role)), threads)
        prompt = (model.tokens("value = compute(first, second)\n") * 100)[:400]
        model.read(prompt, 0)
        times: dict[int, list[float]] = {n: [] for n in (1, *(m + 1 for m in DRAFTS))}
        for _ in range(rounds):
            for n, taken in times.items():
                began = time.perf_counter()
                model.decode([(prompt[i], len(prompt) + i, 0, True) for i in range(n)])
                taken.append((time.perf_counter() - began) * 1000)
                model.cut(0, len(prompt))
        found[size] = {n: statistics.median(taken) for n, taken in times.items()}
    out.write_text(json.dumps(found, indent=2))
    print(out.read_text())


def report(path: Path, costs: Path | None) -> None:
    """Print per kind and number of drafted tokens what was accepted, and what it would gain."""
    rows = list(rows_of(path))
    ms = json.loads(costs.read_text()) if costs else None
    print(f"{len(rows)} places\n")
    print("| draft | tokens | steps with a draft | drafted tokens right | tokens a step | gain |")
    print("|---|---:|---:|---:|---:|---:|")
    for kind in rows[0]["steps"] if rows else ():
        for m in DRAFTS:
            steps = [right for row in rows for right in row["steps"][kind][str(m)]]
            drafted = [right for right in steps if right != NO_DRAFT]
            tokens = sum(max(right, 0) + 1 for right in steps)
            cells = (
                kind,
                str(m),
                f"{len(drafted) / len(steps):.0%}",
                f"{sum(drafted) / max(1, m * len(drafted)):.0%}",
                f"{tokens / len(steps):.2f}",
                f"{_gain(kind, m, steps, tokens, ms):.2f}" if ms else "",
            )
            print("| " + " | ".join(cells) + " |")


def _gain(kind: str, m: int, steps: Sequence[int], tokens: int, ms: dict[str, Any]) -> float:
    """Return how many times as fast the same tokens would have been written."""
    size = kind.split(",")[0]
    one, more = ms[size]["1"], ms[size][str(m + 1)]
    draft = m * ms[SMALL]["1"] if "drafted" in kind else 0
    return float(tokens * one / sum(one if s == NO_DRAFT else more + draft for s in steps))


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.engine.speculation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("accept")
    one.add_argument("data", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--threads", type=int, default=1)
    two = commands.add_parser("cost")
    two.add_argument("--out", type=Path, required=True)
    two.add_argument("--threads", type=int, default=2)
    two.add_argument("--rounds", type=int, default=40)
    three = commands.add_parser("report")
    three.add_argument("rows", type=Path)
    three.add_argument("costs", type=Path, nargs="?")
    arguments = parser.parse_args()
    match arguments.command:
        case "accept":
            accept(arguments.data, arguments.out, arguments.threads)
        case "cost":
            cost(arguments.out, arguments.threads, arguments.rounds)
        case _:
            report(arguments.rows, arguments.costs)


if __name__ == "__main__":
    main()
