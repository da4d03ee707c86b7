"""Completions that survive typing through them."""

from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.cache import Cached, CompletionCache
from tests.marked import place


def test_typing_through_a_suggestion_finds_the_rest_of_it() -> None:
    cache = CompletionCache()
    cache.put(place("x = ║\n"), "foo(bar)", "id")
    assert cache.get(place("x = foo(║\n")) == Cached("bar)", "id")


def test_going_back_finds_the_whole_suggestion_again() -> None:
    cache = CompletionCache()
    cache.put(place("x = ║\n"), "foo", "id")
    cache.get(place("x = fo║\n"))
    assert cache.get(place("x = ║\n")) == Cached("foo", "id")


def test_typing_something_else_finds_nothing() -> None:
    cache = CompletionCache()
    cache.put(place("x = ║\n"), "foo", "id")
    assert cache.get(place("x = fa║\n")) is None


def test_a_suggestion_typed_to_its_end_is_over() -> None:
    cache = CompletionCache()
    cache.put(place("x = ║\n"), "foo", "id")
    assert cache.get(place("x = foo║\n")) is None


def test_a_change_behind_the_cursor_or_in_another_file_finds_nothing() -> None:
    cache = CompletionCache()
    cache.put(place("x = ║\n"), "foo", "id")
    assert cache.get(place("x = ║)\n")) is None
    assert cache.get(place("x = ║\n", uri="file:///b.py")) is None


def test_a_better_answer_takes_the_place_of_the_first() -> None:
    cache = CompletionCache()
    cache.put(place("x = ║\n"), "foo", "id")
    cache.put(place("x = ║\n"), "bar", "id")
    assert cache.get(place("x = b║\n")) == Cached("ar", "id")


def test_the_least_recently_used_is_forgotten_first() -> None:
    cache = CompletionCache(size=2)
    for name in ("a", "b"):
        cache.put(place(f"{name} = ║"), "text", name)
    cache.get(place("a = ║"))
    cache.put(place("c = ║"), "text", "c")
    assert cache.get(place("a = ║")) is not None
    assert cache.get(place("b = ║")) is None


@given(st.text(min_size=1, max_size=40), st.text(max_size=40), st.data())
def test_what_is_found_always_completes_what_was_suggested(
    text: str, before: str, data: st.DataObject
) -> None:
    if "║" in before + text:
        return
    cache = CompletionCache()
    cache.put(place(before + "║"), text, "id")
    typed = text[: data.draw(st.integers(0, len(text) - 1))]
    found = cache.get(place(before + typed + "║"))
    assert found is not None
    assert (before + typed + found.text).endswith(text)
