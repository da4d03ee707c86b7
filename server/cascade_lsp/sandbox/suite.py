"""Run one of the user's own tests with a candidate in the place of a file, inside the sandbox.

Executed in the child that is confined already, by the project's own interpreter: only the
standard library is imported here, and pytest where the project has it. The candidate shares
this process and could forge what is returned, so a verdict is weak evidence; that it cannot do
harm is the sandbox's affair. `import_paths` is also how the tests are found.
"""

import configparser
import importlib
import importlib.util
import inspect
import linecache
import os
import site
import sys
import tempfile
import tomllib
import traceback
import unittest
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

CONFIGURED = ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", "setup.py")
SEEN_CHARS = 200
# What tests ask of the best known plugins; no other one is loaded.
_PLUGINS = {
    "mocker": "pytest_mock",
    "async def": "pytest_asyncio.plugin",
    "anyio": "anyio.pytest_plugin",
}
_SKIPPED = "it is skipped here"
_SURROUNDINGS = (OSError, ImportError, MemoryError)  # mostly what the sandbox lacks or forbids


def run(root: str, module: str, source: str, path: str, name: str) -> dict[str, str]:
    """Run the test `name` of the file `path` (below `root`) with `source` as `module`.

    Returns {"kind", "seen", "detail"}; kind is passed, assert_failed (the test's own assertion
    does not hold), error (the candidate raised, or the test could not use what it gave),
    test_error (the test's file or its fixtures fail by themselves) or inconclusive.
    """
    try:
        place = _prepare(Path(root), module, source, path, name)
        runner = _run_with_pytest if importlib.util.find_spec("pytest") else _run_with_unittest
        outcome = runner(place)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no verdict
        outcome = _Outcome("inconclusive", _line(error), "the test could not be run")
    return {"kind": outcome.kind, "seen": outcome.seen, "detail": outcome.detail}


# -- where modules come from --------------------------------------------------------------------


def import_paths(root: Path, test: Path) -> list[Path]:
    """Return the folders from which a test file imports: as pytest's mode "prepend" puts them on
    `sys.path`, as the project's configuration says, the project itself and its `src`."""
    base = rootdir(root, test)
    conftests = [one for one in test.parents if base in (one, *one.parents)]
    found = [package_base(test)]
    found += [package_base(one / "conftest.py") for one in conftests if _is(one / "conftest.py")]
    found += [base / folder for folder in _configured(base)]
    for folder in (base, root):
        found += [folder, folder / "src"]
    return [one for one in dict.fromkeys(found) if one == root or one.is_dir()]


def rootdir(root: Path, path: Path) -> Path:
    """Return the nearest folder around `path` that configures a project, `root` at the latest."""
    for folder in path.parents:
        if folder == root or any(_is(folder / name) for name in CONFIGURED):
            return folder
    return root


def package_base(path: Path) -> Path:
    """Return the first folder above a file that is no package."""
    return next(folder for folder in path.parents if not _is(folder / "__init__.py"))


def _is(path: Path) -> bool:
    return path.is_file()


def _configured(base: Path) -> list[str]:
    """Return pytest's `pythonpath` of a project, wherever it is written."""
    for name, section in (
        ("pytest.ini", "pytest"),
        ("pyproject.toml", "pytest"),
        ("tox.ini", "pytest"),
        ("setup.cfg", "tool:pytest"),
    ):
        value = _option(base / name, section)
        if value is not None:
            return [str(one) for one in value] if isinstance(value, list) else str(value).split()
    return []


def _option(path: Path, section: str) -> Any:
    try:
        if path.suffix == ".toml":
            tool = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get(section, {})
            return tool.get("ini_options", tool).get("pythonpath")
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(path, "utf-8")
        return parser.get(section, "pythonpath", fallback=None)
    except (OSError, ValueError, AttributeError, configparser.Error):
        return None


@dataclass(frozen=True)
class _Place:
    """The test to run and the document that it is to see."""

    root: Path
    test: Path
    name: str
    document: str
    scratch: Path

    @property
    def function(self) -> str:
        return self.name.rpartition(".")[2]


class _Candidate(MetaPathFinder, Loader):
    """Give one module a source that is on no disk."""

    def __init__(self, module: str, source: str, file: Path) -> None:
        self.module, self.source, self.file = module, source, file

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        is_package = self.file.name == "__init__.py"
        spec = ModuleSpec(fullname, self, origin=str(self.file), is_package=is_package)
        if is_package:
            spec.submodule_search_locations = [str(self.file.parent)]
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(self.module), module.__dict__)

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self.source, str(self.file), "exec", dont_inherit=True)
        return code

    def get_source(self, fullname: str) -> str:
        return self.source

    def get_filename(self, fullname: str) -> str:
        return str(self.file)


def _prepare(root: Path, module: str, source: str, path: str, name: str) -> _Place:
    """Make this process one that runs the project's tests and sees the candidate."""
    test, scratch = root / path, Path.cwd()
    paths = import_paths(root, test)
    _install()
    file = _locate(root, module, paths)
    base = file.parents[len(module.split(".")) - (file.name != "__init__.py")]
    wanted = dict.fromkeys(str(one) for one in (*paths, base))
    sys.path[:] = [*wanted, *(one for one in sys.path if one and one not in wanted)]
    sys.meta_path.insert(0, _Candidate(module, source, file))
    _forget(root)
    lines = source.splitlines(keepends=True)
    linecache.cache[str(file)] = (len(source), None, lines, str(file))
    sys.dont_write_bytecode = True
    sys.argv = ["pytest"]
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ.pop("PYTEST_PLUGINS", None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    tempfile.tempdir = str(scratch)
    os.chdir(root)  # as its user would run it; what it writes has no place there
    return _Place(root, test, name, str(file), scratch)


def _install() -> None:
    """Do what the interpreter was kept from at its start: let packages that are installed as they
    lie be found."""
    folders = {os.path.realpath(path) for path in sys.path if path.endswith("-packages")}
    for folder in sorted(folders):
        if Path(folder).is_dir():
            site.addsitedir(folder, set(sys.path))


def _forget(root: Path) -> None:
    """Let go of the project's modules that are loaded: they may hold on to the document's old
    text."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and _belongs(file, root):
            del sys.modules[name]
    importlib.invalidate_caches()


def _belongs(file: str, root: Path) -> bool:
    return file.startswith(f"{root}{os.sep}") and "site-packages" not in file


def _locate(root: Path, module: str, paths: Sequence[Path]) -> Path:
    """Return the file that a module has, or would have."""
    parts = module.split(".")
    for base in paths:
        if found := _file(base.joinpath(*parts)):
            return found
    if found := _installed(parts):
        return found
    skipped = {"node_modules", "site-packages", "build", "dist"}
    for folder, names, _ in os.walk(root):
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in skipped)
        if found := _file(Path(folder).joinpath(*parts)):
            return found
    homes = (base for base in paths if base.joinpath(*parts[:-1]).is_dir())
    return next(homes, root).joinpath(*parts).with_suffix(".py")


def _file(stem: Path) -> Path | None:
    files = (stem / "__init__.py", stem.with_name(f"{stem.name}.py"))
    return next((one for one in files if _is(one)), None)


def _installed(parts: Sequence[str]) -> Path | None:
    """Ask the finders of this interpreter, which know projects that are installed as they lie."""
    spec = importlib.util.find_spec(parts[0])
    folders = (spec.submodule_search_locations if spec else None) or ()
    for folder in folders:
        if found := _file(Path(folder).joinpath(*parts[1:])):
            return found
    return None


# -- what became of it --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Outcome:
    kind: str
    seen: str = ""
    detail: str = ""


@dataclass
class _Log:
    """What a run has shown: outcomes other than passed, and how many cases passed."""

    outcomes: list[_Outcome] = field(default_factory=list)
    passed: int = 0

    def verdict(self) -> _Outcome:
        """Return the one that counts; cases that are skipped do not speak against the others."""
        for kind in ("error", "assert_failed", "test_error", "inconclusive"):
            found = [one for one in self.outcomes if one.kind == kind]
            if self.passed:
                found = [one for one in found if one.detail != _SKIPPED]
            if found:
                return found[0]
        if self.passed:
            return _Outcome("passed")
        return _Outcome("test_error", detail="there is no such test in the file")


def _judge(error: BaseException, place: _Place, *, called: bool) -> _Outcome:
    """Say what an exception means: whose fault it is shows in where it was raised."""
    frames = list(_frames(error.__traceback__, place))
    within = [one for one in frames if one.code.co_filename == place.document]
    innermost = frames[-1] if frames else None
    detail = innermost.words(place.root) if innermost else ""
    kind = "error"
    if _is_skip(error):
        return _Outcome("inconclusive", _line(error), _SKIPPED)
    if isinstance(error, _SURROUNDINGS):
        kind = "inconclusive" if called or within else "test_error"
    elif not called:
        kind = "error" if within else "test_error"
    elif isinstance(error, AssertionError) or _is_outcome(error, "Failed"):
        kind = "error" if innermost in within else "assert_failed"
    elif isinstance(error, NameError) and not within:
        kind = "test_error"
    return _Outcome(kind, _line(error), detail)


@dataclass(frozen=True)
class _Frame:
    code: CodeType
    line: int

    def words(self, root: Path) -> str:
        file = self.code.co_filename.removeprefix(f"{root}{os.sep}")
        return f"{file}:{self.line} in {self.code.co_name}"


def _frames(trace: TracebackType | None, place: _Place) -> Iterator[_Frame]:
    """Yield the frames of the project's functions, outermost first. What a module does while it
    is imported is not the doing of the function under completion."""
    for frame, line in traceback.walk_tb(trace):
        code = frame.f_code
        ours = code.co_filename == place.document or _belongs(code.co_filename, place.root)
        if ours and code.co_flags & inspect.CO_OPTIMIZED:
            yield _Frame(code, line)


def _is_outcome(error: BaseException, name: str) -> bool:
    """Say whether this is one of the exceptions with which pytest ends a test."""
    names = {one.__name__ for one in type(error).__mro__}
    return {name, "OutcomeException"} <= names


def _is_skip(error: BaseException) -> bool:
    expected = ("Skipped", "XFailed", "Exit")
    return isinstance(error, unittest.SkipTest) or any(_is_outcome(error, e) for e in expected)


def _line(error: BaseException) -> str:
    """Return an exception as one line of text."""
    text = next(iter(str(error).strip().splitlines()), "")
    name = type(error).__name__
    if isinstance(error, AssertionError) and text:
        name, text = "", text if text.startswith("assert") else f"AssertionError: {text}"
    said = f"{name}: {text}" if name and text else name or text
    return said[:SEEN_CHARS]


# -- pytest -------------------------------------------------------------------------------------


def _run_with_pytest(place: _Place) -> _Outcome:
    import pytest

    log = _Log()
    code = pytest.main(_arguments(place), plugins=[_recorder(log, place)])
    if code == pytest.ExitCode.INTERNAL_ERROR or code == pytest.ExitCode.INTERRUPTED:
        log.outcomes.append(_Outcome("inconclusive", detail="pytest ended early"))
    elif code == pytest.ExitCode.USAGE_ERROR and not log.outcomes:
        return _Outcome("test_error", detail="pytest cannot use the file or its conftest.py")
    return log.verdict()


def _arguments(place: _Place) -> list[str]:
    node = "::".join([str(place.test), *place.name.split(".")])
    off = ("cacheprovider", "terminal", "faulthandler", "doctest", "junitxml", "pastebin")
    # The project's own options may want plugins, processes or files that are not here.
    options = ("addopts=", "required_plugins=", "filterwarnings=", "log_file=")
    strict = ("strict=false", "strict_config=false", "strict_markers=false")
    text = place.test.read_text("utf-8", "replace")
    plugins = [plugin for word, plugin in _PLUGINS.items() if word in text and _there(plugin)]
    return [
        node,
        f"--rootdir={rootdir(place.root, place.test)}",
        f"--basetemp={place.scratch / 'pytest'}",
        "--capture=sys",
        *(f"-pno:{name}" for name in off),
        *(f"-p{name}" for name in plugins),
        *(part for option in (*options, *strict) for part in ("-o", option)),
    ]


def _there(module: str) -> bool:
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def _recorder(log: _Log, place: _Place) -> object:
    import pytest

    class Recorder:
        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_makereport(self, item: Any, call: Any) -> Iterator[None]:
            made: Any = yield
            report = made.get_result()
            error = call.excinfo.value if call.excinfo else None
            if hasattr(report, "wasxfail") or _lacks_plugin(item, error):
                log.outcomes.append(_Outcome("inconclusive", detail=_SKIPPED))
            elif error is not None:
                called = call.when == "call" and _reached(item, error, place)
                log.outcomes.append(_judge(error, place, called=called))
            elif call.when == "call":
                log.passed += 1

        def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
            if not isinstance(node, pytest.Item):
                error = call.excinfo.value.__cause__ or call.excinfo.value
                log.outcomes.append(_judge(error, place, called=False))

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.failed and not log.outcomes:  # a subtest, which is told in no other way
                text = str(report.longrepr).strip().splitlines()
                log.outcomes.append(_Outcome("assert_failed", text[-1][:SEEN_CHARS]))

    return Recorder()


def _reached(item: Any, error: BaseException, place: _Place) -> bool:
    """Say whether the test itself was reached; pytest runs a TestCase with its setUp as one."""
    is_case = isinstance(getattr(item, "cls", None), type) and issubclass(
        item.cls, unittest.TestCase
    )
    return not is_case or _in_function(error, place)


def _lacks_plugin(item: Any, error: BaseException | None) -> bool:
    """Say whether a test was not run because it is a coroutine, which pytest alone runs not."""
    function = getattr(item, "obj", None)
    return (
        error is not None
        and inspect.iscoroutinefunction(function)
        and (_is_outcome(error, "Failed") or _is_skip(error))
    )


# -- without pytest -----------------------------------------------------------------------------


def _run_with_unittest(place: _Place) -> _Outcome:
    base = package_base(place.test)
    name = ".".join(place.test.relative_to(base).with_suffix("").parts)
    try:
        found: Any = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - it is judged
        return _judge(error, place, called=False)
    owner: Any = None
    for part in place.name.split("."):
        owner, found = found, getattr(found, part, None)
    if found is None:
        return _Outcome("test_error", detail="there is no such test in the file")
    if inspect.isclass(owner) and issubclass(owner, unittest.TestCase):
        return _run_case(owner(place.function), place)
    return _call(owner, found, place)


def _call(owner: Any, function: Callable[..., object], place: _Place) -> _Outcome:
    """Call a plain test function; fixtures and hooks are pytest's alone."""
    hooks = ("setup_method", "setup_class", "setup_function", "setup_module", "teardown_method")
    in_class = inspect.isclass(owner)
    bare = not any(hasattr(owner, hook) for hook in hooks)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or not bare:
        return _Outcome("inconclusive", detail="only pytest can run it, which is not installed")
    try:
        test = getattr(owner(), place.function) if in_class else function
        if inspect.signature(test).parameters:
            return _Outcome("inconclusive", detail="its fixtures need pytest, which is not there")
        test()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is judged
        return _judge(error, place, called=True)
    return _Outcome("passed")


def _run_case(case: unittest.TestCase, place: _Place) -> _Outcome:
    log = _Log()

    class Result(unittest.TestResult):
        def addSuccess(self, test: unittest.TestCase) -> None:
            log.passed += 1

        def addError(self, test: unittest.TestCase, err: Any) -> None:
            log.outcomes.append(_judge(err[1], place, called=_in_function(err[1], place)))

        addFailure = addError

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
            if err is not None:
                self.addError(test, err)

        def addSkip(self, test: unittest.TestCase, reason: str) -> None:
            log.outcomes.append(_Outcome("inconclusive", reason[:SEEN_CHARS], _SKIPPED))

        def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
            self.addSkip(test, "it is expected to fail")

        def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
            self.addSkip(test, "it is expected to fail")

    unittest.TestSuite([case]).run(Result())
    return log.verdict()


def _in_function(error: BaseException, place: _Place) -> bool:
    """Say whether an exception came out of the test's own function, not of its set-up."""
    return any(
        frame.code.co_name == place.function and frame.code.co_filename == str(place.test)
        for frame in _frames(error.__traceback__, place)
    )
