import pytest

from cascade_lsp.sandbox import dialect
from cascade_lsp.sandbox.labels import CHECK_FILE, SOURCE_FILE, Place, Raised, label

SOURCE, CHECK = dialect.Code("", raises=frozenset({(3, 9)})), dialect.Code("f()")
IN_CHECK = Place(CHECK_FILE, 1, 1, "<module>", "f()")


def raised(name: str, message: str = "", column: int = 1) -> Raised:
    return Raised(name, message, [IN_CHECK, Place(SOURCE_FILE, 3, column, "f", "return g()")])


@pytest.mark.parametrize(
    ("name", "message", "kind"),
    [
        ("ZeroDivisionError", "division by zero", "error"),
        ("RecursionError", "maximum recursion depth exceeded", "error"),
        ("NameError", "name 'g' is not defined", "error"),
        ("TimeoutError", "feed time limit exceeded: 1.0s > 1s", "timeout"),
        ("TimeoutError", "sleep limit exceeded: 5s > 50ms", "timeout"),
        ("MemoryError", "memory limit exceeded: 2 bytes > 1 bytes", "memory"),
        ("PermissionError", "Permission denied: '/etc/passwd'", "blocked_access"),
        ("RuntimeError", "'os.getenv' is not supported in this environment", "blocked_access"),
        ("NotImplementedError", "not supported", "inconclusive"),
        ("NameError", "name 'super' is not defined", "inconclusive"),
    ],
)
def test_what_the_interpreter_raises_is_told_apart(name: str, message: str, kind: str) -> None:
    assert label(raised(name, message), SOURCE, CHECK).kind == kind


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NotImplementedError", ""),
        ("PermissionError", "Permission denied: '/etc/passwd'"),
        ("MemoryError", "memory limit exceeded: 2 bytes > 1 bytes"),
        ("AssertionError", ""),
        ("SystemExit", ""),
        ("AttributeError", "module 'sys' has no attribute 'exit'"),
    ],
)
def test_what_the_program_itself_raises_is_its_own_error(name: str, message: str) -> None:
    outcome = label(raised(name, message, column=9), SOURCE, CHECK)
    assert (outcome.kind, outcome.detail) == ("error", "line 3, in f")


def test_an_unknown_name_in_the_check_is_the_checks_fault() -> None:
    missing = Raised("NameError", "name 'g' is not defined", [IN_CHECK])
    assert label(missing, SOURCE, CHECK).kind == "test_error"


def test_an_index_into_a_wrong_value_is_the_candidates_fault() -> None:
    wrong = Raised("TypeError", "'NoneType' object is not subscriptable", [IN_CHECK])
    assert label(wrong, SOURCE, CHECK).kind == "error"


def test_an_exception_on_a_delayed_line_is_no_evidence() -> None:
    source = dialect.Code("", delayed=frozenset({3}))
    assert label(raised("ZeroDivisionError"), source, CHECK).kind == "inconclusive"


def test_an_exception_from_nowhere_is_no_evidence() -> None:
    nowhere = Raised("RuntimeError", "Internal error in monty: one argument", [])
    assert label(nowhere, SOURCE, CHECK).kind == "inconclusive"


def test_a_scripts_own_assert_fails_and_one_further_in_is_an_error() -> None:
    own = Place(SOURCE_FILE, 2, 1, "<module>", "assert x == 1")
    inner = Place(SOURCE_FILE, 1, 1, "f", "assert x")
    assert label(Raised("AssertionError", "", [own]), SOURCE, None).kind == "assert_failed"
    assert label(Raised("AssertionError", "", [own, inner]), SOURCE, None).kind == "error"
