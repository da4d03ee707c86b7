"""Which files' text may leave this machine: levels per glob, the most restrictive wins."""

import pytest

from cascade_lsp.privacy import LEVELS, PROJECT, verdict


@pytest.fixture
def own(tmp_path):
    """Return the user's policy file, not yet written."""
    return tmp_path / "config" / "privacy.toml"


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "work" / "shop"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "till.py").write_text("")
    return folder


def write(file, **levels):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{level} = {globs!r}\n" for level, globs in levels.items()))


@pytest.mark.parametrize("usual", LEVELS)
def test_without_a_policy_the_setting_holds(own, project, usual):
    assert verdict(project / "src" / "till.py", usual, own).level == usual


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"any": ["*.py"]}, "any"),
        ({"any": ["*.py"], "blocked": ["till.*"]}, "blocked"),
        ({"any": ["*.py"], "mine": ["work/"]}, "mine"),
        ({"mine": ["*.py"], "blocked": ["**/src/**"]}, "blocked"),
        ({"blocked": ["*.js"]}, "mine"),
        ({"blocked": ["*.py", "!till.py"]}, "mine"),
        ({}, "mine"),
    ],
)
def test_the_most_restrictive_level_that_names_a_file_wins(own, project, levels, expected):
    write(own, **levels)
    found = verdict(project / "src" / "till.py", "mine", own)
    assert found.level == expected
    named = any(expected == level for level in levels)
    assert found.why == (str(own) if named else "the setting cascade.remote.send")


def test_a_glob_of_a_whole_path_names_one_folder(own, project):
    write(own, any=[f"{project}/src/"])
    assert verdict(project / "src" / "till.py", "blocked", own).level == "any"
    assert verdict(project / "till.py", "blocked", own).level == "blocked"


@pytest.mark.parametrize("where", [".", "src", "..", "../.."])
def test_a_folder_around_a_file_can_only_restrict(own, project, where):
    file = project / "src" / "till.py"
    write(project / where / PROJECT, blocked=["till.py"])
    found = verdict(file, "any", own)
    assert found.level == "blocked" and PROJECT in found.why
    write(project / where / PROJECT, any=["*"])
    assert verdict(file, "blocked", own).level == "blocked"


@pytest.mark.parametrize(
    "text",
    [
        "any = [",
        'any = "*"\n',
        "any = [1]\n",
        'alle = ["*"]\n',
        '[any]\nglobs = ["*"]\n',
        "\x00\xff",
    ],
)
@pytest.mark.parametrize("whose", ["own", "project"])
def test_a_policy_that_cannot_be_read_blocks_everything(own, project, text, whose):
    broken = own if whose == "own" else project / PROJECT
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(text.encode("latin-1"))
    found = verdict(project / "src" / "till.py", "any", own)
    assert found.level == "blocked" and str(broken) in found.why


def test_a_policy_that_is_a_folder_blocks_everything(own, project):
    own.mkdir(parents=True)
    assert verdict(project / "src" / "till.py", "any", own).level == "blocked"


def test_a_link_has_the_most_restrictive_level_of_both_its_ends(own, project):
    secret = project / "secret" / "plan.py"
    secret.parent.mkdir()
    secret.write_text("")
    link = project / "src" / "open.py"
    link.symlink_to(secret)
    write(own, blocked=["secret/"], any=["src/"])
    assert verdict(link, "any", own).level == "blocked"
    assert verdict(project / "src" / "till.py", "any", own).level == "any"
