"""A model behind an OpenAI-compatible server: the one way on which source text leaves this machine.

It is asked only through a `Gate` that allowed it, is told no more than `payload.request` makes of a
prompt, and is trusted with nothing: what it answers is bounded in time and size, a redirection is
not followed, and no sentence of its own reaches the user. After FAILURES in a row it is left
alone for a while that doubles. The key is in this object and in one header; in no error, log or
record.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import nan
from typing import Any, Protocol, get_args
from urllib.parse import urlsplit

import httpx2
import openai

from cascade_lsp.engine import ModelFacts, Priority, Prompt, Sent, Token, Usage
from cascade_lsp.engine.payload import Api, Request, is_hole, request
from cascade_lsp.engine.reading import Answer
from cascade_lsp.engine.remote_options import RemoteOptions
from cascade_lsp.errors import CascadeError, RemoteError

FAILURES = 3  # in a row, after which a server is left alone
PAUSE_S, LONGEST_PAUSE_S = 60.0, 900.0
CONNECT_S = 5.0
MOST_BYTES = 4_000_000  # of one answer, with all that is around its text
HEADERS = ("accept", "authorization", "connection", "content-length", "content-type", "host")
UNKNOWN_TO_SERVER = (400, 404, 405, 415, 422, 501)  # how servers refuse what they do not have
REASONS = {
    401: "it does not accept the key",
    402: "its account is used up",
    403: "the key may not do that there",
    404: "it has no such model, or the address lacks its /v1",
    408: "it took too long",
    413: "that is too long for it",
    429: "it is asked too often, or its quota is used up",
}

_LOG = logging.getLogger(__name__)


class Meter(Protocol):
    """Counts what remote models take in a day, over all processes; its calls block."""

    def spend(self, host: str, tokens: int, money: float) -> None: ...
    def spent_today(self) -> tuple[int, float]: ...


@dataclass(slots=True)
class Breaker:
    """Leaves a server alone that failed several times in a row, for a time that doubles."""

    failures: int = 0
    until: float = 0.0

    def pause_s(self, now: float) -> float:
        """Return for how many seconds it is still left alone."""
        return max(0.0, self.until - now)

    def note(self, now: float, *, failed: bool) -> None:
        """Take in how a request went."""
        self.failures = self.failures + 1 if failed else 0
        over = self.failures - FAILURES
        self.until = now + min(PAUSE_S * 2**over, LONGEST_PAUSE_S) if over >= 0 else 0.0


class RemoteEngine:
    """A remote model as an engine."""

    def __init__(self, options: RemoteOptions, find_key: Callable[[], str], meter: Meter) -> None:
        self.options = options
        self._find_key = find_key  # which may ask a keyring, and so take a while
        self._key = ""
        self._meter = meter
        self._breaker = Breaker()
        self._apis: list[Api] = list(get_args(Api)) if options.api == "auto" else [options.api]
        self._client: openai.AsyncOpenAI | None = None
        for name in ("openai", "httpx2"):  # at their finest they log what is sent
            logging.getLogger(name).setLevel(logging.WARNING)

    async def unavailable(self) -> str:
        """Return why it is not to be asked now, as a clause; "" if it may be."""
        if pause_s := self._breaker.pause_s(time.monotonic()):
            return (
                f"{self.options.host} failed {self._breaker.failures} times in a row and is left "
                f"alone for {pause_s:.0f} s"
            )
        return await self._overspent(0, 0.0)

    async def _overspent(self, tokens: int, money: float) -> str:
        """Return which budget so many more would overdraw, as a clause."""
        options = self.options
        try:
            spent = await asyncio.to_thread(self._meter.spent_today)
        except CascadeError as error:
            return f"what was spent today is not known ({error})"
        if spent[0] + tokens >= options.day_tokens:
            return (
                f"{spent[0]:,} of the day's {options.day_tokens:,} tokens are spent "
                "(cascade.remote.day_tokens)"
            )
        priced = options.prompt_price or options.answer_price
        if priced and spent[1] + money >= options.day_money:
            return (
                f"{spent[1]:.2f} of the day's {options.day_money:.2f} in money are spent "
                "(cascade.remote.day_money)"
            )
        return ""

    def preview(self, prompts: Sequence[Prompt]) -> tuple[Sent, ...]:
        """Return what would be sent for prompts, by the interfaces that it is believed to have."""
        options = self.options
        return tuple(
            request(one, self._apis_for(one)[0], options.model, options.request_tokens).sent(
                options.host
            )
            for one in prompts
        )

    def _apis_for(self, prompt: Prompt) -> list[Api]:
        return list(self._apis) if is_hole(prompt) else ["chat"]

    async def generate(
        self, prompts: Sequence[Prompt], *, priority: Priority = Priority.KEYSTROKE
    ) -> AsyncGenerator[Token | Usage, None]:
        """Ask for all prompts at once, yield tokens as they come, and last the Usage.

        Log-probabilities are NaN: few servers tell them. Closing the iterator closes the streams.
        Raise RemoteError if one of the answers cannot be had; nothing of the others counts then.
        """
        options, asked = self.options, list[Asked]()
        started = time.monotonic()
        queue = asyncio.Queue[Token | asyncio.Task[None]]()
        tasks = {
            asyncio.create_task(self._answer(seq, prompt, queue, asked))
            for seq, prompt in enumerate(prompts)
        }
        for task in tasks:
            task.add_done_callback(queue.put_nowait)
        try:
            left = set(tasks)
            while left:
                left_s = started + options.timeout_s - time.monotonic()
                item = await asyncio.wait_for(queue.get(), left_s)
                if isinstance(item, Token):
                    yield item
                else:
                    left.discard(item)
                    item.result()
        except (TimeoutError, RemoteError) as error:
            self._breaker.note(time.monotonic(), failed=bool(asked))
            slow = f"{options.host} did not answer within {options.timeout_s:g} s"
            why = str(error) if isinstance(error, RemoteError) else slow
            raise RemoteError(why, _sent(asked, options.host)) from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._breaker.note(time.monotonic(), failed=False)
        ms = (time.monotonic() - started) * 1000
        yield sum((one.usage for one in asked), Usage(ms=ms, sent=_sent(asked, options.host)))

    async def _answer(
        self, seq: int, prompt: Prompt, queue: "asyncio.Queue[Any]", asked: "list[Asked]"
    ) -> None:
        """Put an answer's tokens into a queue, by the first interface that the server has."""
        apis = self._apis_for(prompt)
        for api in apis:
            one = Asked(request(prompt, api, self.options.model, self.options.request_tokens))
            try:
                async for text in self._stream(one, asked):
                    await queue.put(Token(seq, text, nan))
            except openai.APIStatusError as error:
                if api is apis[-1] or error.status_code not in UNKNOWN_TO_SERVER:
                    raise RemoteError(_refusal(self.options.host, error.status_code)) from None
                self._apis = [other for other in self._apis if other != api]
            else:
                return

    async def _stream(self, one: "Asked", asked: "list[Asked]") -> AsyncIterator[str]:
        """Send a request and yield its answer's text; `one` takes in what it costs."""
        options, answer = self.options, Answer(one.request)
        reserved = options.money(one.request.tokens, one.request.prompt.n_predict)
        if why := await self._overspent(one.request.tokens, reserved):
            raise RemoteError(f"{why}. Nothing was sent")
        await self._spend(one.request.tokens, reserved)
        asked.append(one)
        UNDER_WAY.set(one)
        try:
            async with await self._post(one.request) as stream:
                async for event in stream:
                    text, ended = answer.feed(one.read(event))
                    if text:
                        yield text
                    if ended:
                        break
                else:
                    if text := answer.end():
                        yield text
        except openai.APIStatusError:
            one.told = {"prompt_tokens": 0}  # it read nothing
            raise
        except openai.APIError as error:
            if isinstance(error.__cause__, RemoteError):
                raise error.__cause__ from None
            raise RemoteError(f"{options.host} {_failure(error)}") from None
        except (httpx2.HTTPError, ValueError, TypeError, AttributeError, LookupError) as error:
            _LOG.info("an answer that is none: %s", type(error).__name__)
            raise RemoteError(f"{options.host} sent what is no answer") from None
        finally:
            one.price(options)
            spent = one.usage
            tokens = spent.prompt_tokens + spent.new_tokens - one.request.tokens
            await asyncio.shield(self._spend(tokens, spent.money - reserved))

    async def _spend(self, tokens: int, money: float) -> None:
        try:
            await asyncio.to_thread(self._meter.spend, self.options.host, tokens, money)
        except CascadeError as error:
            raise RemoteError(f"what was spent could not be noted ({error})") from error

    async def _post(self, asked: Request) -> openai.AsyncStream[Any]:
        if self._client is None:
            self._key = self._key or await asyncio.to_thread(self._find_key)
            self._client = self._client or self._make_client()
        root = self.options.url.rstrip("/")
        paths = {"chat": "/chat/completions", "completions": "/completions"}
        path = paths.get(asked.api) or f"{root.removesuffix('/v1')}/infill"
        return await self._client.post(
            path, cast_to=object, body=asked.body, stream=True, stream_cls=openai.AsyncStream[Any]
        )

    def _make_client(self) -> openai.AsyncOpenAI:
        options = self.options
        transport = httpx2.AsyncClient(
            timeout=httpx2.Timeout(options.timeout_s, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=not options.local,  # what stays on this machine goes through no proxy
            event_hooks={"request": [self._strip], "response": [_bound]},
        )
        return openai.AsyncOpenAI(
            api_key=self._key or "none",  # else it would take any that is in the environment
            base_url=options.url,
            http_client=transport,
            max_retries=1,
        )

    async def _strip(self, sent: httpx2.Request) -> None:
        """Leave of the headers what the request needs: no word of this machine."""
        kept = {name: value for name, value in sent.headers.items() if name in HEADERS}
        if not self._key:
            kept.pop("authorization", None)
        sent.headers = httpx2.Headers({**kept, "accept-encoding": "identity"})
        sent.extensions = {**sent.extensions, "trace": _watch}

    async def start(self) -> ModelFacts:
        """Return what is known of it without asking."""
        options = self.options
        return ModelFacts(
            architecture="remote",
            parameters=0,
            context_tokens=options.request_tokens,
            trained_context_tokens=options.request_tokens,
            fim=options.api != "chat",
            chat=True,
            backend=options.host,
            threads=0,
            safe=False,
            build="",
            system="",
            load_ms=0.0,
            weights_bytes=0,
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()


@dataclass(slots=True)
class Asked:
    """One request under way, and what it costs so far."""

    request: Request
    left: bool = False  # something of it has left this machine
    pieces: int = 0
    told: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def read(self, event: Any) -> str:
        """Return the text in one event of a stream; raise where it is none."""
        told = event.get("usage") or event.get("timings")
        self.told = told if isinstance(told, Mapping) else self.told
        if self.request.api == "infill":
            text = event["content"]
        elif not (choices := event["choices"]):
            return ""
        elif self.request.api == "chat":
            text = choices[0]["delta"].get("content") or ""
        else:
            text = choices[0]["text"]
        if not isinstance(text, str):
            raise TypeError(text)
        self.pieces += bool(text)
        return text

    def price(self, options: RemoteOptions) -> None:
        """Set what it has cost: by what the server counts, else by an estimate."""
        if not self.left:
            return
        reserved = self.request.tokens - self.request.prompt.n_predict
        prompt = _count(self.told, reserved, "prompt_tokens", "prompt_n")
        new = max(self.pieces, _count(self.told, 0, "completion_tokens", "predicted_n"))
        cached = _count(self.told, 0, "cache_n")
        self.usage = Usage(prompt + cached, cached, new, money=options.money(prompt + cached, new))


def _count(told: Mapping[str, Any], otherwise: int, *names: str) -> int:
    found = next((told[name] for name in names if isinstance(told.get(name), int)), otherwise)
    return max(0, min(found, 10_000_000))


UNDER_WAY: ContextVar[Asked] = ContextVar("UNDER_WAY")  # the request of the running task


async def _watch(event: str, _facts: Mapping[str, Any]) -> None:
    """Take in that a connection stands and a request begins to leave."""
    if "send_request" in event:
        UNDER_WAY.get().left = True


def _sent(asked: Sequence[Asked], host: str) -> tuple[Sent, ...]:
    return tuple(one.request.sent(host) for one in asked if one.left)


async def _bound(response: httpx2.Response) -> None:
    """Refuse an answer that leads elsewhere or is packed, and bound the size of any other."""
    host = response.request.url.host
    if response.is_redirect:
        to = urlsplit(response.headers.get("location", "")).hostname or "another address"
        raise RemoteError(f"{host} wants to be asked at {to}, which is not followed")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise RemoteError(f"{host} packed its answer, which was not asked for")
    response.stream = _Bounded(response.stream, host)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: Any, host: str) -> None:
        self._stream, self._host = stream, host

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > MOST_BYTES:
                raise RemoteError(f"{self._host} sent more than {MOST_BYTES / 1e6:.0f} MB")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _refusal(host: str, status: int) -> str:
    reason = REASONS.get(status, "it failed" if status >= 500 else "it refused")
    return f"{host} answered with status {status}: {reason}"


def _failure(error: openai.APIError) -> str:
    if isinstance(error, openai.APITimeoutError):
        return "did not answer in time"
    if isinstance(error, openai.APIConnectionError):
        cause = str(error.__cause__ or "").lower()
        if "certificate" in cause:
            return "shows a certificate that does not hold, so nothing was sent"
        return "cannot be reached"
    return "told of a failure in the middle of its answer"
