"""A remote model as an engine: what it is sent, what may come back, and what that costs."""

import asyncio
import datetime
import json
import ssl
from contextlib import suppress
from dataclasses import replace

import pytest

from cascade_lsp.engine import Piece, Prompt, collect
from cascade_lsp.engine.remote import FAILURES, MOST_BYTES, Breaker, RemoteEngine
from cascade_lsp.engine.remote_options import RemoteOptions
from cascade_lsp.errors import LedgerError, RemoteError
from tests.servers import event, head, llama, piece, saying, scripted

KEY = "sk-planted-0123456789abcdef"
HOLE = Prompt(
    (
        Piece("fim_pre"),
        Piece("text", "def add(first, second):\n    return first +"),
        Piece("fim_suf"),
        Piece("text", "\n\nprint(add(1, 2))\n"),
        Piece("fim_mid"),
    ),
    n_predict=24,
    stop=("\n",),
)
TURNS = Prompt(
    (
        Piece("user", "def add(a, b):\n    ...\nComplete the function."),
        Piece("assistant", "```python\ndef add(a, b):\n"),
    ),
    n_predict=64,
    stop=("```", "\ndef "),
)


class Purse:
    """What was spent, in memory."""

    def __init__(self, tokens: int = 0, money: float = 0.0) -> None:
        self.tokens, self.money = tokens, money

    def spend(self, host: str, tokens: int, money: float) -> None:
        self.tokens += tokens
        self.money += money

    def spent_today(self) -> tuple[int, float]:
        return self.tokens, self.money


def engine(url: str, purse: Purse | None = None, key: str = KEY, **options) -> RemoteEngine:
    return RemoteEngine(RemoteOptions(url=url, **options), lambda: key, purse or Purse())


async def answer(remote: RemoteEngine, *prompts: Prompt):
    try:
        written, used = await collect(remote.generate(prompts), len(prompts))
        return [one.text for one in written], used
    finally:
        await remote.close()


# -- what comes back -------------------------------------------------------------------------------


async def test_a_function_is_read_out_of_a_sentence_and_a_block_that_begins_it_anew():
    told = "Sure!\n\n```python\ndef add(a, b):\n    return a + b\n```\nIt adds."
    async with scripted(saying(*told)) as server:
        (text,), used = await answer(engine(server.url), TURNS)
    assert text == "    return a + b"
    assert used.new_tokens < len(told)  # the sentence behind the block is not waited for


async def test_an_answer_that_goes_on_from_the_prompt_is_taken_as_it_is():
    async with scripted(saying("```\n", "    return a", " + b\n", "```")) as server:
        (text,), _ = await answer(engine(server.url), TURNS)
    assert text == "    return a + b"


@pytest.mark.parametrize("told", [" second", "```\n second\n```", "    return first + second"])
async def test_a_hole_is_filled_with_its_line_whichever_way_a_model_writes_it(told):
    async with scripted(saying(told)) as server:
        (text,), _ = await answer(engine(server.url, api="chat"), HOLE)
    assert text.strip() == "second"


async def test_the_answers_to_several_prompts_are_told_apart():
    async def script(call, writer):
        said = "one" if "first +" in call.body["messages"][0]["content"] else "two"
        writer.write(head() + piece(said) + b"data: [DONE]\n\n")
        writer.close()

    async with scripted(script) as server:
        texts, used = await answer(engine(server.url, api="chat"), HOLE, TURNS)
    assert texts == ["one", "two"] and len(used.sent) == 2


async def test_the_first_interface_that_a_server_has_is_found_and_remembered():
    async def script(call, writer):
        if call.path == "/v1/completions":
            writer.write(head() + event({"choices": [{"text": " second\nx"}]}))
        else:
            writer.write(head(404, "application/json") + b"{}")
        writer.close()

    async with scripted(script) as server:
        remote = engine(server.url)
        for _ in range(2):
            written, _ = await collect(remote.generate([HOLE]), 1)
            assert written[0].text == " second"
        await remote.close()
    assert [call.path for call in server.calls] == [
        "/infill", "/v1/completions", "/v1/completions",
    ]  # fmt: skip


async def test_infill_is_asked_beside_the_versioned_interfaces_with_both_sides_of_the_hole():
    async def script(_call, writer):
        writer.write(head() + event({"content": " second"}) + event({"content": "", "stop": True}))
        writer.close()

    async with scripted(script) as server:
        (text,), _ = await answer(engine(server.url), HOLE)
    assert text == " second"
    assert server.calls[0].path == "/infill"
    assert server.calls[0].body["input_prefix"] == HOLE.pieces[1].text
    assert server.calls[0].body["input_suffix"] == HOLE.pieces[3].text


async def test_the_small_model_behind_llama_cpps_own_server_fills_a_hole_and_writes_a_function():
    pieces = (*HOLE.pieces[:3], Piece("text", "\n"), HOLE.pieces[4])
    async with llama() as url:
        (text,), used = await answer(engine(url, timeout_s=200.0), replace(HOLE, pieces=pieces))
        assert text.strip() == "second"
        assert [one.api for one in used.sent] == ["infill", "completions"]
        (body,), _ = await answer(engine(url, timeout_s=200.0), TURNS)
        assert body.strip() == "return a + b"


# -- what is sent ----------------------------------------------------------------------------------


async def test_what_is_recorded_as_sent_is_what_arrived_letter_for_letter():
    async with scripted(saying("```\n second\n```")) as server:
        _, used = await answer(engine(server.url, api="chat", model="coder"), HOLE)
    assert [json.loads(one.body) for one in used.sent] == [server.calls[0].body]
    assert used.sent[0].host == f"127.0.0.1:{server.port}"


async def test_no_header_tells_of_this_machine_or_of_other_accounts_on_it(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "somebody-elses")
    async with scripted(saying("x")) as server:
        await answer(engine(server.url, api="chat"), HOLE)
        await answer(engine(server.url, api="chat", key=""), HOLE)
    with_key, without = server.calls
    assert with_key.headers.pop("authorization") == f"bearer {KEY}"
    assert set(with_key.headers) == set(without.headers)
    assert set(with_key.headers) <= {
        "accept", "accept-encoding", "connection", "content-length", "content-type", "host",
    }  # fmt: skip
    assert "somebody-elses" not in str(server.calls)


async def test_lines_that_look_like_secrets_are_left_out_and_counted():
    secret = 'TOKEN = "ghp_0123456789012345678901234567890123456"\n'
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----\n"
    pieces = list(HOLE.pieces)
    pieces[1] = Piece("text", secret + key + HOLE.pieces[1].text)
    pieces[3] = Piece("text", HOLE.pieces[3].text + 'password = "correct horse"\n')
    asked = replace(HOLE, pieces=tuple(pieces))
    talk = replace(TURNS, pieces=(Piece("user", secret + "Complete."), TURNS.pieces[1]))
    async with scripted(saying(" second")) as server:
        _, used = await answer(engine(server.url, api="chat"), asked, talk)
    arrived = str([call.body for call in server.calls])
    assert "ghp_" not in arrived and "MIIE" not in arrived and "horse" not in arrived
    assert "return first +" in arrived and "print(add(1, 2))" in arrived
    assert sorted(map(dict, (one.withheld for one in used.sent)), key=len) == [
        {"GitHub Token": 1}, {"GitHub Token": 1, "Private Key": 3, "Secret Keyword": 1},
    ]  # fmt: skip


async def test_nothing_is_sent_where_the_line_at_the_cursor_looks_like_a_secret():
    pieces = (Piece("text", 'import os\npassword = "correct horse'), Piece("fim_suf"))
    at_secret = Prompt((*pieces, Piece("text", 'battery"\n'), Piece("fim_mid")), n_predict=8)
    async with scripted(saying("x")) as server:
        with pytest.raises(RemoteError, match="looks like a secret") as raised:
            await answer(engine(server.url), at_secret)
    assert not server.calls and not raised.value.sent


async def test_a_mark_that_stands_in_the_text_already_is_not_taken_for_the_place():
    pieces = (Piece("text", "s = '<<<here>>>'\nx ="), Piece("fim_suf"), Piece("fim_mid"))
    async with scripted(saying(" 1")) as server:
        await answer(engine(server.url, api="chat"), Prompt(pieces, n_predict=8))
    content = server.calls[0].body["messages"][0]["content"]
    assert content.count("<<<<here>>>>") == 2 and "'<<<here>>>'" in content


# -- budgets ---------------------------------------------------------------------------------------


async def test_what_was_used_is_paid_and_what_was_only_reserved_is_given_back():
    purse = Purse()
    priced = {"prompt_price": 2.0, "answer_price": 10.0}
    async with scripted(saying("a", "b")) as server:
        _, used = await answer(engine(server.url, purse, api="chat", **priced), HOLE)
    assert used.money == pytest.approx((100 * 2 + 2 * 10) / 1e6)
    assert (purse.tokens, purse.money) == (102, pytest.approx(used.money))


@pytest.mark.parametrize(
    ("limits", "purse", "said"),
    [
        ({"request_tokens": 20}, Purse(), "request_tokens"),
        ({"day_tokens": 1000}, Purse(tokens=990), "990 of the day's 1,000 tokens"),
        ({"day_money": 1.0, "answer_price": 5.0}, Purse(money=1.0), "1.00 of the day's 1.00"),
    ],
)
async def test_a_budget_that_would_be_overdrawn_sends_nothing_and_says_which(limits, purse, said):
    async with scripted(saying("x")) as server:
        with pytest.raises(RemoteError, match=said):
            await answer(engine(server.url, purse, **limits), HOLE)
    assert not server.calls


async def test_nothing_is_sent_where_it_is_not_known_what_was_spent():
    class Lost(Purse):
        def spent_today(self):
            raise LedgerError("the disk is full")

    async with scripted(saying("x")) as server:
        assert "is not known" in await engine(server.url, Lost()).unavailable()
        with pytest.raises(RemoteError, match="the disk is full"):
            await answer(engine(server.url, Lost()), HOLE)
    assert not server.calls


# -- servers that fail -----------------------------------------------------------------------------


async def fault(script, said: str, tls: ssl.SSLContext | None = None, **options) -> RemoteError:
    """Ask a server; return the error, which says `said` and nothing of the key."""
    async with scripted(script, tls) as server:
        url = server.url.replace("http:", "https:") if tls else server.url
        with pytest.raises(RemoteError, match=said) as raised:
            async with asyncio.timeout(15):
                await answer(engine(url, api="chat", **options), HOLE)
    assert KEY not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    "told",
    [
        b"<html>It works!</html>",
        b"data: {not json}\n\n",
        event({"choices": "none"}),
        event([1, 2]),
        event({"choices": [{"delta": {"content": 7}}]}),
        event("\x00" * 50),
    ],
)
async def test_garbage_is_no_answer(told):
    async def script(_call, writer):
        writer.write(head() + told)
        writer.close()

    async with scripted(script) as server:
        remote = engine(server.url, api="chat")
        with suppress(RemoteError):
            texts, _ = await answer(remote, HOLE)
            assert texts == [""]  # what is no event at all is an empty answer


async def test_a_byte_a_second_ends_with_the_timeout():
    async def script(_call, writer):
        writer.write(head())
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"d")
                await writer.drain()
                await asyncio.sleep(0.05)

    error = await fault(script, "did not answer within 1 s", timeout_s=1.0)
    assert len(error.sent) == 1  # it had arrived, and is told


async def test_an_endless_answer_ends_with_its_size():
    async def script(_call, writer):
        writer.write(head())
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b": " + b"x" * 65536)
                await writer.drain()

    await fault(script, f"sent more than {MOST_BYTES / 1e6:.0f} MB")


async def test_a_packed_answer_is_refused_before_it_is_unpacked():
    async def script(_call, writer):
        writer.write(head(content_encoding="gzip") + b"\x1f\x8b")
        writer.close()

    await fault(script, "packed its answer")


async def test_a_redirection_is_not_followed_and_the_key_stays_here():
    async with scripted(saying("x")) as other:

        async def script(_call, writer):
            writer.write(head(307, location=f"{other.url}/chat/completions"))
            writer.close()

        await fault(script, "wants to be asked at 127.0.0.1, which is not followed")
    assert not other.calls


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "does not accept the key"), (429, "quota"), (500, "it failed"), (404, "no such model")],
)
async def test_a_refusal_is_told_by_its_meaning_and_not_in_the_servers_words(status, said):
    async def script(_call, writer):
        writer.write(head(status, "application/json") + b'{"error": {"message": "' + KEY.encode())
        writer.write(b'"}}')
        writer.close()

    await fault(script, said)


async def test_one_request_is_tried_once_more_and_no_more():
    calls = 0

    async def script(_call, writer):
        nonlocal calls
        calls += 1
        writer.write(head(503, "application/json") + b"{}")
        writer.close()

    await fault(script, "status 503")
    assert calls == 2


async def test_a_server_that_is_not_there_was_sent_nothing():
    async with scripted(saying("x")) as server:
        pass
    with pytest.raises(RemoteError, match="cannot be reached") as raised:
        await answer(engine(server.url), HOLE)
    assert raised.value.sent == ()


async def test_an_expired_certificate_is_refused_before_anything_is_sent(tmp_path):
    error = await fault(saying("x"), "certificate", expired(tmp_path))
    assert error.sent == ()


def expired(folder) -> ssl.SSLContext:
    """Return the context of a server whose certificate ended yesterday."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now - datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_ending_a_request_closes_its_stream():
    async def script(_call, writer):
        writer.write(head() + piece("```\n second") + piece(" line of an answer"))
        await writer.drain()
        await asyncio.wait_for(_call.gone.wait(), 10)

    async with scripted(script) as server:
        remote = engine(server.url, api="chat")
        stream = remote.generate([replace(HOLE, stop=())])
        assert (await anext(stream)).text
        await stream.aclose()
        async with asyncio.timeout(5):
            await server.calls[0].gone.wait()
        await remote.close()


# -- leaving a server alone ------------------------------------------------------------------------


def test_a_server_that_fails_several_times_in_a_row_is_left_alone_for_longer_each_time():
    breaker, pauses = Breaker(), []
    for _ in range(FAILURES + 5):
        breaker.note(1000.0, failed=True)
        pauses.append(breaker.pause_s(1000.0))
    assert pauses == [0.0] * (FAILURES - 1) + [60.0, 120.0, 240.0, 480.0, 900.0, 900.0]
    assert breaker.pause_s(1900.0) == 0.0  # it may be tried once
    breaker.note(1900.0, failed=False)
    breaker.note(1901.0, failed=True)
    assert breaker.pause_s(1901.0) == 0.0


async def test_after_failures_the_engine_says_so_until_it_is_asked_again():
    async def script(_call, writer):
        writer.write(head(500, "application/json") + b"{}")
        writer.close()

    async with scripted(script) as server:
        remote = engine(server.url, api="chat")
        for _ in range(FAILURES):
            assert await remote.unavailable() == ""
            with pytest.raises(RemoteError):
                await collect(remote.generate([HOLE]), 1)
        assert "left alone for 60 s" in await remote.unavailable()
        await remote.close()


# -- the address -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "models.example"}, "no address"),
        ({"url": "ftp://models.example"}, "no address"),
        ({"url": "https://me:secret@models.example/v1"}, "holds a password"),
        ({"url": "http://models.example/v1"}, "anybody on the way"),
        ({"url": "http://models.example/v1", "mine": True}, ""),
        ({"url": "http://127.0.0.1:8080/v1"}, ""),
        ({"url": "http://[::1]:8080/v1"}, ""),
        ({"url": "http://localhost:8080/v1"}, ""),
        ({"url": "https://models.example/v1"}, ""),
    ],
)
def test_an_address_that_would_give_something_away_is_a_fault(options, said):
    fault = RemoteOptions(**options).fault()
    assert said in fault and bool(said) == bool(fault)
    assert "secret" not in fault and "secret" not in RemoteOptions(**options).host


async def test_usage_without_figures_is_estimated_and_never_below_what_was_read():
    async def script(_call, writer):
        writer.write(head() + piece("x") + piece("y") + b"data: [DONE]\n\n")
        writer.close()

    async with scripted(script) as server:
        _, used = await answer(engine(server.url, api="chat"), HOLE)
    assert used.new_tokens == 2 and used.prompt_tokens >= used.sent[0].chars / 4
