"""An engine that says what a test wants it to say: a small, real implementation of the seam."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from cascade_lsp.engine import ModelFacts, Priority, Prompt, Token, Usage
from cascade_lsp.errors import EngineError

FACTS = ModelFacts("script", 1_000_000, 4096, 4096, True, True, "cpu", 1, False, "", "", 0.0, 0)


def is_test_prompt(prompt: Prompt) -> bool:
    """Say whether a prompt asks for assertions."""
    return "assert" in prompt.pieces[-1].text


class ScriptedEngine:
    """Answers every prompt with `answer(prompt)`, a word at a time; keeps what it was asked."""

    def __init__(self, answer: Callable[[Prompt], str], *, pause_s: float = 0.0) -> None:
        self.answer = answer
        self.pause_s = pause_s
        self.asked: list[Sequence[Prompt]] = []
        self.urgency: list[Priority] = []
        self.cancelled = 0
        self.closed = False

    async def start(self) -> ModelFacts:
        return FACTS

    async def generate(
        self, prompts: Sequence[Prompt], *, priority: Priority = Priority.KEYSTROKE
    ) -> AsyncGenerator[Token | Usage, None]:
        self.asked.append(prompts)
        self.urgency.append(priority)
        words = [self.answer(prompt).splitlines(keepends=True) for prompt in prompts]
        try:
            for seq, texts in enumerate(words):
                for text in texts:
                    await asyncio.sleep(self.pause_s)
                    yield Token(seq, text, -0.1)
            yield Usage(10 * len(prompts), 0, sum(map(len, words)), 1.0, 1.0)
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += 1
            raise

    async def close(self) -> None:
        self.closed = True


class LostEngine(ScriptedEngine):
    """An engine whose worker cannot be started."""

    def __init__(self) -> None:
        super().__init__(lambda prompt: "")

    async def generate(
        self, prompts: Sequence[Prompt], *, priority: Priority = Priority.KEYSTROKE
    ) -> AsyncGenerator[Token | Usage, None]:
        raise EngineError("lost")
        yield Usage()
