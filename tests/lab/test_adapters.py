"""Each benchmark's form, on miniature rows of our own: the reference passes, another body fails.

Programs are run in the project's sandbox only.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cascade_lsp.errors import UsageError
from cascade_lsp.lab.adapters import FORMATS, adapt
from cascade_lsp.lab.execute import HIDDEN
from cascade_lsp.lab.problems import Problem
from cascade_lsp.sandbox import Sandbox
from cascade_lsp.testable import Target, find

Row = dict[str, Any]

HUMANEVAL: Row = {
    "task_id": "Own/0",
    "entry_point": "taller",
    "prompt": "from typing import List\n\n\ndef taller(heights: List[int], than: int) -> int:\n"
    '    """Count the heights above `than`.\n    >>> taller([3, 5], 4)\n    1\n    """\n',
    "canonical_solution": "\n    found = 0\n    for height in heights:\n"
    "        found += height > than\n    return found\n\n",
    "test": "def check(candidate):\n    assert candidate([3, 5], 4) == 1\n"
    "    assert candidate([], 0) == 0\n    assert candidate([4, 4], 4) == 0\n",
}
CLOSE: Row = {
    "task_id": "Own/1",
    "entry_point": "halves",
    "prompt": 'def halves(numbers):\n    """Return half of each."""\n',
    "canonical_solution": "    return [number / 2 for number in numbers]\n",
    "test": "import numpy as np\n\ndef check(candidate):\n"
    "    assert np.allclose(candidate([0.2, 0.6]), [0.1, 0.1 + 0.2])\n"
    "    assert isinstance(candidate([1.0]), (list, np.ndarray))\n",
}
MBPP: Row = {
    "task_id": 9001,
    "text": "Write a function to add up the\n squares of a list.",
    "code": "def square(n):\r\n    return n * n\r\n\r\ndef squares_sum(numbers, start=0):\r\n"
    "    return start + sum(square(n) for n in numbers)\r\n",
    "test_list": ["assert squares_sum([1, 2]) == 5", "assert squares_sum([], 3) == 3"],
    "test_setup_code": "",
}
MBPP_PLUS: Row = {
    "task_id": "9002",
    "prompt": "Write a function to take the root of a number.",
    "code": "import math\ndef root(number):\n    return math.sqrt(number)\n",
    "test_list": ["assert round(root(2), 3) == 1.414"],
    "test_imports": ["import math"],
    "test": "import numpy as np\nassert np.allclose(root(2), 1.41421356)\n"
    "assert root(math.floor(4.5)) == 2\n".replace("import numpy", "import math\nimport numpy"),
}
LEETCODE: Row = {
    "task_id": "9003-widest-gap",
    "prompt": '"""\nGiven numbers, find the widest gap between neighbours.\n\n'
    'Never "\\n"-separated.\n"""\n'
    "class Solution:\n    def widestGap(self, numbers: List[int]) -> int:\n        ",
    "test": "my_solution = Solution()\n\nassert my_solution.widestGap([1, 4, 6]) == 3\n"
    "assert my_solution.widestGap([2, 2]) == 0\n",
}
LEETCODE_BODY = "return max(abs(a - b) for a, b in zip(numbers, numbers[1:]))"
EVOEVAL: Row = {
    "task_id": "EvoEval/3",
    "parent": "Own/0",
    "subset": "subtle",
    "entry_point": "share",
    "prompt": 'def share(part, whole):\n    """Return part / whole; whole must not be 0."""\n',
    "canonical_solution": "\n    if whole == 0:\n        raise ValueError('nothing')\n"
    "    return part / whole\n",
    "inputs": ["1, 3", "1, 0", "0, 5"],
}
EXERCISM: Row = {
    "task_id": "doubling",
    "instructions": 'Double a number.\n\nSay """so""", or not.',
    "stub": {"doubling.py": "def doubled(number):\n    pass\n"},
    "tests": {
        "doubling_test.py": "import unittest\n\nfrom doubling import (\n    doubled,\n)\n\n\n"
        "class DoublingTest(unittest.TestCase):\n    def test_three(self):\n"
        "        self.assertEqual(doubled(3), 6)\n\n    def test_none(self):\n"
        "        self.assertEqual(doubled(0), 0)\n\n\n"
        'if __name__ == "__main__":\n    unittest.main()\n'
    },
    "example": {".meta/example.py": "def doubled(number):\n    return number + number\n"},
}
HEAD = 'def spread(numbers):\n    """Return highest minus lowest, 0 of none."""\n'
CHECK = "def check(candidate):\n    assert candidate([4, 9]) == 5\n    assert candidate([]) == 0\n"
INFILLING: Row = {
    "task_id": "SingleLineInfilling/Own/4/L1",
    "entry_point": "spread",
    "prompt": HEAD + "    numbers = numbers or [0]\n",
    "suffix": "    return top - min(numbers)\n",
    "canonical_solution": "    top = max(numbers)\n",
    "test": CHECK + "\ncheck(spread)\n",
}
SPAN: Row = {
    **INFILLING,
    "task_id": "RandomSpanInfilling/Own/4/2",
    "prompt": HEAD + "    numbers = numbers or [0]\n    top = ",
    "suffix": "(numbers)\n    return top - min(numbers)\n",
    "canonical_solution": "max",
}
SANTACODER: Row = {
    "name": "humaneval-Own_4.json-1",
    "language": "py",
    "prompt": HEAD + "    if not numbers:",
    "suffix": "    return max(numbers) - min(numbers)\n",
    "canonical_solution": "        return 0",
    "tests": CHECK + "\ncheck(spread)\n",
}

# format, row, id, name, a wrong body at the cursor
MINIATURES = [
    ("humaneval", HUMANEVAL, "Own/0", "taller", "return len(heights)"),
    ("humaneval", CLOSE, "Own/1", "halves", "return [number / 3 for number in numbers]"),
    ("mbpp", MBPP, "MBPP/9001", "squares_sum", "return sum(numbers)"),
    ("mbpp", MBPP_PLUS, "MBPP/9002", "root", "return number / 1.41"),
    ("leetcode", LEETCODE, "LeetCode/9003-widest-gap", "widestGap", "return 3"),
    ("evoeval", EVOEVAL, "Own/0#EvoEval/subtle", "share", "return part / (whole or 1)"),
    ("exercism", EXERCISM, "Exercism/doubling", "doubled", "return number * number"),
    ("infilling", INFILLING, "Own/4#SingleLineInfilling/L1", "spread", "top = sum(numbers)"),
    ("infilling", SPAN, "Own/4#RandomSpanInfilling/2", "spread", "sum"),
    ("santacoder", SANTACODER, "Own_4#line/1", "spread", "return 1"),
]
# An assertion that fails within a function is told as the exception that it raises.
FAILED = {"assert_failed", "error"}
IDS = [f"{form}:{name}" for form, _, _, name, _ in MINIATURES]


def adapted(form: str, row: Row) -> Problem:
    found = FORMATS[form](row)
    assert found is not None
    return found


def solution_of(problem: Problem) -> str:
    """Return a right completion; one set comes without references."""
    return problem.solution or problem.completion(LEETCODE_BODY)


def test_every_format_has_a_miniature() -> None:
    assert {form for form, *_ in MINIATURES} == set(FORMATS)


@pytest.mark.parametrize(("form", "row", "id", "name", "wrong"), MINIATURES, ids=IDS)
async def test_the_reference_passes_and_a_wrong_body_fails(
    form: str, row: Row, id: str, name: str, wrong: str, sandbox: Sandbox
) -> None:
    problem = adapted(form, row)
    for completion, kinds in (
        (solution_of(problem), {"passed"}),
        (problem.completion(wrong), FAILED),
        (problem.completion("?"), {"error"}),
    ):
        outcome = await sandbox.run_script(problem.program(completion), HIDDEN)
        assert outcome.kind in kinds, (completion, outcome)


@pytest.mark.parametrize(("form", "row", "id", "name", "wrong"), MINIATURES, ids=IDS)
def test_the_function_is_found_at_the_cursor(
    form: str, row: Row, id: str, name: str, wrong: str
) -> None:
    problem = adapted(form, row)
    assert (problem.id, problem.entry_point, problem.language) == (id, name, "python")
    target = find(problem.context)
    assert isinstance(target, Target)
    assert target.name == name
    assert target.stub == (problem.suffix == "")


WHOLE_LINES = [("infilling", INFILLING, 4), ("santacoder", SANTACODER, 8)]


@pytest.mark.parametrize(("form", "row", "indent"), WHOLE_LINES)
def test_where_whole_lines_are_missing_the_cursor_is_on_an_indented_one(
    form: str, row: Row, indent: int
) -> None:
    problem = adapted(form, row)
    context = problem.context
    before, behind = context.document[: context.offset], context.document[context.offset :]
    assert before.endswith("\n" + " " * indent)
    assert before.rstrip(" ") == problem.prompt
    assert behind == "\n" + problem.suffix
    assert problem.solution == problem.completion(problem.solution.strip())


def test_a_hole_within_a_line_has_the_cursor_there() -> None:
    context = adapted("infilling", SPAN).context
    assert (context.line_head, context.line_tail) == ("    top = ", "(numbers)")


DEDENTED: Row = {
    **INFILLING,
    "task_id": "MultiLineInfilling/Own/5/L2_L2",
    "prompt": HEAD + "    top = 0\n    for number in numbers:\n        top = max(top, number)\n",
    "suffix": "    return top - low\n",
    "canonical_solution": "    low = min(numbers, default=0)\n",
}


async def test_a_hole_behind_a_block_is_solved_by_its_reference(sandbox: Sandbox) -> None:
    problem = adapted("infilling", DEDENTED)
    outcome = await sandbox.run_script(problem.program(problem.solution), HIDDEN)
    assert outcome.kind == "passed"


def test_the_group_of_a_hole_is_its_problem() -> None:
    holes = [adapted("infilling", row) for row in (INFILLING, SPAN)]
    assert {hole.group for hole in holes} == {"Own/4"}
    assert adapted("evoeval", EVOEVAL).group == adapted("humaneval", HUMANEVAL).group


CLOSENESS = [
    ("np.allclose(1.0, 1.0 + 1e-9)", True),
    ("np.allclose(1.0, 1.1)", False),
    ("np.allclose([1, (2.0, [3.0])], [1, [2.0 + 1e-7, (3.0,)]])", True),
    ("np.allclose([1, 2], [1, 2, 3])", False),
    ("np.allclose([1, 2], [1, 3])", False),
    ("np.allclose(100.0, 101.0, atol=2)", True),
    ("np.allclose(100.0, 101.0, rtol=0.02)", True),
    ("np.allclose(float('inf'), float('inf'))", True),
    ("isinstance(1.0, np.float64) or isinstance(1.0, np.ndarray)", False),
]


@pytest.mark.parametrize(("condition", "holds"), CLOSENESS)
async def test_closeness_without_numpy_is_as_with_it(
    condition: str, holds: bool, sandbox: Sandbox
) -> None:
    test = f"import numpy as np\ndef check(candidate):\n    assert bool({condition}) is {holds}\n"
    problem = adapted("humaneval", {**CLOSE, "test": test})
    assert "import numpy" not in problem.test
    outcome = await sandbox.run_script(problem.program(problem.solution), HIDDEN)
    assert outcome.kind == "passed", outcome


NONE = [
    ("mbpp", {**MBPP, "code": "squares_sum = sum\n"}),
    ("mbpp", {**MBPP, "code": "def squares_sum(:\n"}),
    ("leetcode", {**LEETCODE, "prompt": "class Solution:\n    def f(self, n):\n        "}),
    ("leetcode", {**LEETCODE, "prompt": '"""\nSay.\n"""\ndef f(n):\n    '}),
    ("exercism", {**EXERCISM, "stub": {"a.py": "class A:\n    pass\n"}}),
    ("exercism", {**EXERCISM, "stub": {**EXERCISM["stub"], "b.py": ""}}),
    ("exercism", {**EXERCISM, "stub": {"a.py": "def a(b):\n    pass\ndef c(d):\n    pass\n"}}),
    ("santacoder", {**SANTACODER, "language": "java"}),
]


@pytest.mark.parametrize(("form", "row"), NONE)
def test_what_is_not_one_place_with_tests_is_left_out(form: str, row: Row, tmp_path: Path) -> None:
    assert FORMATS[form](row) is None
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert list(adapt(form, path)) == []


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("row", [{}, {"task_id": 7, "prompt": None}, {"language": "py", "name": 1}])
def test_a_row_of_another_form_is_named(form: str, row: Row, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = next(good for name, good, *_ in MINIATURES if name == form)
    path.write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(UsageError, match=rf"rows\.jsonl:2 is not a row of {form}: "):
        list(adapt(form, path))


BROKEN = [
    ("infilling", {**INFILLING, "task_id": "nothing"}),
    ("exercism", {**EXERCISM, "stub": {"a.py": "def (:\n"}}),
    ("exercism", {**EXERCISM, "stub": {}}),
    ("exercism", {**EXERCISM, "tests": {}}),
    ("humaneval", {**HUMANEVAL, "test": 3}),
]


@pytest.mark.parametrize(("form", "row"), BROKEN)
def test_a_row_with_a_wrong_value_is_named(form: str, row: Row, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UsageError, match=f"is not a row of {form}"):
        list(adapt(form, path))


def test_a_compressed_benchmark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(HUMANEVAL) + "\n").encode()))
    assert [problem.id for problem in adapt("humaneval", path)] == ["Own/0"]
