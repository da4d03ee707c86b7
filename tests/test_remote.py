"""The remote tier in the cascade: asked only where it may be, and never in the way."""

import asyncio
from dataclasses import replace

import pytest

from cascade_lsp import explain
from cascade_lsp.cascade import Cascade, CascadeOptions
from cascade_lsp.context import gather
from cascade_lsp.engine.remote import RemoteEngine
from cascade_lsp.engine.remote_options import RemoteOptions
from cascade_lsp.permission import Permission
from cascade_lsp.policy import Reason
from cascade_lsp.privacy import PROJECT
from cascade_lsp.sandbox import SandboxOptions, make_sandbox
from cascade_lsp.turn import Tier
from tests.engine.test_remote import Purse
from tests.scripted import ScriptedEngine, is_test_prompt
from tests.servers import head, saying, scripted

STUB = '''def double(n: int) -> int:
    """Return twice n.

    >>> double(4)
    8
    """
    '''
WRONG, RIGHT = "return n + 2", "return n * 2"
TOLD = f"```python\n{STUB}{RIGHT}\n```"


@pytest.fixture
async def sandbox():
    box = make_sandbox(SandboxOptions())
    yield box
    await box.close()


@pytest.fixture
def at(tmp_path):
    """Return a place at the end of a file."""
    return lambda text, name="shop.py": gather(text, len(text), uri=(tmp_path / name).as_uri())


def local(body):
    def answer(prompt):
        if is_test_prompt(prompt):
            return "double(4) == 8\n"
        return f"    {body}\n" if prompt.pieces[0].kind == "user" else f"{body}\n"

    return ScriptedEngine(answer)


def make(tmp_path, url, sandbox, *, small=None, large=None, plan="paper", **options):
    """Return a cascade with a small model that is wrong, and a remote one."""
    wanted = RemoteOptions(url=url, **options)
    engine = RemoteEngine(wanted, str, Purse())
    gate = Permission(wanted, tmp_path / "privacy.toml", engine)
    tiers = [Tier("small", "s", small or local(WRONG))]
    if large:
        tiers.append(Tier("large", "l", large))
    tiers.append(Tier("remote", "r", engine, line="psm", gate=gate))
    return Cascade(tiers, sandbox, CascadeOptions(plan=plan))


async def test_what_the_small_model_fails_at_is_asked_of_the_remote_one_instead_of_the_large(
    tmp_path, sandbox, at
):
    large = local(RIGHT)
    async with scripted(saying(TOLD)) as server:
        cascade = make(tmp_path, server.url, sandbox, large=large)
        record = await cascade.complete(at(STUB))
        await cascade.close()
    assert [a.tier for a in record.attempts] == ["small", "remote"]
    assert record.answer.text == RIGHT and not large.asked
    sent = record.answer.usage.sent
    assert sent and all("def double" in one.body for one in sent)
    assert "## What left this machine" in explain.decision(record)
    assert not record.remote and not record.lost


async def test_what_the_small_model_can_do_is_asked_of_nobody_else(tmp_path, sandbox, at):
    async with scripted(saying(TOLD)) as server:
        cascade = make(tmp_path, server.url, sandbox, small=local(RIGHT))
        record = await cascade.complete(at(STUB))
        draft = await cascade.draft(at("def f(n):\n    "))
        await cascade.close()
    assert record.answer.tier == draft.tier == "small" and not server.calls


@pytest.mark.parametrize(
    ("policy", "options", "said"),
    [
        ('blocked = ["shop.py"]', {}, "shop.py is blocked by"),
        ("blocked = 3", {}, "cannot be read blocks everything"),
        ("", {"send": "blocked"}, "shop.py is blocked by the setting"),
        ("", {"url": "http://models.example/v1"}, "anybody on the way"),
        ("", {"url": "https://models.example/v1"}, "may only be sent to servers under your"),
        ("", {"day_tokens": 0}, "cascade.remote.day_tokens"),
    ],
)
async def test_where_it_may_not_be_asked_the_local_large_model_is_and_the_record_says_why(
    tmp_path, sandbox, at, policy, options, said
):
    (tmp_path / "privacy.toml").write_text(policy)
    async with scripted(saying(TOLD)) as server:
        url = options.pop("url", server.url)
        cascade = make(tmp_path, url, sandbox, large=local(RIGHT), **options)
        record = await cascade.complete(at(STUB))
        await cascade.close()
    assert [a.tier for a in record.attempts] == ["small", "large"] and not server.calls
    assert said in record.remote
    assert "It was not asked" in explain.decision(record)


async def test_where_nobody_else_was_wanted_a_refusal_is_not_spoken_of(tmp_path, sandbox, at):
    (tmp_path / "privacy.toml").write_text('blocked = ["shop.py"]')
    cascade = make(tmp_path, "https://models.example/v1", sandbox, small=local(RIGHT))
    record = await cascade.complete(at(STUB))
    await cascade.close()
    assert record.decision.action == "accept" and record.remote == ""


async def test_a_server_that_is_not_mine_sees_what_the_policy_lets_anybody_see(
    tmp_path, sandbox, at
):
    (tmp_path / "privacy.toml").write_text('any = ["shop.py"]')
    cascade = make(tmp_path, "https://models.example/v1", sandbox)
    gate = cascade.tiers["remote"].gate
    assert await gate.refusal(at("", "shop.py").uri) == ""
    assert "may only be sent" in await gate.refusal(at("", "till.py").uri)
    await cascade.close()


async def test_a_remote_failure_leaves_the_local_answer_and_says_what_was_sent(
    tmp_path, sandbox, at
):
    async def script(_call, writer):
        writer.write(head(500, "application/json") + b"{}")
        writer.close()

    async with scripted(script) as server:
        cascade = make(tmp_path, server.url, sandbox)
        record = await cascade.complete(at(STUB))
        await cascade.close()
    assert record.answer.tier == "small" and record.answer.text == WRONG
    assert "status 500" in record.remote and record.lost
    assert "It failed" in explain.decision(record)


async def test_a_second_opinion_that_fails_leaves_the_draft_and_is_recorded(tmp_path, at):
    async def script(_call, writer):
        writer.write(head(401, "application/json") + b"{}")
        writer.close()

    context = at("total = 1\nprint(")
    async with scripted(script) as server:
        cascade = make(tmp_path, server.url, None, small=local("total)"), plan="default")
        draft = await cascade.draft(context)
        record = await cascade.second(context, draft, rejected=True)
        await cascade.close()
    assert record is not None and record.answer.text == draft.text
    assert record.answer.decision.reason is Reason.REJECTED
    assert record.answer.decision.action == "best_effort"
    assert "does not accept the key" in record.remote


async def test_a_second_opinion_of_the_remote_model_takes_the_drafts_place(tmp_path, at):
    context = at("total = 1\nprint(")
    async with scripted(saying("```\ntotal + 1)\n```")) as server:
        cascade = make(tmp_path, server.url, None, small=local("tot"), plan="default", api="chat")
        draft = await cascade.draft(context)
        record = await cascade.second(context, draft, rejected=True)
        await cascade.close()
    assert record is not None and record.answer.tier == "remote"
    assert record.answer.text == "total + 1)"


def seeing(context, folder):
    """Return a place that sees a part of a file in a workspace's folder."""
    files = ((str(folder), "rates.py"),)
    return replace(context, extra="# rates.py\nRATE = 7\n", extra_files=files)


@pytest.mark.parametrize(("globs", "shown"), [((), False), (("*.py",), True), (("x.py",), False)])
async def test_parts_of_other_files_are_sent_only_where_the_list_names_them(
    tmp_path, at, globs, shown
):
    context = seeing(at("x = "), tmp_path)
    async with scripted(saying("1")) as server:
        cascade = make(tmp_path, server.url, None, context=globs, api="chat", plan="default")
        await cascade.second(context, await cascade.draft(context), rejected=True)
        await cascade.close()
    assert ("RATE" in str(server.calls[0].body)) == shown


async def test_parts_of_a_blocked_file_are_not_sent_along_with_an_open_one(tmp_path, at):
    (tmp_path / "privacy.toml").write_text('blocked = ["rates.py"]')
    context = seeing(at("x = "), tmp_path)
    async with scripted(saying("1")) as server:
        cascade = make(tmp_path, server.url, None, context=("*",), api="chat", plan="default")
        await cascade.second(context, await cascade.draft(context), rejected=True)
        await cascade.close()
    assert server.calls and "RATE" not in str(server.calls[0].body)


@pytest.mark.parametrize(("folder", "shown"), [("first", True), ("second", False), ("", False)])
async def test_the_policy_of_the_folder_that_a_part_is_of_counts(tmp_path, at, folder, shown):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / PROJECT).write_text('blocked = ["rates.py"]')
    context = seeing(at("x = ", "first/shop.py"), tmp_path / folder if folder else "")
    async with scripted(saying("1")) as server:
        cascade = make(tmp_path, server.url, None, context=("*",), api="chat", plan="default")
        await cascade.second(context, await cascade.draft(context), rejected=True)
        await cascade.close()
    assert ("RATE" in str(server.calls[0].body)) == shown


async def test_a_preview_shows_what_would_be_sent_and_sends_nothing(tmp_path, sandbox, at):
    async with scripted(saying(TOLD)) as server:
        cascade = make(tmp_path, server.url, sandbox, model="coder")
        previewed = await cascade.preview(at(STUB))
        assert not server.calls
        record = await cascade.complete(at(STUB))
        await cascade.close()
    assert previewed is not None and previewed.refused == ""
    bodies = {one.body for one in previewed.requests}
    assert bodies == {one.body for one in record.answer.usage.sent} and bodies
    assert "would be asked here" in explain.sending("r", "", previewed.requests)


async def test_a_preview_says_why_nothing_would_be_sent(tmp_path, at):
    cascade = make(tmp_path, "https://models.example/v1", None)
    previewed = await cascade.preview(at(STUB))
    await cascade.close()
    assert previewed is not None
    told = explain.sending(previewed.model, previewed.refused, previewed.requests)
    assert "would not be asked" in told and "under your control" in told


async def test_a_notebooks_cell_has_the_level_of_its_file(tmp_path, sandbox, at):
    (tmp_path / "privacy.toml").write_text('blocked = ["shop.ipynb"]')
    cascade = make(tmp_path, "http://127.0.0.1:9/v1", sandbox)
    cell = (tmp_path / "shop.ipynb").as_uri().replace("file:", "vscode-notebook-cell:") + "#W0"
    assert "is blocked" in await cascade.tiers["remote"].gate.refusal(cell)
    await cascade.close()


async def test_ending_a_verification_closes_the_stream_to_the_server(tmp_path, sandbox, at):
    async def script(call, writer):
        writer.write(head())
        await writer.drain()
        await call.gone.wait()

    async with scripted(script) as server:
        cascade = make(tmp_path, server.url, sandbox)
        task = asyncio.create_task(cascade.complete(at(STUB)))
        while not server.calls:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5):
            await server.calls[0].gone.wait()
        await cascade.close()
