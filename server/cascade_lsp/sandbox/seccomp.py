"""Which system calls generated code may make, and the filter that says so to the kernel.

Pure. An allow-list: a call that is not named here stops the program, and its name is told. Landlock
does not see chmod, utime, extended attributes, UDP, sockets by path, or signals, priorities and
limits of the user's other processes, so this list is as needed as Landlock is.
"""

import errno
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Computing, memory, time and one's own files, descriptors and threads.
_ALLOWED = """
    read write futex mmap munmap mprotect madvise brk close lseek fstat newfstatat openat
    clock_gettime clock_nanosleep rt_sigaction rt_sigprocmask rt_sigreturn getrandom exit
    exit_group close_range readv writev pread64 pwrite64 preadv pwritev stat lstat statx access
    faccessat faccessat2 open dup dup2 dup3 pipe pipe2 poll ppoll select pselect6 epoll_create
    epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 timerfd_create
    timerfd_settime timerfd_gettime getdents64 getcwd chdir fchdir readlink readlinkat mkdir
    mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat creat
    truncate ftruncate fallocate fsync fdatasync fadvise64 statfs fstatfs umask sendfile
    copy_file_range mremap sigaltstack rt_sigpending rt_sigsuspend rt_sigtimedwait pause alarm
    setitimer getitimer nanosleep clock_getres gettimeofday time times getrusage getrlimit sysinfo
    uname getcpu getpid gettid getppid getuid geteuid getgid getegid getgroups getresuid getresgid
    getpgrp getpgid getsid sched_yield sched_getaffinity sched_getparam sched_getscheduler
    sched_get_priority_max sched_get_priority_min set_robust_list set_tid_address rseq membarrier
    restart_syscall wait4 waitid recvfrom shutdown getsockname getpeername getsockopt
"""
# What a whole runtime needs before it can run anything.
_OF_A_RUNTIME = "execve arch_prctl capget"
# What programs try and do well without: the answer says that there is no such thing.
_ABSENT = {
    errno.ENOSYS: "clone3 mbind get_mempolicy set_mempolicy openat2 pkey_alloc",
    errno.EOPNOTSUPP: "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr",
}

_CLONE_VM, _CLONE_SIGHAND, _CLONE_THREAD = 0x100, 0x800, 0x10000
_THREAD = _CLONE_VM | _CLONE_SIGHAND | _CLONE_THREAD
_NEW_NAMESPACES = 0x7E020080
# O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, and what makes O_TMPFILE of O_DIRECTORY
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000
_AF_UNIX = 1
_DESCRIPTOR_COMMANDS = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD ... F_SETFL, F_DUPFD_CLOEXEC
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_PRCTLS = (15, 16, 0x53564D41)  # the thread's name, the name of a mapping

_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _NOTIFY, _KILL, _ERRNO = 0x7FFF0000, 0x7FC00000, 0x80000000, 0x00050000
_X32 = 0x40000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_OWN_PID = 0x5EC0D01D  # stands in a filter for a number that is known only after the fork


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a program may do beyond computing: start threads, write files (where a folder of its
    own is all that it can write in), run programs (which only a whole runtime needs)."""

    threads: bool = True
    files: bool = True
    programs: bool = False


def program(numbers: Mapping[str, int], audit: int, allowance: Allowance) -> bytes:
    """Return a filter as 8-byte instructions; `for_process` gives it the process' own number."""
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    for name, rule in _rules(allowance):
        if name in numbers:
            code += [(_EQUAL, 0, len(rule), numbers[name]), *rule]
    code.append((_RETURN, 0, 0, _NOTIFY))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def for_process(program: bytes, pid: int) -> bytes:
    """Return the filter for the process that knows itself by this number."""
    return program.replace(struct.pack("=I", _OWN_PID), struct.pack("=I", pid))


Instruction = tuple[int, int, int, int]
_YES: list[Instruction] = [(_RETURN, 0, 0, _ALLOW)]
_NO: list[Instruction] = [(_RETURN, 0, 0, _NOTIFY)]


def _rules(allowance: Allowance) -> Iterator[tuple[str, list[Instruction]]]:
    """Yield what to do at each call, the frequent ones first."""
    if not allowance.files:
        for name, position in (("openat", 2), ("open", 1)):
            yield name, _only_bits(position, 0, _WRITING, _refusal(errno.EACCES))
        for name in "creat truncate ftruncate mkdir mkdirat unlink unlinkat rmdir".split():  # noqa: SIM905
            yield name, _NO
        for name in "rename renameat renameat2 link linkat symlink symlinkat".split():  # noqa: SIM905
            yield name, _NO
    for name in _ALLOWED.split():
        yield name, _YES
    for number, names in _ABSENT.items():
        for name in names.split():
            yield name, _refusal(number)
    if allowance.threads:
        yield "clone", _only_bits(0, _THREAD, _THREAD | _NEW_NAMESPACES)
    if allowance.programs:
        for name in _OF_A_RUNTIME.split():
            yield name, _YES
        yield "io_uring_setup", _refusal(errno.ENOSYS)
        yield "prlimit64", _refusal(errno.EPERM)
        yield "prctl", _one_of(0, _PRCTLS, _refusal(errno.EPERM))
        yield "ioctl", _one_of(1, _IOCTLS, _refusal(errno.ENOTTY))
    yield "tgkill", _one_of(0, (_OWN_PID,))
    yield "socketpair", _one_of(0, (_AF_UNIX,))
    yield "sendto", _null(4)
    yield "fcntl", _one_of(1, _DESCRIPTOR_COMMANDS)
    yield "ioctl", _one_of(1, _IOCTLS)
    yield "prctl", _one_of(0, _PRCTLS)
    yield "prlimit64", [*_null(2)[:-1], *_one_of(0, (0, _OWN_PID))]


def _refusal(number: int) -> list[Instruction]:
    """Let a call fail with an error number, and the program go on."""
    return [(_RETURN, 0, 0, _ERRNO | number)]


def _one_of(
    position: int, values: Sequence[int], otherwise: list[Instruction] = _NO
) -> list[Instruction]:
    """Allow where the low half of an argument, an int, is one of the values."""
    compare = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * position), *compare, *otherwise, *_YES]


def _only_bits(
    position: int, wanted: int, mask: int, otherwise: list[Instruction] = _NO
) -> list[Instruction]:
    """Allow where the masked low half of an argument is as wanted."""
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * position),
        (_AND, 0, 0, mask),
        (_EQUAL, 1, 0, wanted),
        *otherwise,
        *_YES,
    ]


def _null(position: int) -> list[Instruction]:
    """Allow where both halves of an argument, a pointer, are zero."""
    low = _ARGUMENTS + 8 * position
    return [
        (_LOAD, 0, 0, low),
        (_EQUAL, 0, 2, 0),
        (_LOAD, 0, 0, low + 4),
        (_EQUAL, 1, 0, 0),
        *_NO,
        *_YES,
    ]
