"""A cascade that answers from a script: what the server does is tested without a model."""

import asyncio
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from cascade_lsp.engine import Priority, Usage
from cascade_lsp.errors import EngineError
from cascade_lsp.ledger import Attempt, Record
from cascade_lsp.policy import Decision, Evidence, Policy, Reason
from cascade_lsp.sandbox import Status
from cascade_lsp.turn import Draft


@dataclass
class Script:
    """What the cascade says, how long it takes, how it fails ("lost", "bug" or "prints"), and a
    file that it leaves when it is closed."""

    text: str = "return 1"
    better: str = "return 2"
    testable: bool = False
    load_s: float = 0.0
    draft_s: float = 0.0
    letter_s: float = 0.0
    ahead: str = ""
    think_s: float = 0.0
    doubt: bool = False
    others: tuple[str, ...] = ()
    others_s: float = 0.0
    fails: str = ""
    fails_to_load: bool = False
    farewell: str = ""


@dataclass
class ScriptedCascade:
    script: Script = field(default_factory=Script)
    calls: list = field(default_factory=list)
    ended: list = field(default_factory=list)

    def within(self, root):
        return self

    async def load(self):
        await self._call("load", self.script.load_s)
        if self.script.fails_to_load:
            raise EngineError("The model could not be started. Run `cascade doctor`.")

    async def drafts(self, context, *, priority=Priority.KEYSTROKE):
        if priority != Priority.KEYSTROKE:
            logprobs = (-0.1,) if self.script.ahead else ()
            yield Draft("ahead", self.script.ahead, "small", logprobs, Usage(), time.time())
            return
        await self._call("draft", self.script.draft_s)
        if self.script.fails == "lost":
            raise EngineError("The model was lost. Run `cascade doctor`.")
        if self.script.fails == "bug":
            raise ZeroDivisionError(context.document)
        if self.script.fails == "prints":
            print("from Python")  # noqa: T201 - what a careless library does
            os.write(1, b"from C\n")
        number, read = self.calls.count("draft"), Usage(prompt_tokens=9, cached_tokens=9)
        draft = Draft(f"d{number}", "", "small", (-0.1,), read, time.time())
        text = self.script.text
        for end in range(1, len(text)) if self.script.letter_s else ():
            await asyncio.sleep(self.script.letter_s)
            lines = text[: text.rfind("\n", 0, end) + 1].rstrip()
            yield replace(draft, text=text[:end], settled=lines)
        self.ended.append("written")
        yield replace(draft, text=text)

    async def warm(self, context):
        await self._call("warm", 0)

    async def complete(self, context, *, patience_s):
        await self._call("complete", min(patience_s, self.script.think_s))
        number = f"c{self.calls.count('complete')}"
        if self.script.think_s > patience_s:
            return self._record(context, number, self.script.text, "not_asked")
        return self._record(context, number, self.script.better)

    async def alternatives(self, context):
        await self._call("alternatives", self.script.others_s)
        return list(self.script.others)

    async def check(self, context, watch):
        await self._call("check", self.script.think_s)
        return self._record(context, "v1", self.script.better)

    async def sandbox_status(self):
        return Status("none", "scripted")

    async def verify(self, context, draft, watch):
        await self._call("verify", self.script.think_s)
        return self._record(context, draft.id, self.script.better)

    async def second(self, context, draft, watch, *, rejected):
        if not (rejected or self.script.doubt):
            return None
        await self._call("second", self.script.think_s)
        return self._record(context, draft.id, self.script.better, "not_asked")

    async def unverified(self, context, draft):
        return self._record(context, draft.id, draft.text, "not_asked")

    async def worth_verifying(self, context, draft):
        return self.script.testable

    async def close(self):
        self.calls.append("close")
        self._say_farewell()

    def _say_farewell(self):
        if self.script.farewell:
            Path(self.script.farewell).touch()

    async def _call(self, name, seconds):
        self.calls.append(name)
        await asyncio.sleep(seconds)
        self.ended.append(name)

    def _record(self, context, record_id, text, execution="ran"):
        decision = Decision("accept", Reason.TESTS_PASSED, 1.0, 0.5)
        evidence, policy = Evidence(execution), Policy()
        attempt = Attempt("small", "m", text, (), {}, {}, evidence, policy, decision, Usage())
        return Record(
            id=record_id,
            created=time.time(),
            uri=context.uri,
            language=context.language,
            line=0,
            column=0,
            trigger="automatic",
            plan="default",
            function="f",
            untestable="",
            attempts=(attempt,),
            chosen=0,
            ms=1.0,
        )
