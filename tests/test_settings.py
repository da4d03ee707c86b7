import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.settings import Settings, document, parse

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
GROUPS = {
    entry.name: [leaf.name for leaf in dataclasses.fields(entry.default_factory)]
    for entry in dataclasses.fields(Settings)
    if entry.default_factory is not dataclasses.MISSING
}
NAMES = ["enabled", "max_file_kb", "disabled_languages", *GROUPS, "cascade"]
LEAVES = [leaf for group in GROUPS.values() for leaf in group]
TREES = st.dictionaries(
    st.sampled_from(NAMES) | st.text(max_size=5),
    JSON | st.dictionaries(st.sampled_from(LEAVES) | st.text(max_size=5), JSON),
)


@given(JSON | TREES)
def test_no_json_value_stops_the_server(raw):
    settings, faults = parse(raw)
    assert isinstance(settings, Settings)
    assert all(fault.endswith(".") for fault in faults)
    assert settings == Settings() or raw


@given(TREES)
def test_what_was_read_once_is_read_again_without_a_fault(raw):
    settings, _ = parse(raw)
    tree = dataclasses.asdict(settings)
    assert parse(tree) == (settings, [])


def test_nothing_given_means_the_defaults_and_no_fault():
    assert parse(None) == parse({}) == parse({"cascade": None}) == (Settings(), [])


def test_the_tree_may_come_bare_or_under_its_section():
    bare = {"engine": {"threads": 3}}
    assert parse(bare) == parse({"cascade": bare, "python": {"engine": 1}})
    assert parse(bare)[0].engine.threads == 3


def test_what_is_right_is_kept_beside_a_wrong_sibling():
    raw = {"enabled": "yes", "engine": {"threads": "many", "gpu_layers": 0}, "sandbox": [1]}
    settings, faults = parse(raw)
    assert settings == Settings(engine=dataclasses.replace(Settings().engine, gpu_layers=0))
    assert faults == [
        'cascade.enabled is "yes", but must be true or false; true is used.',
        'cascade.engine.threads is "many", but must be a whole number, at least 0; 0 is used.',
        "cascade.sandbox is [1], but must be a group of settings; it is ignored.",
    ]


@pytest.mark.parametrize(
    "raw",
    [
        {"engine": {"threads": True}},
        {"engine": {"threads": 1.5}},
        {"engine": {"threads": "4"}},
        {"engine": {"threads": 10**400}},
        {"max_file_kb": -1},
        {"sandbox": {"time_s": float("nan")}},
        {"sandbox": {"time_s": float("inf")}},
        {"sandbox": {"execution": "sometimes"}},
        {"sandbox": {"execution": ["off"]}},
        {"ledger": {"source_text": 1}},
        {"models": {"small": ["a"]}},
        {"models": {"small": 7}},
    ],
)
def test_a_value_is_not_bent_to_fit(raw):
    settings, faults = parse(raw)
    assert settings == Settings()
    assert len(faults) == 1


def test_a_whole_number_will_do_for_a_fraction():
    assert parse({"sandbox": {"time_s": 3}})[0].sandbox.time_s == 3


def test_an_unknown_name_is_reported_with_what_may_be_meant():
    _, faults = parse({"engine": {"gpuLayers": 0}, "colour": 1})
    assert faults == [
        "cascade.colour is not a setting and is ignored.",
        "cascade.engine.gpuLayers is not a setting and is ignored; "
        "cascade.engine.gpu_layers may be meant.",
    ]


def test_a_huge_wrong_value_makes_a_short_sentence():
    _, faults = parse({"enabled": "x" * 10_000, "models": {"small": [[0] * 10_000]}})
    assert all(len(fault) < 200 for fault in faults)


def test_every_setting_says_what_it_is_for():
    for line in document().splitlines():
        if line.startswith("| `"):
            assert line.rstrip("|").split("|")[-1].strip().endswith("."), line


def test_the_documentation_is_the_one_generated():
    assert DOCS.read_text("utf-8") == document()


def test_a_plan_that_does_not_exist_is_replaced_by_the_default():
    settings, faults = parse({"completion": {"plan": "enormous"}})
    assert settings.completion.plan == "default"
    assert faults == [
        'cascade.completion.plan is "enormous", but must be one of default, paper, small, large, '
        'mine; "default" is used.'
    ]
