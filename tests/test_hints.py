"""What tests have said of a function, as an editor shows it: on real records of scripted models."""

from dataclasses import replace

import pytest
from lsprotocol import types

from cascade_lsp import hints
from cascade_lsp.documents import EditorDocument
from cascade_lsp.ledger import TestRun
from cascade_lsp.sandbox import SandboxOptions, make_sandbox
from tests.marked import place
from tests.test_cascade import EXAMPLE, RIGHT, WRONG, cascade_of, model

BEFORE, BEHIND = "import os\n\n\n", "\n\ny = 2\n"
MARKED = BEFORE + EXAMPLE.rstrip() + BEHIND
STUB = place(MARKED)
TAKEN, BETTER = "return n + 2", "return n * 2"
HEAD = types.Range(types.Position(3, 0), types.Position(3, 26))
ANYWHERE = types.Range(types.Position(0, 0), types.Position(99, 0))


@pytest.fixture
async def judge():
    """Verify a draft that is wrong, behind which a larger model may be right."""
    sandbox = make_sandbox(SandboxOptions())

    async def verify(line=TAKEN, large=RIGHT, context=STUB):
        small = model(WRONG, line=f"    {line}\n")
        cascade = cascade_of(small, model(large), sandbox)
        return await cascade.verify(context, await cascade.draft(context))

    yield verify
    await sandbox.close()


def document(text, version=7):
    return EditorDocument("file:///a.py", text, version, "python")


async def of_taken(judge, **how):
    """Return the verdict on the draft that was shown and taken."""
    found = hints.verdicts(await judge(**how), STUB)
    (taken,) = [one for one in found if one.attempt.text == how.get("line", TAKEN)]
    return taken


async def test_a_function_that_fails_after_it_was_taken_has_a_faint_mark_on_its_head(judge):
    verdict = await of_taken(judge)
    mark = hints.diagnostic(verdict, document(STUB.completed(TAKEN)))
    assert (mark.range, mark.source) == (HEAD, "cascade")
    assert mark.severity == types.DiagnosticSeverity.Hint
    assert mark.message.startswith("Escalated: the small model's answer was not accepted")
    assert "\n" not in mark.message
    assert mark.code == verdict.record.id


async def test_the_version_that_passed_has_no_mark(judge):
    found = hints.verdicts(await judge(), STUB)
    (better,) = [one for one in found if one.attempt.text == BETTER]
    assert hints.diagnostic(better, document(STUB.completed(BETTER))) is None
    assert list(hints.actions(better, document(STUB.completed(BETTER)), ANYWHERE)) == []


async def test_the_verified_version_takes_its_place_in_this_version_of_the_document(judge):
    now = document(STUB.completed(TAKEN))
    replacing, explaining = hints.actions(await of_taken(judge), now, ANYWHERE)
    assert replacing.title == "Replace with the verified version"
    (change,) = replacing.edit.document_changes
    assert (change.text_document.uri, change.text_document.version) == (now.uri, 7)
    (edit,) = change.edits
    line = now.source.count("\n", 0, STUB.offset)
    span = types.Range(types.Position(line, 4), types.Position(line, 4 + len(TAKEN)))
    assert (edit.range, edit.new_text) == (span, BETTER)
    assert explaining.title == "Explain"
    assert explaining.command.command == "cascade.explainEscalation"


async def test_where_no_model_did_better_it_is_only_explained(judge):
    verdict = await of_taken(judge, large=WRONG)
    (only,) = hints.actions(verdict, document(STUB.completed(TAKEN)), ANYWHERE)
    assert only.title == "Explain"


async def test_away_from_the_function_nothing_is_offered(judge):
    elsewhere = types.Range(types.Position(0, 0), types.Position(1, 0))
    now = document(STUB.completed(TAKEN))
    assert list(hints.actions(await of_taken(judge), now, elsewhere)) == []


EDITS = [
    # what the user does to the document, and whether the mark stays
    ("nothing", lambda text: text, True),
    ("adds a line above", lambda text: "import re\n" + text, True),
    ("adds a function behind it", lambda text: text + "\n\ndef g():\n    pass\n", True),
    ("has line ends of Windows", lambda text: text.replace("\n", "\r\n"), True),
    ("changes its body", lambda text: text.replace("n + 2", "n + 3"), False),
    ("changes its examples", lambda text: text.replace("double(4)", "double(5)"), False),
    ("renames it", lambda text: text.replace("double", "twice"), False),
    ("writes on in it", lambda text: text.replace(TAKEN, TAKEN + "\n    print(n)"), False),
    ("writes on behind its last line", lambda text: text.replace(TAKEN, TAKEN + "2"), False),
    ("indents it", lambda text: text.replace("def d", "    def d"), False),
    ("removes it", lambda text: BEFORE, False),
    ("copies it", lambda text: text + text, False),
]


@pytest.mark.parametrize(("what", "edit", "stays"), EDITS, ids=[what for what, *_ in EDITS])
async def test_a_mark_stays_until_the_function_itself_is_edited(judge, what, edit, stays):
    verdict = await of_taken(judge)
    now = document(edit(STUB.completed(TAKEN)))
    mark = hints.diagnostic(verdict, now)
    assert (mark is not None) is stays
    assert bool(list(hints.actions(verdict, now, ANYWHERE))) is stays
    if mark:
        assert now.lines[mark.range.start.line].startswith("def double")


async def test_what_was_not_tested_is_no_verdict(judge):
    record = await judge()
    untested = [replace(attempt, tests=()) for attempt in record.attempts]
    assert hints.verdicts(replace(record, attempts=tuple(untested)), STUB) == ()


LENSES = [
    (["passed"] * 4, "4 of 4 tests passed"),
    (["passed", "assert_failed", "inconclusive"], "1 of 2 tests passed"),
    (["error"], "0 of 1 test passed"),
]


@pytest.mark.parametrize(("outcomes", "title"), LENSES)
async def test_a_line_above_a_function_counts_the_tests_that_say_something(judge, outcomes, title):
    verdict = await of_taken(judge)
    tests = tuple(TestRun("assert f()", "small", False, True, one) for one in outcomes)
    counted = replace(verdict, attempt=replace(verdict.attempt, tests=tests))
    shown = hints.lens(counted, document(STUB.completed(TAKEN)))
    assert (shown.range, shown.command.title) == (HEAD, title)
    assert shown.command.arguments == [verdict.record.id]
    assert hints.lens(counted, document("x = 1\n")) is None


async def test_a_function_of_javascript_is_marked_up_to_its_last_bracket(judge):
    stub = place("/** Twice. */\nfunction double(n) {\n  ║\n}\n\nlet x;\n", "javascript")
    record = await judge()
    first = replace(record.attempts[0], text="return n + 2;")
    (verdict,) = hints.verdicts(replace(record, attempts=(first,), chosen=0), stub)
    now = stub.completed(first.text)
    mark = hints.diagnostic(verdict, document(now))
    assert mark.range == types.Range(types.Position(1, 0), types.Position(1, 20))
    assert hints.diagnostic(verdict, document(now + "let y;\n")) == mark
    assert hints.diagnostic(verdict, document(now.replace("2;", "2;\n  n;"))) is None
