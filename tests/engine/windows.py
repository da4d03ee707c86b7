"""How much before the cursor a prompt needs: a study by hand of the prefix window's size.

    python -m tests.engine.windows DATA_FOLDER ROWS.jsonl [--threads N]   writes a row per place
    python -m tests.engine.windows report ROWS.jsonl                      prints the table

DATA_FOLDER holds fim_commit_replay_2025-07_on.jsonl.gz. Each place is asked for its next line
with prefix-only prompts of several windows of whole lines, by the small default model.
"""

import json
import sys
from pathlib import Path

from cascade_lsp import catalogue
from tests.engine.styles import has_line, healed, rows_of, write
from tests.engine.styles_llama import Llama
from tests.engine.styles_places import Place, places

WINDOWS = (400, 800, 1600, 3200, 6000)


def window(before: str, limit: int) -> str:
    if len(before) <= limit:
        return before
    cut = before[-limit:]
    return cut[cut.find("\n") + 1 :]


def next_line(text: str) -> str:
    return next((line.strip() for line in text.split("\n") if line.strip()), "")


def study(model: Llama, place: Place) -> dict[str, object]:
    row: dict[str, object] = {"id": place.id, "validation": place.validation}
    for limit in WINDOWS:
        tokens = model.tokens(healed(window(place.before, limit)))
        model.clear()
        first = model.read(tokens, 0)
        ((text, _),) = write(model, [first], [len(tokens)], has_line)
        right = next_line(text) == next_line(place.middle)
        row[str(limit)] = {"tokens": len(tokens), "right": right}
    return row


def report(path: Path) -> None:
    rows = list(rows_of(path))
    for part, wanted in (("validation", True), ("the rest", False)):
        chosen = [row for row in rows if row["validation"] is wanted]
        print(f"\n{part}: n = {len(chosen)}\n\n| window | tokens | next line right |")
        print("|---|---|---|")
        for limit in map(str, WINDOWS):
            n = max(1, len(chosen))
            tokens = sum(row[limit]["tokens"] for row in chosen) / n
            right = 100 * sum(row[limit]["right"] for row in chosen) / n
            print(f"| {limit} | {tokens:.0f} | {right:.1f} % |")


def main() -> None:
    if sys.argv[1] == "report":
        report(Path(sys.argv[2]))
        return
    data, out = map(Path, sys.argv[1:3])
    threads = int(sys.argv[4]) if "--threads" in sys.argv else 2
    model = Llama(catalogue.require(catalogue.load().default("small")), threads)
    done = {row["id"] for row in rows_of(out)}
    with out.open("a") as file:
        for place in places(data, "commit"):
            if place.id not in done and len(place.before) > WINDOWS[1]:
                file.write(json.dumps(study(model, place)) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
