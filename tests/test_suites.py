"""Which tests of a project are tests of a function is read from their text, as Python would
resolve it, and nothing is run."""

import os
import time
from pathlib import Path

import pytest

from cascade_lsp.suites import MOST_TESTS, Finder, Found, OwnTest, path_of, project_root

SUMS = "def double(n):\n    return None\n"
TEST = "def test_it():\n    assert double(3) == 6\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def find(root: Path, files: dict[str, str], document: str = "shop/sums.py") -> Found:
    write(root, {document: SUMS, **files})
    return Finder(root).find((root / document).as_uri(), "double")


def named(found: Found) -> list[str]:
    return [test.text for test in found.tests]


# -- layouts --------------------------------------------------------------------------------------

LAYOUTS = {
    "flat": ({"shop/__init__.py": ""}, "shop/sums.py", "shop.sums", "tests/test_a.py"),
    "namespace": ({}, "shop/sums.py", "shop.sums", "tests/test_a.py"),
    "src": ({"src/shop/__init__.py": ""}, "src/shop/sums.py", "shop.sums", "tests/test_a.py"),
    "src, by its path": ({}, "src/shop/sums.py", "src.shop.sums", "tests/test_a.py"),
    "module": ({}, "sums.py", "sums", "tests/test_a.py"),
    "beside": ({}, "lib/sums.py", "sums", "lib/sums_test.py"),
    "package": ({}, "shop/__init__.py", "shop", "tests/test_a.py"),
    "conftest": ({"lib/conftest.py": ""}, "lib/sums.py", "sums", "lib/tests/test_a.py"),
    "configured": (
        {"pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['lib']\n"},
        "lib/sums.py",
        "sums",
        "tests/test_a.py",
    ),
    "installed as it lies": (
        {"server/shop/__init__.py": ""},
        "server/shop/sums.py",
        "shop.sums",
        "tests/test_a.py",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_document_is_found_by_the_name_that_its_tests_import(tmp_path: Path, layout: str) -> None:
    files, document, module, test = LAYOUTS[layout]
    found = find(tmp_path, {**files, test: f"from {module} import double\n{TEST}"}, document)
    assert found.tests == (OwnTest(test, "test_it", module),)


SHADOWED = {
    "of the standard library": ({}, "scripts/json.py", "json"),
    "of an installed package": (
        {".venv/lib/python3.12/site-packages/yaml/__init__.py": ""},
        "scripts/yaml.py",
        "yaml",
    ),
    "of a module nearer to the test": ({"tests/sums.py": SUMS}, "lib/sums.py", "sums"),
    "of another module of the project": ({"other/sums.py": SUMS}, "lib/sums.py", "sums"),
}


@pytest.mark.parametrize("case", SHADOWED)
def test_a_name_that_is_that_of_something_else_is_not_the_documents(
    tmp_path: Path, case: str
) -> None:
    files, document, module = SHADOWED[case]
    text = f"from {module} import double\n{TEST}"
    assert find(tmp_path, {**files, "tests/test_a.py": text}, document) == Found()


def test_of_two_projects_in_a_folder_each_has_its_own_tests(tmp_path: Path) -> None:
    text = f"from app.sums import double\n{TEST}"
    files = {
        f"{one}/{name}": content
        for one in ("a", "b")
        for name, content in {
            "pyproject.toml": "",
            "app/__init__.py": "",
            "app/sums.py": SUMS,
            "tests/test_a.py": text,
        }.items()
    }
    assert named(find(tmp_path, files, "b/app/sums.py")) == ["b/tests/test_a.py::test_it"]


# -- imports and uses -----------------------------------------------------------------------------

USES = {
    "the name": f"from shop.sums import double\n{TEST}",
    "another name": "from shop.sums import double as d\ndef test_it():\n    assert d(3) == 6\n",
    "the module": "import shop.sums\ndef test_it():\n    assert shop.sums.double(3) == 6\n",
    "the module by another name": (
        "import shop.sums as s\ndef test_it():\n    assert s.double(3) == 6\n"
    ),
    "the module of a package": "from shop import sums\ndef test_it():\n    sums.double(3)\n",
    "everything": f"from shop.sums import *\n{TEST}",
    "inside the test": (
        "def test_it():\n    from shop.sums import double\n    assert double(3) == 6\n"
    ),
    "if it can": (
        f"try:\n    from shop.sums import double\nexcept ImportError:\n    double = None\n{TEST}"
    ),
    "a helper": (
        "from shop.sums import double\ndef check(n):\n    assert double(n)\n"
        "def test_it():\n    check(3)\n"
    ),
    "a fixture": (
        "import pytest\nfrom shop.sums import double\n@pytest.fixture\ndef six():\n"
        "    return double(3)\ndef test_it(six):\n    assert six == 6\n"
    ),
    "a decorator": (
        "import pytest\nfrom shop.sums import double\n@pytest.mark.parametrize('f', [double])\n"
        "def test_it(f):\n    assert f(3) == 6\n"
    ),
    "a table": (
        "from shop.sums import double\nCASES = {double: 6}\n"
        "def test_it():\n    assert all(f(3) == n for f, n in CASES.items())\n"
    ),
    "in a coroutine": (
        "from shop.sums import double\nasync def test_it():\n    assert double(3) == 6\n"
    ),
}


@pytest.mark.parametrize("use", USES)
def test_a_test_uses_the_function_in_many_ways(tmp_path: Path, use: str) -> None:
    files = {"shop/__init__.py": "", "tests/test_a.py": USES[use]}
    assert named(find(tmp_path, files)) == ["tests/test_a.py::test_it"]


OTHER_USES = {
    "another function": "from shop.sums import triple as double\n" + TEST,
    "another module": "from shop.other import double\n" + TEST,
    "its own": "import shop.sums\ndef double(n):\n    return 2 * n\n" + TEST,
    "a parameter": "from shop.sums import double\ndef test_it(double):\n    assert double(3)\n",
    "a local name": (
        "from shop.sums import double\ndef test_it():\n    double = str\n    assert double(3)\n"
    ),
    "no test": "from shop.sums import double\ndef check_it():\n    assert double(3) == 6\n",
    "a text": "import shop.sums\ndef test_it():\n    assert 'double' in 'shop.sums.double'\n",
    "broken": "from shop.sums import double\ndef test_it(:\n",
}


@pytest.mark.parametrize("use", OTHER_USES)
def test_what_does_not_use_the_function_is_none_of_its_tests(tmp_path: Path, use: str) -> None:
    files = {"shop/__init__.py": "", "tests/test_a.py": OTHER_USES[use]}
    assert find(tmp_path, files) == Found()


@pytest.mark.parametrize("passed_on", ["from .sums import double", "from shop.sums import *"])
def test_a_package_that_passes_the_function_on_is_another_way_to_it(
    tmp_path: Path, passed_on: str
) -> None:
    files = {"shop/__init__.py": passed_on, "tests/test_a.py": f"from shop import double\n{TEST}"}
    assert find(tmp_path, files).tests == (OwnTest("tests/test_a.py", "test_it", "shop.sums"),)
    files["shop/__init__.py"] = "double = str"
    assert find(tmp_path, files) == Found()


def test_tests_inside_the_package_import_relatively(tmp_path: Path) -> None:
    files = {
        "shop/__init__.py": "",
        "shop/tests/__init__.py": "",
        "shop/tests/test_a.py": f"from ..sums import double\n{TEST}",
        "shop/tests/test_b.py": f"from ...sums import double\n{TEST}",
    }
    assert named(find(tmp_path, files)) == ["shop/tests/test_a.py::test_it"]


def test_classes_of_unittest_and_of_pytest_are_read_with_their_set_up(tmp_path: Path) -> None:
    text = """\
import unittest
from unittest import TestCase
from shop.sums import double

class Base(unittest.TestCase):
    def three(self):
        return 3

class Direct(TestCase):
    def test_one(self):
        self.assertEqual(double(3), 6)
    def test_other(self):
        self.assertEqual(3, 3)

class ThroughHelper(Base):
    def check(self, n):
        self.assertEqual(double(n), 6)
    def test_two(self):
        self.check(self.three())

class InSetUp(Base):
    def setUp(self):
        self.six = double(3)
    def test_three(self):
        self.assertEqual(self.six, 6)

class TestPlain:
    def test_four(self):
        assert double(3) == 6

class NoTests:
    def test_five(self):
        assert double(3) == 6
"""
    found = find(tmp_path, {"shop/__init__.py": "", "tests/test_a.py": text})
    assert [test.name for test in found.tests] == [
        "Direct.test_one",
        "ThroughHelper.test_two",
        "InSetUp.test_three",
        "TestPlain.test_four",
    ]
    assert found.tests[0].text == "tests/test_a.py::Direct::test_one"


# -- where it looks, and how far ------------------------------------------------------------------

USING = f"from shop.sums import double\n{TEST}"


def test_folders_that_hold_no_sources_of_the_project_are_not_looked_into(tmp_path: Path) -> None:
    folders = (
        ".venv", ".hidden", "node_modules", "build", "dist", "a/site-packages", "x.egg-info",
    )  # fmt: skip
    files = {f"{folder}/test_a.py": USING for folder in folders}
    files |= {"mine/pyvenv.cfg": "", "mine/test_a.py": USING, "tests/other.py": USING}
    assert find(tmp_path, files) == Found()


def test_the_nearest_tests_come_first_and_their_number_is_bounded(tmp_path: Path) -> None:
    many = "".join(f"def test_{n}():\n    double({n})\n" for n in range(MOST_TESTS))
    files = {
        "shop/__init__.py": "",
        "a/test_other.py": f"from shop.sums import double\n{many}",
        "shop/test_near.py": USING,
        "tests/test_sums.py": USING,
    }
    found = find(tmp_path, files)
    assert len(found.tests) == MOST_TESTS
    assert named(found)[:2] == ["tests/test_sums.py::test_it", "shop/test_near.py::test_it"]
    assert found.left_out == {"over_the_limit": 2}


def test_out_of_time_what_was_not_read_is_counted(tmp_path: Path) -> None:
    write(tmp_path, {"shop/sums.py": SUMS, "tests/test_a.py": USING})
    found = Finder(tmp_path).find((tmp_path / "shop/sums.py").as_uri(), "double", within_s=0)
    assert found.tests == ()
    assert found.left_out["files_not_read"] > 0


def test_links_and_large_files_are_left_alone(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"test_a.py": USING})
    root = write(tmp_path / "root", {"shop/__init__.py": "", "tests/test_b.py": USING * 10_000})
    (root / "tests" / "test_a.py").symlink_to(outside / "test_a.py")
    (root / "more").symlink_to(outside)
    assert find(root, {}) == Found()


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, {"shop/__init__.py": "", "shop/sums.py": SUMS, "tests/test_a.py": USING})
    finder, uri = Finder(tmp_path), (tmp_path / "shop/sums.py").as_uri()
    assert len(finder.find(uri, "double").tests) == 1
    more = USING + "def test_more():\n    double(1)\n"
    (tmp_path / "tests/test_a.py").write_text(more)
    assert [test.name for test in finder.find(uri, "double").tests] == ["test_it", "test_more"]
    (tmp_path / "tests/test_a.py").unlink()
    assert finder.find(uri, "double") == Found()


def test_what_was_read_once_is_found_fast(tmp_path: Path) -> None:
    text = USING + "".join(f"def test_{n}():\n    other({n})\n" for n in range(300))
    write(tmp_path, {"shop/__init__.py": "", "shop/sums.py": SUMS})
    write(tmp_path, {f"tests/t{n}/test_a.py": text for n in range(60)})
    finder, uri = Finder(tmp_path), (tmp_path / "shop/sums.py").as_uri()
    finder.find(uri, "double", within_s=60)
    started = time.perf_counter()
    finder.find(uri, "double", within_s=60)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("uri", ["untitled:Untitled-1", "demo:a.py", "file:///nowhere/a.py", ""])
def test_a_document_outside_the_project_has_no_tests(tmp_path: Path, uri: str) -> None:
    assert Finder(tmp_path).find(uri, "double") == Found()


def test_a_folder_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    files = {"shop/__init__.py": "", "tests/test_a.py": USING, "locked/test_b.py": USING}
    write(tmp_path, files)
    os.chmod(tmp_path / "locked", 0)  # noqa: PTH101
    try:
        assert "tests/test_a.py::test_it" in named(find(tmp_path, {}))
    finally:
        os.chmod(tmp_path / "locked", 0o700)  # noqa: PTH101


# -- places ---------------------------------------------------------------------------------------


def test_the_project_of_a_file_is_the_nearest_folder_that_configures_one(tmp_path: Path) -> None:
    write(tmp_path, {"a/pyproject.toml": "", "a/b/c.py": "", "d/e.py": ""})
    (tmp_path / ".git").mkdir()
    assert project_root(tmp_path / "a/b/c.py") == tmp_path / "a"
    assert project_root(tmp_path / "d/e.py") == tmp_path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b%20c/d%C3%A9.py", "/a/b c/dé.py"),
        ("file://localhost/a.py", "/a.py"),
        ("file:///c%3A/a.py", "c:/a.py"),
        ("untitled:a.py", None),
        ("file://server/share/a.py", None),
    ],
)
def test_a_uri_gives_its_path(uri: str, path: str | None) -> None:
    assert path_of(uri) == (Path(path) if path else None)
