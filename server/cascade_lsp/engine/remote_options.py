"""What a user says of a remote model, and what is wrong with that; no network library is needed
for it."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """A larger model on a server, which takes the local large one's turn where its text may leave
    this machine (docs/team.md). Nothing is sent as long as `url` is empty or `cascade.network`
    is off."""

    url: str = field(
        default="",
        metadata={
            "help": "Address of an OpenAI-compatible server, such as `http://127.0.0.1:8080/v1`.",
            "guarded": True,
        },
    )
    model: str = field(
        default="",
        metadata={"help": "The model's name there. Empty: the server's only one.", "guarded": True},
    )
    api: Literal["auto", "infill", "completions", "chat"] = field(
        default="auto",
        metadata={
            "help": "How it is asked to fill a hole in code: llama.cpp's `/infill`, `completions` "
            "with a suffix, or a conversation; auto: the first of these that it can. Whole "
            "functions are asked for in a conversation.",
            "guarded": True,
        },
    )
    mine: bool = field(
        default=False,
        metadata={
            "help": "The server is under your control. One on this machine always is.",
            "guarded": True,
        },
    )
    send: Literal["blocked", "mine", "any"] = field(
        default="mine",
        metadata={
            "help": "Whose servers may see a file of which no privacy policy speaks: nobody's, "
            "those under your control, or any.",
            "guarded": True,
        },
    )
    context: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Globs of files, as in .gitignore, of which parts may be sent along with "
            "another file. Empty: only the file that you edit is sent.",
            "guarded": True,
        },
    )
    key_variable: str = field(
        default="",
        metadata={
            "help": "Name of the environment variable that holds the key. The editor's own store "
            "and the system's keyring (`cascade remote key`) need none.",
            "guarded": True,
        },
    )
    timeout_s: float = field(
        default=20.0,
        metadata={
            "help": "Seconds after which an answer is given up.",
            "least": 1,
            "guarded": True,
        },
    )
    request_tokens: int = field(
        default=8_000,
        metadata={"help": "Tokens that one request may take at most, both ways.", "guarded": True},
    )
    day_tokens: int = field(
        default=500_000,
        metadata={"help": "Tokens that all requests of a day may take.", "guarded": True},
    )
    day_money: float = field(
        default=1.0,
        metadata={
            "help": "Money that all requests of a day may cost, by the prices below.",
            "guarded": True,
        },
    )
    prompt_price: float = field(
        default=0.0,
        metadata={"help": "Price of a million tokens that it reads.", "guarded": True},
    )
    answer_price: float = field(
        default=0.0,
        metadata={"help": "Price of a million tokens that it writes.", "guarded": True},
    )

    def money(self, prompt_tokens: int, new_tokens: int) -> float:
        """Return what so many tokens cost."""
        return (prompt_tokens * self.prompt_price + new_tokens * self.answer_price) / 1e6

    @property
    def host(self) -> str:
        """Return the server's name, and its port where the address has one."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def local(self) -> bool:
        """Say whether the server is on this machine."""
        name = urlsplit(self.url).hostname or ""
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return name == "localhost"

    def fault(self) -> str:
        """Return what is wrong with the address, as a clause; "" if nothing is."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "cascade.remote.url is no address that begins with https:// or http://"
        if "@" in parts.netloc:
            return "cascade.remote.url holds a password; keep it with `cascade remote key`"
        if parts.scheme == "http" and not (self.mine or self.local):
            return (
                "cascade.remote.url begins with http://, so that anybody on the way can read what "
                "is sent; use https://, or say that the server is yours (cascade.remote.mine)"
            )
        return ""
