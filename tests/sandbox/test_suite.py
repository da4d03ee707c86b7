"""The user's own tests see the candidate, whatever their style, and blame falls where it belongs.

Each runs in a plain process of its own, on hand-written projects; that it does no harm there is
shown by the tests of the sandbox.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cascade_lsp.sandbox import suite

RUN = """\
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("suite", sys.argv[1])
suite = sys.modules["suite"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(suite)
told = suite.run(**json.load(sys.stdin))
print()
print(json.dumps(told))
"""
WITH_PYTEST, WITHOUT = ("-I", "-B"), ("-I", "-S", "-B")
BOTH = pytest.mark.parametrize("flags", [WITH_PYTEST, WITHOUT], ids=["pytest", "unittest"])

RIGHT = "def double(n):\n    return n * 2\n"
WRONG = "def double(n):\n    return n + 2\n"
STUB = "def double(n):\n    return None\n"
RAISES = "def double(n):\n    return {}[n]\n"


class Project:
    """A project on disk and the one test of it that is run."""

    def __init__(self, root: Path, files: dict[str, str], module: str = "shop.sums") -> None:
        self.root, self.module = root / "project", module
        self.scratch = root / "scratch"
        self.scratch.mkdir()
        for name, text in files.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def run(
        self,
        source: str,
        test: str = "tests/test_sums.py::test_double",
        flags: tuple[str, ...] = WITH_PYTEST,
        early: str = "",
    ) -> dict[str, str]:
        """Run a test; `early` is what its process does before."""
        path, _, name = test.partition("::")
        job = {"root": str(self.root), "module": self.module, "source": source}
        done = subprocess.run(
            [sys.executable, *flags, "-c", early + RUN, suite.__file__],
            cwd=self.scratch,
            input=json.dumps({**job, "path": path, "name": name}),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        told = json.loads(done.stdout.splitlines()[-1])
        assert isinstance(told, dict)
        return told

    def kinds(self, test: str, flags: tuple[str, ...] = WITH_PYTEST) -> list[str]:
        return [self.run(source, test, flags)["kind"] for source in (RIGHT, WRONG)]


TESTS = """\
import unittest

from shop.sums import double


def test_double():
    assert double(3) == 6


def test_uses_what_it_gives():
    assert double(3) + 1 == 7


def test_prints():
    print("all passed")
    assert double(3) == 6


class TestDouble(unittest.TestCase):
    def setUp(self):
        self.three = 3

    def test_double(self):
        self.assertEqual(double(self.three), 6)

    def test_parts(self):
        for n in (2, 3):
            with self.subTest(n=n):
                self.assertEqual(double(n), 2 * n)

    @unittest.skip("not today")
    def test_skipped(self):
        self.assertEqual(double(3), 6)

    @unittest.expectedFailure
    def test_known_to_fail(self):
        self.assertEqual(double(3), 7)


class TestPlain:
    def test_double(self):
        assert double(3) == 6


class TestBadSetUp(unittest.TestCase):
    def setUp(self):
        self.fail("nothing is ready")

    def test_double(self):
        self.assertEqual(double(3), 6)


class TestEarly(unittest.TestCase):
    def setUp(self):
        self.six = double(3)

    def test_double(self):
        self.assertEqual(self.six, 6)


class TestClassWide(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.six = 6

    def test_double(self):
        self.assertEqual(double(3), self.six)
"""
FLAT = {"shop/__init__.py": "", "shop/sums.py": STUB, "tests/test_sums.py": TESTS}


@BOTH
@pytest.mark.parametrize(
    "name",
    [
        "test_double",
        "test_uses_what_it_gives",
        "test_prints",
        "TestDouble.test_double",
        "TestDouble.test_parts",
        "TestPlain.test_double",
        "TestEarly.test_double",
        "TestClassWide.test_double",
    ],
)
def test_a_test_sees_the_candidate_and_not_the_file(
    tmp_path: Path, name: str, flags: tuple[str, ...]
) -> None:
    project = Project(tmp_path, FLAT)
    assert project.kinds(f"tests/test_sums.py::{name}", flags) == ["passed", "assert_failed"]


@BOTH
@pytest.mark.parametrize("name", ["test_double", "TestDouble.test_double", "TestEarly.test_double"])
def test_what_the_candidate_raises_is_its_error(
    tmp_path: Path, name: str, flags: tuple[str, ...]
) -> None:
    told = Project(tmp_path, FLAT).run(RAISES, f"tests/test_sums.py::{name}", flags)
    assert told == {"kind": "error", "seen": "KeyError: 3", "detail": "shop/sums.py:2 in double"}


@BOTH
def test_a_value_that_the_test_cannot_use_is_an_error(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    told = Project(tmp_path, FLAT).run(STUB, "tests/test_sums.py::test_uses_what_it_gives", flags)
    assert told["kind"] == "error"
    assert told["seen"].startswith("TypeError: unsupported operand")
    assert told["detail"] == "tests/test_sums.py:11 in test_uses_what_it_gives"


@BOTH
def test_a_failed_assertion_tells_what_was_seen_and_where(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    told = Project(tmp_path, FLAT).run(WRONG, "tests/test_sums.py::TestDouble.test_double", flags)
    assert told["seen"] == "AssertionError: 5 != 6"
    assert told["detail"] == "tests/test_sums.py:24 in test_double"


def test_pytest_tells_the_values_of_a_plain_assert(tmp_path: Path) -> None:
    assert Project(tmp_path, FLAT).run(WRONG)["seen"] == "assert 5 == 6"


@BOTH
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TestDouble.test_skipped", "inconclusive"),
        ("TestDouble.test_known_to_fail", "inconclusive"),
        ("TestBadSetUp.test_double", "test_error"),
        ("test_nowhere", "test_error"),
    ],
)
def test_what_is_not_the_candidates_doing_says_nothing(
    tmp_path: Path, name: str, kind: str, flags: tuple[str, ...]
) -> None:
    project = Project(tmp_path, FLAT)
    assert project.kinds(f"tests/test_sums.py::{name}", flags) == [kind, kind]


# -- blame ----------------------------------------------------------------------------------------

BLAME = """\
from shop.sums import double


def helper(n):
    assert n == 6


def test_helper():
    helper(double(3))


def test_file():
    assert open("/nowhere/at/all").read() == double(3)


def test_import():
    import a_module_that_is_not_there
    assert double(3) == 6


def test_wrong_name():
    assert duble(3) == 6


def test_called_back():
    assert double(3) == 6
"""


@BOTH
@pytest.mark.parametrize(
    ("name", "source", "kind"),
    [
        ("test_helper", WRONG, "assert_failed"),
        ("test_file", RIGHT, "inconclusive"),
        ("test_import", RIGHT, "inconclusive"),
        ("test_wrong_name", RIGHT, "test_error"),
        ("test_helper", "def double(n):\n    assert n == 2\n    return 4\n", "error"),
        ("test_helper", "def double(n):\n    return m\n", "error"),
        ("test_helper", "def double(n):\n    return open('/nowhere')\n", "inconclusive"),
        ("test_helper", "def double(n):\n    import nowhere\n", "inconclusive"),
        ("test_helper", "def double(n):\n    return double(n)\n", "error"),
        ("test_helper", "def double(n):\n    raise SystemExit(0)\n", "error"),
    ],
)
def test_blame_falls_where_the_exception_was_raised(
    tmp_path: Path, name: str, source: str, kind: str, flags: tuple[str, ...]
) -> None:
    project = Project(tmp_path, {**FLAT, "tests/test_sums.py": BLAME})
    assert project.run(source, f"tests/test_sums.py::{name}", flags)["kind"] == kind


@BOTH
@pytest.mark.parametrize(
    ("head", "source", "kind"),
    [
        ("import a_module_that_is_not_there\n", RIGHT, "test_error"),
        ("1 / 0\n", RIGHT, "test_error"),
        ("def broken(:\n", RIGHT, "test_error"),
        ("import shop.sums\nSIX = shop.sums.double(3)\n", RAISES, "error"),
        ("", "import a_module_that_is_not_there\n" + RIGHT, "test_error"),
        ("", "1 / 0\n" + RIGHT, "test_error"),
        ("", "def double(:\n", "test_error"),
    ],
)
def test_a_file_that_cannot_be_imported_blames_the_candidate_only_if_it_was_called(
    tmp_path: Path, head: str, source: str, kind: str, flags: tuple[str, ...]
) -> None:
    text = f"{head}from shop.sums import double\n\ndef test_double():\n    assert double(3) == 6\n"
    project = Project(tmp_path, {**FLAT, "tests/test_sums.py": text})
    assert project.run(source, flags=flags)["kind"] == kind


# -- what pytest offers ---------------------------------------------------------------------------

OFFERS = """\
import inspect

import pytest

import shop.sums
from shop.sums import double


@pytest.fixture
def three():
    return 3


@pytest.fixture
def six():
    return double(3)


@pytest.fixture
def broken():
    raise ValueError("no database")


@pytest.fixture
def asserting():
    assert False, "no database"


def test_fixture(three):
    assert double(three) == 6


def test_early(six):
    assert six == 6


def test_conftest(four):
    assert double(four) == 8


def test_broken(broken):
    assert double(3) == 6


def test_asserting(asserting):
    assert double(3) == 6


def test_unknown(nobody_has_this):
    assert double(3) == 6


@pytest.mark.parametrize("n", [1, 2, 3])
def test_cases(n):
    assert double(n) == 2 * n


@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.skip), 3])
def test_some_cases(n):
    assert double(n) == 2 * n


def test_files(tmp_path, capsys, monkeypatch, caplog):
    (tmp_path / "a").write_text(str(double(3)))
    print((tmp_path / "a").read_text())
    assert capsys.readouterr().out == "6\\n"


def test_raises():
    assert double(3) == 6
    with pytest.raises(TypeError):
        double(None)


def test_fails():
    if double(3) != 6:
        pytest.fail("not six")


def test_skips():
    pytest.skip("not today")


@pytest.mark.xfail
def test_expected():
    assert double(3) == 7


async def test_coroutine():
    assert double(3) == 6


def test_source():
    assert "n * 2" in inspect.getsource(double)


def test_names():
    assert shop.sums.__file__.endswith("sums.py")
    assert shop.sums.__name__ == double.__module__ == "shop.sums"
    assert double(3) == 6


def test_data():
    assert open("tests/data.txt").read() == f"{double(3)}\\n"


class TestGroup:
    def setup_method(self):
        self.three = 3

    def test_double(self):
        assert double(self.three) == 6
"""
OFFERED = {
    **FLAT,
    "tests/test_sums.py": OFFERS,
    "tests/data.txt": "6\n",
    "tests/conftest.py": "import pytest\n\n@pytest.fixture\ndef four():\n    return 4\n",
    "pyproject.toml": (
        "[tool.pytest.ini_options]\n"
        'addopts = "-n 4 --cov --strict-config --strict-markers -ra"\n'
        'asyncio_mode = "auto"\nminversion = "7"\nrequired_plugins = "pytest-nothing"\n'
        'filterwarnings = ["error", "error::no.Such"]\nlog_file = "x.log"\n'
    ),
}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("test_fixture", "passed", "assert_failed"),
        ("test_early", "passed", "assert_failed"),
        ("test_conftest", "passed", "assert_failed"),
        ("test_broken", "test_error", "test_error"),
        ("test_asserting", "test_error", "test_error"),
        ("test_unknown", "test_error", "test_error"),
        ("test_cases", "passed", "assert_failed"),
        ("test_some_cases", "passed", "assert_failed"),
        ("test_files", "passed", "assert_failed"),
        ("test_raises", "passed", "assert_failed"),
        ("test_fails", "passed", "assert_failed"),
        ("test_skips", "inconclusive", "inconclusive"),
        ("test_expected", "inconclusive", "inconclusive"),
        ("test_source", "passed", "assert_failed"),
        ("test_names", "passed", "assert_failed"),
        ("test_data", "passed", "assert_failed"),
        ("TestGroup.test_double", "passed", "assert_failed"),
    ],
)
def test_pytest_runs_a_test_with_what_it_asks_for(
    tmp_path: Path, name: str, right: str, wrong: str
) -> None:
    project = Project(tmp_path, OFFERED)
    assert project.kinds(f"tests/test_sums.py::{name}") == [right, wrong]


def test_a_coroutine_is_run_where_its_plugin_is_installed(tmp_path: Path) -> None:
    project = Project(tmp_path, OFFERED)
    assert project.kinds("tests/test_sums.py::test_coroutine") == ["passed", "assert_failed"]


def test_without_that_plugin_a_coroutine_is_no_evidence(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['pytest_asyncio'] = None\n"
    project = Project(tmp_path, OFFERED)
    told = project.run(WRONG, "tests/test_sums.py::test_coroutine", early=hide)
    assert told["kind"] == "inconclusive"


def test_a_fixture_that_the_candidate_breaks_is_its_error(tmp_path: Path) -> None:
    told = Project(tmp_path, OFFERED).run(RAISES, "tests/test_sums.py::test_early")
    assert (told["kind"], told["detail"]) == ("error", "shop/sums.py:2 in double")


def test_the_project_is_left_as_it_was(tmp_path: Path) -> None:
    project = Project(tmp_path, OFFERED)
    before = sorted(project.root.rglob("*"))
    project.run(RIGHT, "tests/test_sums.py::test_files")
    assert sorted(project.root.rglob("*")) == before
    assert any(project.scratch.rglob("a"))


def test_without_pytest_a_fixture_is_no_evidence(tmp_path: Path) -> None:
    files = {**FLAT, "tests/test_sums.py": TESTS + "\n\ndef test_fixture(three):\n    pass\n"}
    told = Project(tmp_path, files).run(WRONG, "tests/test_sums.py::test_fixture", WITHOUT)
    assert told["kind"] == "inconclusive"


# -- where modules come from ----------------------------------------------------------------------

ONE = "\n\ndef test_double():\n    assert double(3) == 6\n"
LAYOUTS = {
    "flat": ("shop.sums", {"shop/__init__.py": "", "shop/sums.py": STUB}, "shop.sums"),
    "namespace": ("shop.sums", {"shop/sums.py": STUB}, "shop.sums"),
    "src": ("shop.sums", {"src/shop/__init__.py": "", "src/shop/sums.py": STUB}, "shop.sums"),
    "module": ("sums", {"sums.py": STUB}, "sums"),
    "package": ("shop", {"shop/__init__.py": STUB, "shop/other.py": ""}, "shop"),
    "re-exported": (
        "shop.sums",
        {"shop/__init__.py": "from .sums import double", "shop/sums.py": STUB},
        "shop",
    ),
    "through a sibling": (
        "shop.sums",
        {
            "shop/__init__.py": "",
            "shop/sums.py": STUB,
            "shop/api.py": "from shop import sums\n\ndef double(n):\n    return sums.double(n)\n",
        },
        "shop.api",
    ),
    "configured": (
        "sums",
        {"lib/sums.py": STUB, "pytest.ini": "[pytest]\npythonpath = lib other\n"},
        "sums",
    ),
    "beside the test": ("sums", {"tests/sums.py": STUB}, "sums"),
    "elsewhere": ("shop.sums", {"a/b/shop/__init__.py": "", "a/b/shop/sums.py": STUB}, "shop.sums"),
    "not saved yet": ("shop.sums", {"shop/__init__.py": ""}, "shop.sums"),
}


@BOTH
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_candidate_is_imported_from_any_layout(
    tmp_path: Path, layout: str, flags: tuple[str, ...]
) -> None:
    module, files, imported = LAYOUTS[layout]
    text = f"from {imported} import double{ONE}"
    project = Project(tmp_path, {**files, "tests/test_sums.py": text}, module)
    assert project.kinds("tests/test_sums.py::test_double", flags) == ["passed", "assert_failed"]


def test_tests_that_are_a_package_of_the_project_may_import_relatively(tmp_path: Path) -> None:
    files = {
        "shop/__init__.py": "",
        "shop/sums.py": STUB,
        "shop/tests/__init__.py": "",
        "shop/tests/test_sums.py": f"from ..sums import double{ONE}",
    }
    project = Project(tmp_path, files)
    test = "shop/tests/test_sums.py::test_double"
    assert project.kinds(test) == ["passed", "assert_failed"]


def test_a_project_that_is_installed_as_it_lies_is_found(tmp_path: Path) -> None:
    """The interpreter of a sandbox starts without reading what packages want at its start."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    finder = (
        "import sys, importlib.machinery as m, types\n"
        "def find_spec(name, path=None, target=None):\n"
        "    if name == 'market':\n"
        f"        return m.PathFinder.find_spec('market', [{str(tmp_path)!r} + '/project/odd'])\n"
        "def install():\n"
        "    sys.meta_path.append(types.SimpleNamespace(find_spec=find_spec))\n"
    )
    (packages / "market_finder.py").write_text(finder)
    (packages / "market.pth").write_text("import market_finder; market_finder.install()\n")
    files = {
        "odd/market/__init__.py": "FACTOR = 2\n",
        "odd/market/sums.py": STUB,
        "tests/test_sums.py": f"import market\nfrom market.sums import double{ONE}",
    }
    project = Project(tmp_path, files, "market.sums")
    early = f"import sys; sys.path.append({str(packages)!r})\n"
    source = "from market import FACTOR\ndef double(n):\n    return n * FACTOR\n"
    told = project.run(source, flags=WITHOUT, early=early)
    assert told["kind"] == "passed"


def test_modules_loaded_before_are_imported_anew(tmp_path: Path) -> None:
    project = Project(tmp_path, FLAT)
    early = f"import sys; sys.path.insert(0, {str(project.root)!r}); import shop.sums\n"
    told = project.run(RIGHT, early=early)
    assert told["kind"] == "passed"


def test_a_nearer_project_in_a_larger_one_has_its_own_paths(tmp_path: Path) -> None:
    (tmp_path / "a" / "lib").mkdir(parents=True)
    (tmp_path / "a" / "tests").mkdir()
    (tmp_path / "a" / "setup.cfg").write_text("[tool:pytest]\npythonpath = lib\n")
    (tmp_path / "src").mkdir()
    paths = suite.import_paths(tmp_path, tmp_path / "a" / "tests" / "test_a.py")
    names = [str(path.relative_to(tmp_path)) for path in paths]
    assert names == ["a/tests", "a/lib", "a", ".", "src"]
