"""The kernel's own means of isolation, called directly: Linux only, standard library only.

Used by the fork server in its own process. Every call either does what it says or raises
`Missing`; nothing here decides whether to go on without it. Flags and structures are those of
the kernel's headers (linux/landlock.h, linux/seccomp.h, linux/capability.h, linux/mount.h).
"""

import ctypes
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cascade_lsp.sandbox import syscalls

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000,
    0x02000000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC = 1, 2, 4, 8
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

_SET_PDEATHSIG, _SET_DUMPABLE, _CAPBSET_DROP, _SET_NO_NEW_PRIVS = 1, 4, 24, 38
_CAPABILITY_VERSION = 0x20080522

# What each ABI of Landlock added to the rights over files, as the number of rights it knows.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ_ONLY = _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_WRITING = (
    _READ_ONLY | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM
) | (_REFER | _TRUNCATE)

_FILTER, _NEW_LISTENER = 1, 8
_NOTIFICATION_BYTES = 80
_RECEIVE = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV


class Missing(Exception):
    """A means of isolation that is not there, or does not work: its name, and why."""


@dataclass(frozen=True, slots=True)
class Access:
    """What Landlock leaves of the file system: files and folders to read, folders to list (with
    those in them), files to run, files and folders to write."""

    read: Sequence[str]
    listed: Sequence[str] = ()
    run: Sequence[str] = ()
    write: Sequence[str] = ()


class Kernel:
    """The calls; those of a primitive named in `hidden` fail as if it were not there (tests)."""

    def __init__(self, hidden: Iterable[str] = (), landlock_abi: int | None = None) -> None:
        found = syscalls.architecture()
        if found is None or not hasattr(os, "pidfd_open"):
            raise Missing("architecture", "no filter of system calls is known for this machine")
        self.audit, self.numbers = found
        self._hidden = frozenset(hidden)
        self._most_abi = landlock_abi
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _call(self, what: str, number: int | str, *arguments: object) -> int:
        """Make a system call, or a call of the C library by name; raise Missing if it fails."""
        if what in self._hidden:
            raise Missing(what, "hidden")
        if isinstance(number, int):
            result = int(self._libc.syscall(ctypes.c_long(number), *map(_argument, arguments)))
        else:
            result = int(getattr(self._libc, number)(*map(_argument, arguments)))
        if result < 0:
            raise Missing(what, os.strerror(ctypes.get_errno()))
        return result

    def _prctl(self, what: str, option: int, *arguments: int) -> int:
        padded = [*arguments, 0, 0, 0, 0][:4]
        return self._call(what, "prctl", option, *padded)

    # -- who we are ----------------------------------------------------------------------

    def no_new_privileges(self) -> None:
        """Make sure that no later program of this process can have more rights."""
        self._prctl("no_new_privs", _SET_NO_NEW_PRIVS, 1)

    def dumpable(self, on: bool) -> None:
        """Say whether others of this user may look into this process."""
        self._prctl("dumpable", _SET_DUMPABLE, int(on))

    def die_with_parent(self) -> None:
        """Be killed when the thread that started this process ends."""
        self._prctl("parent_death_signal", _SET_PDEATHSIG, 9)

    def become(self, uid: int) -> None:
        """Give up the rights of root for good."""
        try:
            if "uid_drop" in self._hidden:
                raise OSError("hidden")
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        except OSError as error:
            raise Missing("uid_drop", str(error)) from error
        if os.getresuid() != (uid, uid, uid) or os.getgroups():
            raise Missing("uid_drop", "the user did not change")

    def drop_capabilities(self) -> None:
        """Give up every capability, also those that a program could inherit or gain."""
        if "capabilities" in self._hidden:
            raise Missing("capabilities", "hidden")
        for capability in range(64):
            # Without namespaces of its own an ordinary user has no right to do this, and no need.
            self._libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)
        header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
        self._call("capabilities", self.numbers["capset"], header, bytes(24))

    # -- namespaces and mounts ---------------------------------------------------------------------

    def unshare(self, flags: int) -> None:
        """Leave the namespaces of `flags`."""
        what = "user_namespaces" if flags & NEWUSER else "namespaces"
        self._call(what, "unshare", flags)

    def make_private(self) -> None:
        """Keep what is mounted from here on to this mount namespace."""
        self._mount("none", "/", "", _MS_REC | _MS_PRIVATE)

    def mount_tmpfs(self, target: str, options: str, *, noexec: bool = True) -> None:
        """Mount an empty file system in memory."""
        flags = _MS_NOSUID | _MS_NODEV | (_MS_NOEXEC if noexec else 0)
        self._mount("tmpfs", target, "tmpfs", flags, options)

    def bind(self, source: str, target: str, *, device: bool = False) -> None:
        """Show a file or a folder, with what is mounted under it, at another place, read-only."""
        self._mount(source, target, "", _MS_BIND | _MS_REC)
        attributes = _ATTR_NOSUID | (_ATTR_NOEXEC if device else _ATTR_RDONLY | _ATTR_NODEV)
        self._restrict(target, attributes, _AT_RECURSIVE)

    def make_read_only(self, target: str) -> None:
        """Refuse writing to a mount, but not to what is mounted under it."""
        self._restrict(target, _ATTR_RDONLY | _ATTR_NOSUID, 0)

    def _restrict(self, target: str, attributes: int, scope: int) -> None:
        change = struct.pack("=QQQQ", attributes, 0, 0, 0)
        number = self.numbers["mount_setattr"]
        self._call("mount", number, _AT_FDCWD, target, scope, change, len(change))

    def enter(self, root: str) -> None:
        """Make `root` the root, and let go of everything else."""
        os.chdir(root)
        self._call("mount", self.numbers["pivot_root"], ".", ".")
        self._call("mount", "umount2", ".", _MNT_DETACH)
        os.chdir("/")

    def _mount(self, source: str, target: str, kind: str, flags: int, options: str = "") -> None:
        self._call("mount", "mount", source, target, kind, ctypes.c_ulong(flags), options)

    # -- Landlock ----------------------------------------------------------------------

    def landlock_abi(self) -> int:
        """Return the version of Landlock, at most the one that a test wants."""
        abi = self._call("landlock", self.numbers["landlock_create_ruleset"], None, 0, 1)
        return min(abi, self._most_abi or abi)

    def landlock(self, access: Access) -> None:
        """Refuse every access to files but `access`; TCP, and from ABI 6 signals and abstract
        sockets beyond this process' own domain, wholly. Inherited, and never lifted again."""
        abi = self.landlock_abi()
        rights = (1 << _FILE_RIGHTS[min(abi, 5)]) - 1
        handled = [rights, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0]
        words = 1 if abi < 4 else 2 if abi < 6 else 3
        rules = struct.pack(f"={words}Q", *handled[:words])
        create, add = (self.numbers[f"landlock_{n}"] for n in ("create_ruleset", "add_rule"))
        ruleset = self._call("landlock", create, rules, len(rules), 0)
        granted = [(access.read, _READ_ONLY), (access.listed, _READ_DIR), (access.write, _WRITING)]
        granted.append((access.run, _READ_ONLY | _EXECUTE))
        for paths, allowed in granted:
            for path in paths:
                self._allow(add, ruleset, path, allowed & rights)
        self.no_new_privileges()
        self._call("landlock", self.numbers["landlock_restrict_self"], ruleset, 0)
        os.close(ruleset)

    def _allow(self, add: int, ruleset: int, path: str, allowed: int) -> None:
        try:
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise Missing("landlock", str(error)) from error
        if not os.path.isdir(path):
            allowed &= _OF_FILES
        rule = struct.pack("=Qi", allowed, beneath)
        self._call("landlock", add, ruleset, 1, rule, 0)
        os.close(beneath)

    # -- the filter of system calls ----------------------------------------------------------------

    def filter(self, program: bytes) -> int:
        """Put this thread under a filter for good; return what tells of the calls it stops.

        `program` is a compiled filter of 8-byte instructions. Needs no_new_privileges.
        """
        text = ctypes.create_string_buffer(program, len(program))
        header = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(text))
        if "seccomp_notify" in self._hidden:
            raise Missing("seccomp_notify", "hidden")
        return self._call("seccomp", self.numbers["seccomp"], _FILTER, _NEW_LISTENER, header)

    def take(self, pidfd: int, descriptor: int) -> int:
        """Return a copy of a child's descriptor."""
        return self._call("seccomp_notify", self.numbers["pidfd_getfd"], pidfd, descriptor, 0)

    def stopped_call(self, listener: int) -> str:
        """Return the name of the call that was stopped; "" if there is none."""
        notification = ctypes.create_string_buffer(_NOTIFICATION_BYTES)
        if self._libc.ioctl(listener, ctypes.c_ulong(_RECEIVE), notification) < 0:
            return ""
        (number,) = struct.unpack_from("=i", notification, 16)
        return next((n for n, i in self.numbers.items() if i == number), f"number {number}")


def _argument(value: object) -> object:
    """Give an argument the type of a register: the C library must not guess its width."""
    if isinstance(value, bool | int):
        return ctypes.c_long(value)
    return value.encode() if isinstance(value, str) else value
