"""The seam between the cascade and a model: one Protocol, and the values that cross it.

What an engine is not: it knows no tiers, no tests and no thresholds. `engine.local` drives a
llama.cpp worker process, `engine.shared` one that belongs to all windows, `engine.remote` asks a
server that the user configured; tests use scripted engines that implement the same Protocol.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol


class Priority(IntEnum):
    """What a request is for; a more urgent one interrupts the others, which then go on.

    KEYSTROKE: someone waits for it. VERIFY: solutions and tests behind a reply. AHEAD: what may
    be asked next, while nothing else is to do.
    """

    KEYSTROKE = 0
    VERIFY = 1
    AHEAD = 2


PieceKind = Literal["text", "fim_pre", "fim_suf", "fim_mid", "system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a prompt: literal text, a FIM marker, or one turn of a conversation.

    A prompt holds either text and markers, or turns alone; a last `assistant` turn is the
    opening of the answer and stays open. Text is never read as special tokens.
    """

    kind: PieceKind
    text: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one sequence is asked: pieces, where to stop, at most how many tokens, and sampling.

    `temperature == 0` is greedy. `stop` strings end the sequence and are not part of its text;
    so do a later line that is indented by less than `indent` columns, and the bracket `closer`
    where it closes none that the answer has opened.
    """

    pieces: tuple[Piece, ...]
    n_predict: int = 256
    stop: tuple[str, ...] = ()
    indent: int = 0
    closer: str = ""
    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.95
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """One decoded piece of text of sequence `seq` (an index into the prompts), with its
    natural-log probability under the unmodified distribution; empty text is possible."""

    seq: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that left this machine: to which `host`, by which `api`, with how many
    characters of text, and of which kinds the secrets were whose lines were withheld, with how
    many lines each. `body` is what was sent, letter for letter, where it may be kept."""

    host: str
    api: str
    chars: int
    withheld: Mapping[str, int] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a generation cost: tokens, of the prompt those found in the KV cache, wall
    milliseconds, and `cost` in GFLOP, estimated as 2 * parameters * tokens evaluated.

    Of a remote model, whose `cost` is not known, `money` by the user's prices, and what was
    `sent`."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    ms: float = 0.0
    cost: float = 0.0
    money: float = 0.0
    sent: tuple[Sent, ...] = ()

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.new_tokens + other.new_tokens,
            self.ms + other.ms,
            self.cost + other.cost,
            self.money + other.money,
            self.sent + other.sent,
        )


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How models are run on this machine."""

    context_tokens: int = field(
        default=4096,
        metadata={
            "help": "Context window per model, in tokens. More costs memory.",
            "least": 512,
        },
    )
    threads: int = field(
        default=0,
        metadata={"help": "Compute threads; 0 means what a short measurement finds fastest."},
    )
    gpu_layers: int = field(
        default=-1,
        metadata={
            "help": "Layers to offload where llama.cpp has a GPU; -1 means as many as its "
            "free memory holds, 0 none."
        },
    )
    shared: bool = field(
        default=True,
        metadata={
            "help": "Load each model once for all editor windows of this user. When off, or where "
            "that cannot be, every window has its own."
        },
    )
    linger_s: float = field(
        default=30.0,
        metadata={
            "help": "Seconds that shared models stay loaded after the last window has closed."
        },
    )
    unload_s: float = field(
        default=300.0,
        metadata={
            "help": "Seconds without a request after which the large model leaves memory, earlier "
            "where memory is short. It is loaded again when it is needed."
        },
    )


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a loaded model and its worker say of themselves.

    `fim` tells whether prefix, suffix and middle markers are single tokens of the vocabulary;
    `backend` is "cpu" or the name of the device with offloaded layers; `safe` that repacked
    kernels are off; `load_ms` covers loading and the probe decode; `read_per_s` and `write_per_s`
    are the tokens per second that the probe saw, 0 where it saw none.
    """

    architecture: str
    parameters: int
    context_tokens: int
    trained_context_tokens: int
    fim: bool
    chat: bool
    backend: str
    threads: int
    safe: bool
    build: str
    system: str
    load_ms: float
    weights_bytes: int
    read_per_s: float = 0.0
    write_per_s: float = 0.0


class Gate(Protocol):
    """Says whether a remote model may be asked about a place in a document."""

    async def refusal(self, uri: str) -> str:
        """Return why it may not, as a clause; "" where it may."""
        ...

    def preview(self, prompts: Sequence["Prompt"]) -> tuple[Sent, ...]:
        """Return what it would be sent for prompts; nothing is sent. Raise RemoteError where
        nothing would be."""
        ...

    def shares(self, files: Sequence[tuple[str, str]]) -> bool:
        """Say whether it may be shown parts of other files, each by its workspace's folder and its
        path below that."""
        ...


class Engine(Protocol):
    """A model that answers a batch of prompts, token by token."""

    def generate(
        self, prompts: Sequence[Prompt], *, priority: Priority = Priority.KEYSTROKE
    ) -> AsyncGenerator[Token | Usage, None]:
        """Decode all prompts as one batch, yield the Usage so far once they are read, tokens as
        they come, and last the Usage.

        Closing the iterator cancels the computation. A lost worker ends the stream with the
        Usage so far. Only KEYSTROKE and AHEAD may use up a keystroke's KV prefix.
        """
        ...

    async def start(self) -> ModelFacts:
        """Load the model unless it is loaded; raise EngineError if that cannot be done."""
        ...

    async def close(self) -> None:
        """Release the model."""
        ...


@dataclass(slots=True)
class Generated:
    """The text of one sequence and the log-probabilities of its tokens."""

    text: str = ""
    logprobs: list[float] = field(default_factory=list)


async def collect(
    stream: AsyncGenerator[Token | Usage, None],
    n: int,
    watch: Callable[[Token], None] | None = None,
) -> tuple[list[Generated], Usage]:
    """Read a stream of `n` sequences to its end; `watch` sees every token as it comes."""
    texts, usage = [Generated() for _ in range(n)], Usage()
    async with aclosing(stream):
        async for item in stream:
            if isinstance(item, Usage):
                usage = item
                continue
            texts[item.seq].text += item.text
            texts[item.seq].logprobs.append(item.logprob)
            if watch:
                watch(item)
    return texts, usage
