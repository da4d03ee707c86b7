"""What a remote model is sent: a prompt as the body of a request, without the lines that look like
secrets. Pure; `engine.remote` sends it.

A prompt either has a hole (text and FIM markers) or is a conversation. A hole goes to llama.cpp's
`/infill`, to `completions` with a suffix, or into a conversation, by what the server can; a
conversation goes to `chat`. The opening of an answer is not sent, as few servers continue it: a
model begins anew, and `reading.Answer` takes off what it repeats.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cascade_lsp.engine import Prompt, Sent
from cascade_lsp.errors import RemoteError
from cascade_lsp.redaction import withhold

Api = Literal["infill", "completions", "chat"]
MARK = "<<<here>>>"
CHARS_PER_TOKEN = 3.0  # of code, at the least: a budget is rather reserved than overdrawn
ANEW_TOKENS = 48  # for a fence, and a sentence before it
PLACE = (
    "Complete this code at the mark {mark}. Reply with one code block that holds only the text to "
    "put in the place of the mark, {much}, and nothing else.\n\n```\n{code}\n```"
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its `body`, how its answer is read (`opened` is what a model may repeat before
    it goes on), and the most tokens that it may take, of prompt and answer together."""

    api: Api
    body: Mapping[str, Any]
    prompt: Prompt
    opened: str
    tokens: int
    withheld: Mapping[str, int]

    def sent(self, host: str) -> Sent:
        """Return what a host is sent by it."""
        text = json.dumps(self.body, indent=2, ensure_ascii=False)
        return Sent(host, self.api, sum(map(len, _texts(self.body))), self.withheld, text)


def is_hole(prompt: Prompt) -> bool:
    """Say whether a prompt continues a text, and is no conversation."""
    return all(piece.kind == "text" or piece.kind.startswith("fim") for piece in prompt.pieces)


def request(prompt: Prompt, api: Api, model: str, most_tokens: int) -> Request:
    """Return the request for a prompt, of `most_tokens` at most; raise RemoteError where nothing
    can be sent: it would be too long, or the line at the cursor looks like a secret."""
    if is_hole(prompt):
        before, behind, withheld = _hole(prompt)
        texts: dict[str, Any] = _place(prompt, api, before, behind)
        opened = before.rpartition("\n")[2]
    else:
        texts, opened, withheld = _conversation(prompt)
    chars = sum(map(len, _texts(texts)))
    answer = prompt.n_predict
    if api == "chat":
        answer += ANEW_TOKENS + round(len(opened) / CHARS_PER_TOKEN)
    tokens = round(chars / CHARS_PER_TOKEN) + answer
    if tokens > most_tokens:
        raise RemoteError(
            f"It would take about {tokens:,} tokens, and cascade.remote.request_tokens allows "
            f"{most_tokens:,}. Nothing was sent."
        )
    sampling = {"stream": True, "temperature": prompt.temperature, **_limits(api, answer)}
    if prompt.temperature:
        sampling |= {"top_p": prompt.top_p, "seed": prompt.seed}
    named = {"model": model} if model else {}
    body = {**named, **texts, **sampling}
    return Request(api, body, prompt, opened, tokens, withheld)


def _limits(api: Api, answer: int) -> dict[str, Any]:
    if api == "infill":
        return {"n_predict": answer}
    return {"max_tokens": answer, "stream_options": {"include_usage": True}}


def _hole(prompt: Prompt) -> tuple[str, str, Mapping[str, int]]:
    """Return the text before and behind a prompt's hole, and what was withheld of it."""
    sides = {"fim_pre": "", "fim_suf": ""}
    side = "fim_pre"
    for piece in prompt.pieces:
        if piece.kind == "text":
            sides[side] += piece.text
        elif piece.kind in sides:
            side = piece.kind
    above, line = _last_line(sides["fim_pre"])
    rest, below = _first_line(sides["fim_suf"])
    _, secret = withhold(line + rest)
    if secret:
        raise RemoteError(
            f"The line at the cursor looks like a secret ({', '.join(secret)}). Nothing was sent."
        )
    (above, first), (below, second) = withhold(above), withhold(below)
    return above + line, rest + below, dict(Counter(first) + Counter(second))


def _last_line(text: str) -> tuple[str, str]:
    at = text.rfind("\n") + 1
    return text[:at], text[at:]


def _first_line(text: str) -> tuple[str, str]:
    at = text.find("\n")
    return (text[:at], text[at:]) if at >= 0 else (text, "")


def _place(prompt: Prompt, api: Api, before: str, behind: str) -> dict[str, Any]:
    if api == "infill":
        return {"input_prefix": before, "input_suffix": behind}
    if api == "completions":
        return {"prompt": before, **({"suffix": behind} if behind else {})}
    mark = MARK
    while mark in before + behind:  # text stays text
        mark = f"<{mark}>"
    much = "one line" if "\n" in prompt.stop else "no more than the block that it stands in"
    asked = PLACE.format(mark=mark, much=much, code=before + mark + behind)
    return {"messages": [{"role": "user", "content": asked}]}


def _conversation(prompt: Prompt) -> tuple[dict[str, Any], str, Mapping[str, int]]:
    """Return the turns of a conversation, the opening of its answer, and what was withheld."""
    turns, opened, withheld = list[dict[str, str]](), "", Counter[str]()
    for piece in prompt.pieces:
        if piece is prompt.pieces[-1] and piece.kind == "assistant":
            opened = piece.text.partition("\n")[2] if piece.text.startswith("```") else piece.text
            break
        text, secret = withhold(piece.text)
        withheld.update(secret)
        turns.append({"role": piece.kind, "content": text})
    return {"messages": turns}, opened, dict(withheld)


def _texts(value: object) -> Iterator[str]:
    """Yield what of the user's text a body holds: all its strings but the names."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            if name not in ("model", "role"):
                yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value
