"""Public benchmarks as problems: one function a format, from the benchmark's row to a Problem.

Pure reading; nothing is run. A row that cannot be put as one place with tests gives None. What a
solution lacks of the standard scientific library in the hidden tests (only closeness) is supplied
in plain Python, because no sandbox has NumPy.
"""

import ast
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cascade_lsp import testable
from cascade_lsp.context import gather
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import rows
from cascade_lsp.lab.problems import Problem

Row = Mapping[str, Any]

# What the "plus" tests ask of NumPy: whether nested numbers are close.
_CLOSENESS = """
class np:
    ndarray = float64 = float32 = ()

    @staticmethod
    def allclose(a, b, rtol=1e-05, atol=1e-08):
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            return len(a) == len(b) and all(np.allclose(x, y, rtol, atol) for x, y in zip(a, b))
        return a == b or abs(a - b) <= atol + rtol * abs(b)
"""
_NUMPY = re.compile(r"^import numpy as np$", re.MULTILINE)


def humaneval(row: Row) -> Problem | None:
    """HumanEval, HumanEval+ and HumanEvalPack (Python): a stub, and `check(candidate)`."""
    entry = row["entry_point"]
    return Problem(
        id=str(row["task_id"]),
        prompt=row["prompt"].rstrip() + "\n    ",
        suffix="",
        test=_plain(row["test"]),
        entry_point=entry,
        language="python",
        source="humaneval",
        solution=_inserted(row["canonical_solution"]),
    )


def mbpp(row: Row) -> Problem | None:
    """MBPP and MBPP+: a sentence and asserts. The head is the reference's, with its own names."""
    tests = row.get("test") or "\n".join(
        [*row.get("test_imports", []), row.get("test_setup_code", ""), *row["test_list"]]
    )
    code = row["code"].replace("\r\n", "\n")
    called = re.search(r"(\w+)\(", " ".join(row["test_list"]).replace("assert ", "", 1))
    function = _function(code, [c[1] for c in (called,) if c] + _names(row["test_list"]))
    if function is None:
        return None
    sentence = " ".join((row.get("prompt") or row["text"]).split())
    prompt = f'{_head(code, function)}\n    """{sentence}"""\n    '
    return Problem(
        id=f"MBPP/{row['task_id']}",
        prompt=prompt,
        suffix="",
        test=_plain(tests),
        entry_point=function.name,
        language="python",
        source="mbpp",
        solution=_written(code, prompt),
    )


def leetcode(row: Row) -> Problem | None:
    """Contest problems: the method becomes a function, and a class of it is what the tests use."""
    prompt, test = row["prompt"], row["test"]
    method = re.search(r"^    def (\w+)\(\s*self\s*,\s*(.*)\n", prompt, re.MULTILINE)
    if method is None or "class Solution" not in prompt:
        return None
    statement = re.match(r'\s*"""\n?(.*?)"""', prompt, re.DOTALL)
    if statement is None:
        return None
    said = textwrap.indent(statement[1].strip().replace('"""', "'''").replace("\\", "\\\\"), "    ")
    return Problem(
        id=f"LeetCode/{row['task_id']}",
        prompt=f"from typing import *\n\n\ndef {method[1]}({method[2].strip()}\n"
        f'    """\n{said}\n    """\n    ',
        suffix="",
        test=f"class Solution:\n    {method[1]} = staticmethod({method[1]})\n\n" + test,
        entry_point=method[1],
        language="python",
        source="leetcode",
    )


def evoeval(row: Row) -> Problem | None:
    """EvoEval: the answer must give what the reference gives, or raise where it raises."""
    entry, reference = row["entry_point"], _whole(row)
    inputs = ",\n    ".join(f"({one},)" for one in row["inputs"])
    test = f"""
_answer = {entry}
{reference}
_reference = {entry}

def _result(function, arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return type(error)

from copy import deepcopy
for _arguments in [
    {inputs}
]:
    _expected = _result(_reference, deepcopy(_arguments))
    _seen = _result(_answer, deepcopy(_arguments))
    if isinstance(_expected, float) and isinstance(_seen, (int, float)):
        assert abs(_seen - _expected) <= 1e-6 * max(1, abs(_expected)) or _seen == _expected
    else:
        assert _seen == _expected
"""
    return Problem(
        id=f"{row.get('parent') or row['task_id']}#EvoEval/{row['subset']}",
        prompt=row["prompt"].rstrip() + "\n    ",
        suffix="",
        test=test,
        entry_point=entry,
        language="python",
        source="evoeval",
        solution=_inserted(row["canonical_solution"]),
    )


def exercism(row: Row) -> Problem | None:
    """Exercism (Python): exercises of one function, its unittest cases in the same script."""
    (name, stub), *more = row["stub"].items()
    (tests, *_), (example, *_) = row["tests"].values(), row["example"].values()
    functions = [n for n in _body(stub) if isinstance(n, ast.FunctionDef)]
    if more or len(functions) != 1 or len(_body(stub)) != 1:
        return None
    said = row["instructions"].replace("\\", "\\\\").replace('"""', "'''").strip()
    head = ast.unparse(functions[0]).split("\n", 1)[0]
    module = name.removesuffix(".py").rsplit("/", 1)[-1]
    tests = re.sub(rf"^from {module} import (\([^)]*\)|.*)$", "", tests, flags=re.MULTILINE)
    tests = tests.split("\nif __name__")[0]
    prompt = f'{head}\n    """{textwrap.indent(said, "    ").strip()}\n    """\n    '
    return Problem(
        id=f"Exercism/{row['task_id']}",
        prompt=prompt,
        suffix="",
        test=f"{tests}\n_suite = unittest.TestLoader()\n_cases = [_suite.loadTestsFromTestCase(c) "
        "for c in list(globals().values()) if isinstance(c, type) "
        "and issubclass(c, unittest.TestCase)]\n_result = unittest.TestResult()\n"
        "for _case in _cases:\n    _case.run(_result)\n"
        "assert _result.testsRun and _result.wasSuccessful()\n",
        entry_point=functions[0].name,
        language="python",
        source="exercism",
        solution=_written(example, prompt),
    )


def infilling(row: Row) -> Problem | None:
    """HumanEval's infilling sets: a hole in the reference; a hole's group is its problem."""
    kind, problem = row["task_id"].split("/", 1)
    group, _, number = problem.rpartition("/")
    entry = row["entry_point"]
    return Problem(
        id=f"{group}#{kind}/{number}",
        prompt=row["prompt"],
        suffix=row["suffix"],
        test=row["test"],
        entry_point=entry,
        language="python",
        source=kind,
        solution=row["canonical_solution"],
    )


def santacoder(row: Row) -> Problem | None:
    """SantaCoder's infilling set (Python and JavaScript): one line is missing."""
    language = {"py": "python", "js": "javascript"}.get(row["language"])
    if language is None:
        return None
    mark = "" if language == "python" else f" {language}"
    group, _, number = row["name"].partition(".json-")
    entry = re.findall(r"^(?:def|function) (\w+)", row["prompt"], re.MULTILINE)
    return Problem(
        id=f"{group.removeprefix('humaneval-')}#line/{number}{mark}",
        prompt=row["prompt"].removesuffix("\n") + "\n",
        suffix=row["suffix"],
        test=row["tests"],
        entry_point=entry[-1] if entry else "",
        language=language,
        source=f"santacoder{mark}",
        solution=row["canonical_solution"] + "\n",
    )


FORMATS: Mapping[str, Callable[[Row], Problem | None]] = {
    "humaneval": humaneval,
    "mbpp": mbpp,
    "leetcode": leetcode,
    "evoeval": evoeval,
    "exercism": exercism,
    "infilling": infilling,
    "santacoder": santacoder,
}


def adapt(format: str, path: Path) -> Iterator[Problem]:
    """Yield the problems of a benchmark's file; raise UsageError where a row is of another form."""
    for number, row in enumerate(rows.read(path), start=1):
        try:
            problem = FORMATS[format](row)
        except (KeyError, AttributeError, TypeError, ValueError, SyntaxError) as error:
            raise UsageError(f"{path}:{number} is not a row of {format}: {error!r}.") from error
        if problem is not None:
            yield problem


def _whole(row: Row) -> str:
    """Return a stub with its reference as one source."""
    solution = row["canonical_solution"].lstrip("\n")
    return f"{row['prompt'].rstrip()}\n{solution}".replace("\r", "")


def _written(code: str, prompt: str) -> str:
    """Return the body of a reference that is a whole function, as it is inserted into a stub."""
    target = testable.find(gather(prompt, len(prompt)))
    return "" if isinstance(target, testable.Untestable) else testable.body_from(code, target)


def _plain(test: str) -> str:
    return _NUMPY.sub(lambda _: _CLOSENESS, test)


def _inserted(solution: str) -> str:
    """Return a reference as it is inserted at the cursor, after the blanks that stand there."""
    return solution.lstrip("\n").removeprefix("    ").rstrip()


def _body(source: str) -> list[ast.stmt]:
    return ast.parse(source).body


def _names(tests: list[str]) -> list[str]:
    return re.findall(r"(\w+)\(", " ".join(tests))


def _function(code: str, called: list[str]) -> ast.FunctionDef | None:
    """Return the function of the reference that the tests call."""
    try:
        found = {n.name: n for n in _body(code) if isinstance(n, ast.FunctionDef)}
    except SyntaxError:
        return None
    return next((found[name] for name in called if name in found), None)


def _head(code: str, function: ast.FunctionDef) -> str:
    """Return a function's head as the reference writes it, without what it does."""
    emptied = ast.FunctionDef(
        name=function.name,
        args=function.args,
        body=[ast.Pass()],
        decorator_list=[],
        returns=function.returns,
        lineno=0,
    )
    return ast.unparse(emptied).split("\n", 1)[0]
