"""What a model sees of other files: which text, from where, and that it stays while one types."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.cache import Cached, CompletionCache
from cascade_lsp.cascade import Cascade
from cascade_lsp.context import Context, ContextOptions, gather
from cascade_lsp.exclusions import Exclusions
from cascade_lsp.fim import render
from cascade_lsp.heads import heads
from cascade_lsp.imported import MOST_BYTES, Workspace, imports
from cascade_lsp.ledger import Ledger, LedgerOptions
from cascade_lsp.neighbours import MOST_CHUNKS, Neighbours
from cascade_lsp.server import CascadeServer
from cascade_lsp.turn import Tier
from tests.marked import CURSOR
from tests.protocol.editors import NearEditor
from tests.scripted import ScriptedEngine

LIMIT = 1500
MODELS = '''\
"""What is sold."""

LIMIT = 3


class Product:
    """A thing with a price."""

    name: str
    price: float = 0.0

    def __init__(self, name: str, price: float) -> None:
        self.name, self.price = name, price

    def taxed(self, rate: float) -> float:
        """Return the price with tax.

        In the currency of the price.
        """
        return self.price * (1 + rate)

    @property
    @functools.wraps(taxed)
    def label(self) -> str:  # for the shelf
        return self.name

    @label.setter
    def label(self, label: str) -> None:
        self.name = label

    def _secret(self) -> None:
        raise NotImplementedError


def total(
    products: list[Product],  # may be empty
    rate: float = 0.2,
) -> float:  # in the currency of the prices
    """Return what all cost."""
    return sum(product.taxed(rate) for product in products)


def unused(a: int) -> int:
    return a
'''


@dataclass
class Project:
    """A workspace on disk, the documents that are open in it, and what is known of it."""

    root: Path
    texts: dict[Path, str] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        exclusions, folders = Exclusions(), [self.root]
        self.workspace = Workspace(
            folders, self.texts, lambda file: not exclusions.reason_of(file, folders)
        )
        self.neighbours = Neighbours(lambda: self.workspace, self._spawn)

    def _spawn(self, work) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def at(self, name: str, marked: str, language: str = "python") -> Context:
        before, after = marked.split(CURSOR)
        uri = (self.root / name).as_uri()
        return gather(before + after, len(before), uri=uri, language=language)

    async def extra(self, context: Context, limit: int = LIMIT) -> str:
        """Return what is shown once everything that is imported has been read."""
        self.neighbours.extra(context, limit)
        await asyncio.gather(*self.tasks)
        return self.neighbours.extra(context, limit).extra


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "workspace"
    root.mkdir()
    return Project(root)


# -- what is imported ------------------------------------------------------------------------------


async def test_the_heads_of_what_is_imported_are_shown_under_their_files_path(
    project: Project,
) -> None:
    project.write("shop/models.py", MODELS)
    document = project.at("shop/till.py", "from shop.models import Product, total\n\nx = ║\n")
    assert await project.extra(document) == (
        "# shop/models.py\n"
        "class Product:\n"
        '    """A thing with a price."""\n'
        "    name: str\n"
        "    price: float = 0.0\n"
        "    def __init__(self, name: str, price: float) -> None: ...\n"
        "    def taxed(self, rate: float) -> float: ...\n"
        "    @property\n"
        "    def label(self) -> str: ...\n"
        "def total(products: list[Product], rate: float = 0.2) -> float:\n"
        '    """Return what all cost."""\n'
        "\n"
        "# shop/till.py\n"
    )


WAYS = {
    "from the module": ("shop/till.py", "from shop.models import total"),
    "from a sibling": ("shop/till.py", "from .models import total"),
    "from above": ("shop/tills/a.py", "from ..models import total"),
    "under another name": ("shop/till.py", "from .models import total as t"),
    "in brackets": ("shop/till.py", "from .models import (\n    LIMIT,  # most\n    total,\n)"),
    "as a module's": ("shop/till.py", "from . import models\nmodels.total"),
    "as a module's in full": ("till.py", "import shop.models\nshop.models.total"),
    "as a module's in short": ("till.py", "import shop.models as m\nm.total"),
    "through a package": ("till.py", "from shop import total"),
    "through a package that renames it": ("till.py", "from shop import whole"),
    "from below src": ("tests/test_a.py", "from sold import total"),
    "through a package that passes on all": ("till.py", "from store import total"),
    "all at once": ("till.py", "from shop.models import *"),
    "in a document that is broken": ("till.py", "from shop.models import total\ndef f(:\n  (("),
}


@pytest.mark.parametrize("way", WAYS)
async def test_an_import_is_followed(project: Project, way: str) -> None:
    project.write("shop/models.py", MODELS)
    project.write("src/sold.py", MODELS)
    project.write("store/__init__.py", "from os import *\nfrom shop.models import *\n")
    project.write("shop/__init__.py", "from .models import total, total as whole\n")
    name, text = WAYS[way]
    assert "def total(products" in await project.extra(project.at(name, f"{text}\n║"))


OTHER_LANGUAGES = {
    "a function": ("import { total } from './sold'", "function total(prices: number[]): number;"),
    "an arrow": ("import { twice as t } from './sold.js'", "const twice = (n: number) => ...;"),
    "a type": ("import type { Price } from './sold'", "type Price = number"),
    "a default": ("import Till from './sold'", "class Till {\n  open(): void;\n}"),
    "a whole module": ("import * as sold from './sold'\nsold.total", "function total("),
    "as Node does": ("const { total } = require('./sold')", "/** Adds them up. */"),
    "all passed on": (
        "import { total } from './all'",
        "function total(prices: number[]): number;",
    ),
    "passed on": ("import { total } from '.'", "function total(prices: number[]): number;"),
}


@pytest.mark.parametrize("case", OTHER_LANGUAGES)
async def test_an_import_of_typescript_is_followed(project: Project, case: str) -> None:
    project.write(
        "app/sold.ts",
        "/**\n * Adds them up.\n */\nexport function total(prices: number[]): number { return 0 }\n"
        "export const twice = (n: number) => { return 2 * n };\n"
        "export type Price = number\n"
        "export default class Till { open(): void {} private close() {} }\n",
    )
    project.write("app/all.ts", "export * from './sold'\n")
    project.write("app/index.ts", "export { total } from './sold'\n")
    written, shown = OTHER_LANGUAGES[case]
    found = await project.extra(project.at("app/till.ts", f"{written}\n║", "typescript"))
    assert shown in found
    assert found.startswith("// app/sold.ts\n")


async def test_what_an_open_document_says_counts_before_it_is_saved(project: Project) -> None:
    path = project.write("models.py", "def old(): pass\n")
    project.texts[path] = "class new:\r\n    a: int\r\n    b: int\r\n"
    found = await project.extra(project.at("till.py", "from models import new, old\n║"))
    assert "class new:\n    a: int\n    b: int\n" in found
    assert "old" not in found


async def test_a_changed_file_is_read_again_when_the_document_is_entered(project: Project) -> None:
    project.write("models.py", "def total(a): pass\n")
    till = project.at("till.py", "from models import total\n║")
    assert "def total(a)" in await project.extra(till)
    project.write("models.py", "def total(first, second): pass\n")
    await project.extra(project.at("other.py", "║"))
    assert "def total(first, second)" in await project.extra(till)


async def test_what_is_named_near_the_cursor_is_shown_first_where_not_all_fits(
    project: Project,
) -> None:
    project.write("m.py", "".join(f"def call_{n}(a: int) -> int: pass\n" for n in range(9)))
    names = ", ".join(f"call_{n}" for n in range(9))
    found = await project.extra(project.at("a.py", f"from m import {names}\nx = call_7(║)\n"), 60)
    assert "call_7" in found
    assert "call_0" not in found
    assert len(found) <= 60


WRITTEN = (
    'def f(a: int |):|class A(B):|\n|\n    |"""doc|"""|x: int = 3|@d|import |from a |* as n|'
    "{|}|'./x'|export |const f = |=>|/**|# c|// c|é"
)
TEXTS = st.lists(st.sampled_from(WRITTEN.split("|"))).map(" ".join)


@pytest.mark.parametrize("language", ["python", "javascript", "typescript", "typescriptreact"])
@given(text=TEXTS)
def test_a_text_however_broken_is_read_to_its_end(language: str, text: str) -> None:
    for name, head in heads(text, language).items():
        assert name == "default" or name in text
        assert head.strip()
    for one in imports(text, language):
        assert one.bound in text


# -- what is never read ----------------------------------------------------------------------------

SECRET = "def hunter2(password='hunter2'): pass\n"
OUT_OF_SIGHT: dict[str, Callable[[Project], str]] = {
    "ignored by git": lambda project: _write(
        project, {".gitignore": "m.py", "m.py": SECRET}, "from m import hunter2"
    ),
    "excluded by the user": lambda project: _write(
        project, {".cascadeignore": "lib/", "lib/m.py": SECRET}, "from lib.m import hunter2"
    ),
    "a secret by its name": lambda project: _write(
        project, {".secrets/m.py": SECRET}, "import {hunter2} from './.secrets/m.py'"
    ),
    "above the workspace": lambda project: _write(
        project, {"../m.py": SECRET}, "from ..m import hunter2"
    ),
    "beside the workspace": lambda project: _write(
        project, {"../m.js": SECRET}, "import {hunter2} from '../m.js'"
    ),
    "where a link leads out of the workspace": lambda project: _link(project, "../m.py"),
    "where a link leads to an ignored file": lambda project: _link(project, ".secrets/m.py"),
    "too large": lambda project: _write(
        project, {"m.py": SECRET + "#" * MOST_BYTES}, "from m import hunter2"
    ),
    "no text": lambda project: _write(
        project, {"m.py": SECRET + "\udcff"}, "from m import hunter2"
    ),
}


def _write(project: Project, files: dict[str, str], statement: str) -> str:
    for name, text in files.items():
        path = project.write(name, "")
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return statement


def _link(project: Project, target: str) -> str:
    (project.root / "m.py").symlink_to(project.write(target, SECRET))
    return "from m import hunter2"


@pytest.mark.parametrize("case", OUT_OF_SIGHT)
async def test_never_shown_is_a_file_that_is(project: Project, case: str) -> None:
    statement = OUT_OF_SIGHT[case](project)
    language = "javascript" if "'" in statement else "python"
    assert await project.extra(project.at("a.py", f"{statement}\n║", language)) == ""


async def test_without_a_workspace_no_file_is_read(tmp_path: Path) -> None:
    alone = Project(tmp_path)
    alone.write("m.py", MODELS)
    alone.workspace = replace(alone.workspace, folders=[])
    assert await alone.extra(alone.at("a.py", "from m import total\n║")) == ""


async def test_a_file_is_told_with_the_folder_that_it_is_of(tmp_path: Path) -> None:
    first, second = Project(tmp_path / "first"), Project(tmp_path / "second")
    first.write("rates.py", "def rate() -> float: ...\n")
    folders = [tmp_path, first.root, second.root]
    first.workspace = replace(first.workspace, folders=folders, may_be_seen=lambda _: True)
    await first.extra(second.at("shop.py", lines("apple", 20) + "║"))
    await first.extra(first.at("a.py", "from rates import rate\n║"))
    seen = first.neighbours.extra(first.at("a.py", "from rates import rate\n║"), LIMIT)
    assert seen.extra_files == ((str(first.root), "rates.py"), (str(second.root), "shop.py"))
    first.workspace = replace(first.workspace, folders=[second.root])
    await first.extra(first.at("b.py", lines("pear", 20) + "║"))
    seen = first.neighbours.extra(second.at("c.py", "║"), LIMIT)
    assert ("", "b.py") in seen.extra_files


# -- places visited lately -------------------------------------------------------------------------


def lines(word: str, n: int = 40) -> str:
    return "".join(f"{word}_{i} = make_{word}({i})\n" for i in range(n))


async def test_the_place_that_was_left_in_another_document_is_shown(project: Project) -> None:
    marked = lines("apple", 20) + "║" + lines("pear", 20)
    await project.extra(project.at("b.py", marked))
    found = await project.extra(project.at("a.py", "║"))
    assert found.startswith("# b.py\napple_15 =")
    assert found.endswith("pear_5 = make_pear(5)\n\n# a.py\n")
    assert "apple_3 " not in found


async def test_a_place_left_by_a_jump_is_shown_in_another_document(project: Project) -> None:
    text = lines("apple", 50) + lines("pear", 50)
    await project.extra(project.at("b.py", "║" + text))
    await project.extra(project.at("b.py", text + "║"))
    assert await project.extra(project.at("b.py", text + "║")) == ""  # of itself, nothing
    found = await project.extra(project.at("a.py", "║"))
    assert found.index("apple_0 ") < found.index("pear_49 ")


async def test_of_places_that_are_alike_only_the_last_is_shown(project: Project) -> None:
    await project.extra(project.at("b.py", lines("apple", 8) + "║"))
    await project.extra(project.at("c.py", lines("apple", 9) + "║"))
    found = await project.extra(project.at("a.py", "║"))
    assert "# c.py" in found
    assert "# b.py" not in found


async def test_a_place_like_the_one_at_hand_is_not_shown(project: Project) -> None:
    await project.extra(project.at("b.py", lines("apple", 8) + "║"))
    assert await project.extra(project.at("a.py", lines("apple", 7) + "║")) == ""
    assert "apple_2" in await project.extra(project.at("c.py", lines("pear", 7) + "║"))


async def test_the_oldest_place_gives_way(project: Project) -> None:
    for n in range(MOST_CHUNKS + 1):
        await project.extra(project.at(f"b{n}.py", lines(f"word{n}", 4) + "║"))
    found = await project.extra(project.at("a.py", "║"), 10_000)
    assert "# b0.py" not in found
    assert found.index("# b1.py") < found.index(f"# b{MOST_CHUNKS}.py")


async def test_a_place_in_another_language_is_not_shown(project: Project) -> None:
    await project.extra(project.at("b.go", lines("apple") + "║", "go"))
    await project.extra(project.at("b.ts", lines("pear") + "║", "typescript"))
    found = await project.extra(project.at("a.js", "║", "javascript"))
    assert "// b.ts" in found
    assert "b.go" not in found


async def test_a_document_that_is_excluded_later_is_not_shown(project: Project) -> None:
    await project.extra(project.at("b.py", lines("apple") + "║"))
    project.write(".gitignore", "b.py")
    assert await project.extra(project.at("a.py", "║")) == ""


async def test_no_more_is_shown_than_the_setting_says(project: Project) -> None:
    project.write("m.py", MODELS)
    for n in range(MOST_CHUNKS):
        await project.extra(project.at(f"b{n}.py", lines(f"word{n}") + "║"))
    document = project.at("a.py", "from m import Product, total, unused\n║")
    for limit in range(0, 3000, 100):
        assert len(await project.extra(document, limit)) <= limit


# -- that it stays ---------------------------------------------------------------------------------


async def test_typing_leaves_what_is_shown_as_it_is(project: Project) -> None:
    project.write("m.py", MODELS)
    await project.extra(project.at("b.py", lines("apple", 9) + "║"))
    before = "from m import total\n" + lines("pear", 20)
    shown = await project.extra(project.at("a.py", f"{before}║"))
    assert "def total" in shown and "# b.py" in shown
    typed = "unused(1)\nProduct()\n" + lines("apple", 9)  # what would be chosen otherwise
    for end in range(1, len(typed)):
        context = project.at("a.py", f"{before}{typed[:end]}║")
        assert project.neighbours.extra(context, LIMIT).extra == shown
    await asyncio.gather(*project.tasks)
    assert project.neighbours.extra(context, LIMIT).extra == shown


async def test_far_from_there_it_is_chosen_anew(project: Project) -> None:
    await project.extra(project.at("b.py", lines("apple", 8) + "║"))
    text = lines("pear", 60)
    assert "# b.py" in await project.extra(project.at("a.py", f"║{text}"))
    assert await project.extra(project.at("a.py", f"{text}{lines('apple', 8)}║")) == ""


async def test_an_import_that_is_added_is_shown_at_once_it_is_read(project: Project) -> None:
    project.write("m.py", MODELS)
    assert await project.extra(project.at("a.py", "║\n")) == ""
    assert "def total" in await project.extra(project.at("a.py", "from m import total║\n"))


async def test_a_file_is_never_read_before_the_reply(project: Project) -> None:
    project.write("m.py", MODELS)
    document = project.at("a.py", "from m import total\n║")
    assert project.neighbours.extra(document, LIMIT).extra == ""
    await asyncio.gather(*project.tasks)
    assert "def total" in project.neighbours.extra(document, LIMIT).extra


def test_the_default_is_to_show_nothing_of_other_files() -> None:
    assert ContextOptions().neighbour_chars == 0


# -- in an editor ----------------------------------------------------------------------------------


@dataclass
class Session:
    """An editor with a workspace, and a server whose only tier answers from a script."""

    project: Project
    server: CascadeServer
    editor: NearEditor
    engine: ScriptedEngine

    def uri(self, name: str) -> str:
        return (self.project.root / name).as_uri()

    async def complete(self, name: str, line: int, character: int) -> None:
        document = {"uri": self.uri(name)}
        await self.editor.complete(line, character, textDocument=document)

    async def read(self) -> None:
        """Wait until nothing is under way behind the replies."""
        async with asyncio.timeout(10):
            while self.server._behind or self.server._neighbours._reading.locked():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    @property
    def prompts(self) -> list[str]:
        return ["".join(p.text for p in prompt.pieces) for (prompt,) in self.engine.asked]


@pytest.fixture
async def begin(project: Project, tmp_path: Path):
    """Begin a session: `await begin(neighbour_chars)`."""
    servers = []

    async def start(chars: int) -> Session:
        engine = ScriptedEngine(lambda prompt: "")
        tier = Tier("small", "script", engine, line="psm")
        ledger = Ledger.open(tmp_path / "ledger.sqlite3", LedgerOptions())
        server = CascadeServer(lambda settings, root: Cascade([tier], None), lambda _: ledger)
        servers.append(server)
        editor = NearEditor(server)
        await editor.begin({"context": {"neighbour_chars": chars}}, folders=[project.root])
        return Session(project, server, editor, engine)

    yield start
    for server in servers:
        await server.close()


async def test_a_prompt_holds_what_is_imported_and_no_secret_of_the_workspace(
    project: Project, begin
) -> None:
    session = await begin(LIMIT)
    project.write("m.py", MODELS)
    project.write(".gitignore", "local.py\n")
    project.write("local.py", SECRET)
    project.write(".env", SECRET)
    for name in (".env", "local.py"):
        session.editor.open(SECRET, uri=session.uri(name))
        await session.complete(name, 0, 0)
    text = "from local import hunter2\nfrom m import total\nx = \n"
    session.editor.open(text, uri=session.uri("a.py"))
    await session.read()
    await session.complete("a.py", 2, 4)
    (prompt,) = session.prompts
    assert prompt.startswith("# m.py\ndef total(products")
    assert "password" not in prompt


async def test_a_typed_character_changes_nothing_of_the_prompt_before_it(
    project: Project, begin
) -> None:
    session = await begin(LIMIT)
    project.write("m.py", MODELS)
    session.editor.open(lines("apple", 20), uri=session.uri("b.py"))
    await session.complete("b.py", 20, 0)
    session.editor.open("from m import total\nx = \ny = 1\n", uri=session.uri("a.py"))
    await session.read()
    for version, char in enumerate("total(", start=2):
        session.editor.type(1, 2 + version, char, version, uri=session.uri("a.py"))
        await session.complete("a.py", 1, 3 + version)
    heads = [prompt.partition("\ny = 1")[0] for prompt in session.prompts[1:]]
    assert "def total(products" in heads[0] and "# b.py" in heads[0]
    assert len(heads) == 6
    for before, after in pairwise(heads):
        assert after[: len(before)] == before


async def test_what_is_read_ahead_begins_like_what_is_asked_later(project: Project, begin) -> None:
    session = await begin(LIMIT)
    project.write("m.py", MODELS)
    session.editor.open("from m import total\nx = \n", uri=session.uri("a.py"))
    await session.read()
    here = {"line": 1, "character": 4}
    params = {"textDocument": {"uri": session.uri("a.py")}, "context": {"diagnostics": []}}
    params["range"] = {"start": here, "end": here}
    await session.editor.request("textDocument/codeAction", params)
    await session.read()
    await session.complete("a.py", 1, 4)
    ahead, asked = session.prompts
    assert ahead == asked and "def total(products" in asked


async def test_what_is_written_ahead_begins_like_what_is_asked_later(
    project: Project, begin
) -> None:
    session = await begin(LIMIT)
    session.engine.answer = lambda prompt: "total(1)\n"
    project.write("m.py", MODELS)
    session.editor.open("from m import total\nx = \n", uri=session.uri("a.py"))
    await session.read()
    await session.complete("a.py", 1, 4)
    async with asyncio.timeout(10):
        while len(session.engine.asked) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    asked, ahead = session.prompts
    head = asked.removesuffix("\n")
    assert "def total(products" in head and ahead.startswith(f"{head} total(1)")


async def test_with_the_setting_at_zero_nothing_of_other_files_is_read(
    project: Project, begin
) -> None:
    session = await begin(0)
    project.write("m.py", MODELS)
    session.editor.open("from m import total\nx = \n", uri=session.uri("a.py"))
    await session.complete("a.py", 1, 4)
    assert session.prompts == ["from m import total\nx =\n"]
    assert "_neighbours" not in vars(session.server)


def test_what_was_suggested_stays_good_when_other_text_is_shown(project: Project) -> None:
    cache, here = CompletionCache(), project.at("a.py", "x = ║\n")
    cache.put(here, "total(y)", "id")
    assert cache.get(replace(here, extra="# m.py\n")) == Cached("total(y)", "id")


def test_what_is_shown_of_other_files_stands_apart_from_the_documents_own_text(
    project: Project,
) -> None:
    here = replace(project.at("a.py", "x = ║\n"), extra="# m.py\n")
    assert (here.prefix, here.document) == ("x = ", "x = \n")
    texts = [piece.text for piece in render(here, "psm").pieces]
    assert texts == ["", "# m.py\nx =", "", "\n", ""]
