"""Which documents no model may see: by their names, and by the workspace's ignore files."""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_lsp.cascade import Cascade
from cascade_lsp.drafting import SETTLED_S
from cascade_lsp.exclusions import Exclusions
from cascade_lsp.ledger import Ledger, LedgerOptions
from cascade_lsp.server import CascadeServer
from cascade_lsp.turn import Tier
from tests.protocol.editors import INVOKED, NearEditor
from tests.scripted import ScriptedEngine

SECRETS = [
    ".env", ".env.local", ".ENV.Production", "prod.env", ".envrc", ".envs/.local/.django",
    "server.pem", "tls.key", "tls.crt", "id_rsa", "id_ed25519.pub", "release.keystore", "app.p12",
    "passwords.kdbx", "credentials.json", "config/credentials.yml.enc", ".aws/config",
    ".ssh/config", "home/.kube/config", ".docker/config.json", ".npmrc", ".pypirc", ".netrc",
    "service-account-prod.json", "client_secret_1.json", "terraform.tfvars", "secrets.yaml",
    "arduino_secrets.h", "passwords.txt", "gcloud/credentials.db", "secrets",
    ".git/config", "a/.git/hooks/pre-commit.py",
]  # fmt: skip
ORDINARY = [
    "a.py", "environment.py", "credentials.py", "secrets.py", "keys.ts", "key.py", "config.json",
    "package.json", "monkey.go", ".gitignore", ".github/workflows/ci.yml", ".docker/Dockerfile",
    "credentials/store.py", "secrets/model.go", "reset_password.tsx", "shadow.css",
    ".envoy/filter.py", "README.md", "password_store.h",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_a_file_that_may_hold_secrets_is_excluded_without_any_workspace(name: str) -> None:
    assert Exclusions().reason(f"file:///project/{name}")


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_file_is_not_excluded(name: str) -> None:
    assert Exclusions().reason(f"file:///project/{name}") == ""


@pytest.mark.parametrize(
    "uri",
    [
        "untitled:.env",
        "git:/project/.env?ref=HEAD",
        "vscode-notebook-cell:/project/.envs/a.ipynb#W0",
        "file:///c%3A/project/%2Eenv",
        "file://server/share/.env",
        "vscode-remote://ssh-remote%2Bhost/home/user/.ssh/config",
    ],
)
def test_a_secret_is_known_by_its_name_whatever_the_scheme(uri: str) -> None:
    assert Exclusions().reason(uri)


def test_the_reason_is_a_sentence_that_names_the_file_and_the_rule(workspace: Path) -> None:
    write(workspace, ".gitignore", "build/\n")
    assert reason(workspace, "build/a.py") == ("No model sees a.py: it is excluded by .gitignore.")
    assert reason(workspace, ".env") == ("No model sees .env: it may hold secrets, by its name.")


IGNORED = [
    ("what .gitignore names", {".gitignore": "local.py"}, "local.py", True),
    ("what it names anywhere", {".gitignore": "local.py"}, "a/b/local.py", True),
    ("only at the top, where it says so", {".gitignore": "/local.py"}, "a/local.py", False),
    ("what it takes back is seen", {".gitignore": "*.py\n!a.py"}, "a.py", False),
    ("a nested file counts below its folder", {"a/.gitignore": "x.py"}, "a/b/x.py", True),
    ("and not beside it", {"a/.gitignore": "x.py"}, "b/x.py", False),
    ("the nearest file decides", {".gitignore": "x.py", "a/.gitignore": "!x.py"}, "a/x.py", False),
    (
        "nothing is taken back inside an excluded folder",
        {".gitignore": "a/", "a/.gitignore": "!x.py"},
        "a/x.py",
        True,
    ),
    ("a folder that is taken back", {".gitignore": "a\n!/a"}, "a/x.py", False),
    ("takes back none of its name inside", {".gitignore": "a\n!/a"}, "a/a/x.py", True),
    (".cascadeignore excludes, too", {".cascadeignore": "gen_*.py"}, "a/gen_x.py", True),
    (
        ".cascadeignore takes back what git ignores",
        {".gitignore": "gen/", ".cascadeignore": "!gen/"},
        "gen/x.py",
        False,
    ),
    (
        "no .gitignore takes back what .cascadeignore excludes",
        {".cascadeignore": "x.py", "a/.gitignore": "!x.py"},
        "a/x.py",
        True,
    ),
    ("no ignore file takes back a secret", {".cascadeignore": "!.env"}, ".env", True),
    ("the repository's own exclude file", {".git/info/exclude": "x.py"}, "a/x.py", True),
    ("a line that is no pattern is passed over", {".gitignore": "!\n\\\nx.py"}, "x.py", True),
    ("a mark of the byte order is no text", {".gitignore": "\ufeffx.py"}, "x.py", True),
    ("an ignore file that is a folder says nothing", {".gitignore/x": ""}, "x.py", False),
]


@pytest.mark.parametrize(
    ("files", "name", "excluded"), [r[1:] for r in IGNORED], ids=[r[0] for r in IGNORED]
)
def test_ignore_files(workspace: Path, files: dict[str, str], name: str, *, excluded: bool) -> None:
    for file, text in files.items():
        write(workspace, file, text)
    assert bool(reason(workspace, name)) is excluded


def test_a_changed_ignore_file_counts_at_once(workspace: Path) -> None:
    exclusions, document = Exclusions(), workspace / "a.py"
    assert exclusions.reason_of(document, [workspace]) == ""
    rules = write(workspace, ".gitignore", "a.py")
    assert exclusions.reason_of(document, [workspace])
    write(workspace, ".gitignore", "b.py")
    os.utime(rules, ns=(1, 1))
    assert exclusions.reason_of(document, [workspace]) == ""
    rules.unlink()
    assert exclusions.reason_of(workspace / "b.py", [workspace]) == ""


def test_every_folder_of_the_workspace_counts(workspace: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, ".gitignore", "x.py")
    (other / "deep").mkdir()
    assert Exclusions().reason_of(other / "deep" / "x.py", [workspace, other])
    assert Exclusions().reason_of(other / "deep" / "x.py", [workspace]) == ""


def test_a_folder_within_a_repository_obeys_the_repositorys_rules(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path, ".gitignore", "package/local.py")
    folder = tmp_path / "package"
    assert Exclusions().reason_of(folder / "local.py", [folder])
    assert Exclusions().reason_of(folder / "local.py", [])  # a file opened by itself


LINKS = {
    "to a secret": ("notes.txt", ".env"),
    "to an ignored file": ("notes.py", "local.py"),
    "to a folder of ignored files": ("linked/x.py", "build/x.py"),
    "out of the workspace to a secret": ("notes.txt", "../outside/.env"),
}


@pytest.mark.parametrize("case", LINKS)
def test_a_link_to_an_excluded_file_is_excluded(workspace: Path, case: str) -> None:
    link, target = LINKS[case]
    write(workspace, ".gitignore", "local.py\nbuild/\n")
    write(workspace, target, "KEY=1")
    if "/" in link:
        (workspace / "linked").symlink_to(workspace / "build")
    else:
        (workspace / link).symlink_to(workspace / target)
    assert reason(workspace, link)


def test_an_ignored_link_to_an_ordinary_file_is_excluded(workspace: Path) -> None:
    write(workspace, ".gitignore", "link.py")
    write(workspace, "a.py", "")
    (workspace / "link.py").symlink_to(workspace / "a.py")
    assert reason(workspace, "link.py")
    assert reason(workspace, "a.py") == ""


PARTS = st.sampled_from(["a", "b", "c.py", "d.py"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
LINES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "!", "/", "!/", "**/"]),
    st.sampled_from(["a", "b", "*", "c.py", "*.py", "?", "a/b", "a/*", "b/c.py", "[ab]"]),
    st.sampled_from(["", "/", "/**"]),
    st.sampled_from(["", " "]),
)
FILES = st.dictionaries(
    st.sampled_from(["", "a/", "a/b/"]), st.lists(LINES, max_size=4), max_size=3
)


@settings(max_examples=60, deadline=None)
@given(files=FILES, path=PATHS)
def test_git_agrees(tmp_path_factory: pytest.TempPathFactory, files, path) -> None:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", root], check=True)
    for folder, lines in files.items():
        write(root, f"{folder}.gitignore", "\n".join(lines))
    if all(not (root / parent).is_file() for parent in Path(path).parents):
        if not (root / path).exists():
            write(root, path, "")
        if (root / path).is_dir():
            return
    asked = subprocess.run(
        ["git", "-c", "core.excludesFile=", "check-ignore", "-q", "--no-index", path],
        cwd=root,
        check=False,
    )
    assert bool(reason(root, path)) is (asked.returncode == 0)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def reason(workspace: Path, name: str) -> str:
    return Exclusions().reason_of(workspace / name, [workspace])


# -- in an editor ----------------------------------------------------------------------------------

SECRET = "hunter2"
HERE = (0, 4)


@pytest.fixture
async def session(workspace: Path, tmp_path: Path):
    """A server whose only tier is a scripted engine, and an editor with the workspace open."""
    engine = ScriptedEngine(lambda prompt: "1\n")
    tier = Tier("small", "script", engine, line="psm")
    ledger = Ledger.open(tmp_path / "ledger.sqlite3", LedgerOptions())
    server = CascadeServer(lambda settings, root: Cascade([tier], None), lambda settings: ledger)
    editor = NearEditor(server)
    await editor.begin(folders=[workspace])
    yield Session(server, editor, engine)
    await server.close()


@dataclass
class Session:
    server: CascadeServer
    editor: NearEditor
    engine: ScriptedEngine

    async def suggestions(self, path: Path, text: str = f"x = \ny = '{SECRET}'\n") -> list:
        self.editor.open(text, uri=path.as_uri())
        return await self.editor.complete(*HERE, INVOKED, textDocument={"uri": path.as_uri()})

    @property
    def prompts(self) -> str:
        return repr(self.engine.asked)


@pytest.mark.parametrize("name", [".env", "local.py", "private.py", "link.py"])
async def test_nothing_is_suggested_in_an_excluded_document_and_the_light_says_why(
    session: Session, workspace: Path, name: str
) -> None:
    write(workspace, ".gitignore", "local.py")
    write(workspace, ".cascadeignore", "private.py")
    (workspace / "link.py").symlink_to(workspace / "local.py")
    assert await session.suggestions(workspace / name) == []
    light = await session.editor.told("didChangeStatus")
    assert (light["state"], light["kind"], light["busy"]) == ("excluded", "Inactive", False)
    assert name in light["message"]
    assert session.engine.asked == []


async def test_neither_a_move_of_the_cursor_nor_a_command_shows_an_excluded_document_to_a_model(
    session: Session, workspace: Path
) -> None:
    assert await session.suggestions(workspace / "a.py", "x = \n")  # a model is loaded
    seen = len(session.engine.asked)
    document = (workspace / ".env").as_uri()
    session.editor.open(f"def f():\n    return '{SECRET}'\n", uri=document)
    here = {"line": 1, "character": 4}
    params = {"textDocument": {"uri": document}, "context": {"diagnostics": []}}
    params["range"] = {"start": here, "end": here}
    assert await session.editor.request("textDocument/codeAction", params) == []
    told = await session.editor.run("cascade.verifyFunction", document, "1", "4")
    await asyncio.sleep(SETTLED_S * 2)
    assert "may hold secrets" in told["verdict"]
    assert len(session.engine.asked) == seen


async def test_the_light_is_as_before_once_an_excluded_document_is_left(
    session: Session, workspace: Path
) -> None:
    await session.suggestions(workspace / ".env")
    assert session.server.light.state == "excluded"
    assert await session.suggestions(workspace / "a.py", "x = \n")
    assert session.server.light.state == "ready"
    await session.suggestions(workspace / ".env.local")
    document = {"uri": (workspace / ".env.local").as_uri()}
    session.editor.notify("textDocument/didClose", {"textDocument": document})
    assert session.server.light.state == "ready"


def test_the_command_line_completes_no_excluded_file(workspace: Path) -> None:
    file = write(workspace, ".env", f"KEY={SECRET}\n")
    done = subprocess.run(
        [sys.executable, "-m", "cascade_lsp", "complete", f"{file}:1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, SECRET in done.stdout + done.stderr) == (2, False)
    assert "may hold secrets" in done.stderr
