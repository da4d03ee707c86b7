"""Where the engine host and its clients meet: a Unix socket in a folder that is the user's alone.

Over it go `engine.wire`'s messages, one connection per client, and before them:

From the host:  {"ev": "host", "version", "pid"}, at once
To the host:    {"op": "retire"}: a newer version starts a host of its own; answered by hanging up
                {"op": "open", "version", "model", "options", "keep"}
From the host:  {"ev": "ready", ...ModelFacts}   {"ev": "fatal", "message", "pause_s"}

Both ends make sure that the other one belongs to the same user. Where that cannot be had, nothing
is shared.
"""

import asyncio
import os
import socket
import stat
import struct
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from cascade_lsp.engine.exchange import LINE_LIMIT_BYTES

LONGEST_PATH_BYTES = 100  # 104 on macOS, with the zero that ends it


class Unshareable(Exception):
    """Engines cannot be shared here; the text says why."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The meeting place in one folder."""

    folder: Path

    @property
    def path(self) -> Path:
        """Return the socket's path."""
        return self.folder / "engine.sock"

    @property
    def lock(self) -> Path:
        """Return the path of the lock that a host holds while it takes the socket."""
        return self.folder / "engine.lock"

    def prepare(self) -> None:
        """Make the folder; raise Unshareable where it is not the user's alone."""
        if sys.platform == "win32":
            raise Unshareable("it is not possible on Windows yet")
        if len(os.fsencode(self.path)) > LONGEST_PATH_BYTES:
            raise Unshareable(f"the path {self.path} is too long for a socket")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.folder.lstat()
        except OSError as error:
            raise Unshareable(f"the folder {self.folder} cannot be had: {error}") from error
        if not stat.S_ISDIR(found.st_mode):
            raise Unshareable(f"{self.folder} is not a folder")
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise Unshareable(f"others have access to the folder {self.folder}")

    async def connect(self) -> tuple[StreamReader, StreamWriter] | None:
        """Return a connection to the host, None if there is none; raise Unshareable where the
        one who listens is not this user."""
        try:
            reader, writer = await asyncio.open_unix_connection(self.path, limit=LINE_LIMIT_BYTES)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise Unshareable(f"{self.path} cannot be reached: {error}") from error
        if not is_mine(writer):
            writer.close()
            raise Unshareable(f"somebody else listens at {self.path}")
        return reader, writer

    async def listen(
        self, serve: Callable[[StreamReader, StreamWriter], Awaitable[None]]
    ) -> asyncio.Server | None:
        """Listen at the socket, for this user alone; return None where a host does already.

        The caller holds the lock, and serves nobody yet.
        """
        if found := await self.connect():
            found[1].close()
            return None
        self.remove()  # what is there was left by a host that was killed
        mask = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(serve, self.path, limit=LINE_LIMIT_BYTES)
        finally:
            os.umask(mask)

    def identity(self) -> tuple[int, int] | None:
        """Return what tells the socket from a later one at the same path, None if there is none."""
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def remove(self) -> None:
        """Remove the socket."""
        self.path.unlink(missing_ok=True)


def is_mine(writer: StreamWriter) -> bool:
    """Say whether the process at the other end of a Unix socket is this user's."""
    return _peer_uid(writer.get_extra_info("socket")) == os.geteuid()


def _peer_uid(connected: socket.socket) -> int | None:
    if sys.platform == "linux":
        found = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", found)[1])  # struct ucred: pid, uid, gid
    if sys.platform == "darwin":
        found = connected.getsockopt(0, socket.LOCAL_PEERCRED, 76)  # 0 is SOL_LOCAL
        return int(struct.unpack_from("=II", found)[1])  # struct xucred: version, uid, ...
    return None
