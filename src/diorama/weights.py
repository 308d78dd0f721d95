"""The weights of big models: where they lie, how they get there, and reading them without trust.

Files of Hugging Face repositories lie in the hub's own cache, so that what other tools have pulled
is not pulled again; files from elsewhere, and a record of every model's files and hashes, lie in
``assets/diorama`` beside it. `DIORAMA_MODELS_DIR` stands for both, in place of HF_HOME. Only `pull`
reaches the network.
"""

import functools
import json
import os
import pickle
import shutil
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diorama.errors import InputError, MissingExtraError, OutputError
from diorama.files import file_hash, whole_file

if TYPE_CHECKING:
    from torch import Tensor

FOLDER_VARIABLE = "DIORAMA_MODELS_DIR"
"""Of the environment: the folder of all weights, in place of HF_HOME."""

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that are here, and those there will be (None: unknown)."""

CHECKPOINTS = (".ckpt", ".pt", ".pth", ".safetensors")
"""Suffixes of weights inside a zip."""

DAMAGE = (
    *(EOFError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error, RuntimeError),
    *(AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError),
)
"""What reading a damaged file raises: its pickle calls what it finds with whatever it finds."""


@dataclass(frozen=True)
class WeightFile:
    """One file of weights, and what is known of it before it is pulled."""

    name: str
    """Its path in the source."""
    size: int | None = None
    """Bytes; rounded maybe for files of the hub, which is asked before a pull."""
    sha256: str | None = None
    """In hexadecimal; None: what the first pull gives is recorded, and held to from then on."""


@dataclass(frozen=True)
class Weights:
    """Files that are pulled once and read from then on."""

    name: str
    """Under which they lie here, one word."""
    source: str
    """A repository of the Hugging Face hub, "owner/name"; or where the files are: "https://..."."""
    files: tuple[WeightFile, ...]
    """A model is given the path of its only file, or of the folder in which they all lie."""
    revision: str | None = None
    """A repository's commit; None: what main is at the first pull, which is recorded."""
    lora: "Weights | None" = None
    """The only file of a LoRA for them, from another source: it is pulled, held to its hash and
    removed with them, and a model is given its path as well."""

    @property
    def is_on_hub(self) -> bool:
        """Whether the source is a repository of the hub."""
        return "://" not in self.source

    @property
    def parts(self) -> "tuple[Weights, ...]":
        """What comes from one source each: themselves, and the LoRA if there is one."""
        return (self,) if self.lora is None else (self, self.lora)

    @property
    def size(self) -> int | None:
        """Bytes of all files, if they are known."""
        sizes = [file.size for part in self.parts for file in part.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def megabytes(size: int) -> str:
    """A size in bytes for people to read, such as "0.2 MB" or "86 MB"."""
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


def own_folder() -> Path:
    """Where files from elsewhere and records lie."""
    chosen = os.environ.get("HF_ASSETS_CACHE")
    assets = _expanded(chosen) if chosen and not _models_dir() else _home() / "assets"
    return assets / "diorama"


def hub_folder() -> Path:
    """The hub's cache."""
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _expanded(chosen) if chosen and not _models_dir() else _home() / "hub"


def is_pulled(weights: Weights) -> bool:
    """Whether they were pulled, as they are asked for now."""
    return all(_record(part) is not None for part in weights.parts)


def hashes(weights: Weights) -> dict[str, str]:
    """The recorded SHA-256 of each file, in hexadecimal; empty if they were not pulled."""
    return {name: h for part in weights.parts for name, h in (_record(part) or {}).items()}


def find_problem(weights: Weights) -> str | None:
    """Why they cannot be used, such as "a.pt is damaged"; None if they can.

    Every file is held to its recorded hash, once in the life of a process unless it changes.
    """
    return next(filter(None, map(_problem_of, weights.parts)), None)


def locate(weights: Weights) -> Path:
    """The path a model is given: that of the only file, or of the folder of all.

    Whether it can be used is for `find_problem` to say.
    """
    folder = _folder(weights)
    return folder / weights.files[0].name if len(weights.files) == 1 else folder


def pull(weights: Weights, *, progress: Progress = lambda name, done, total: None) -> Path:
    """Fetch what is missing or damaged; the network is not asked where all is well.

    The first pull records every file's hash, and a repository's commit; later ones give the same
    files or fail.

    Returns:
        The path a model is given.

    Raises:
        InputError: if a file cannot be had, or is not what it should be.
        OutputError: if one cannot be written.
        MissingExtraError: if the hub's client is not installed.
    """
    if weights.lora is not None:
        pull(weights.lora, progress=progress)
    if _problem_of(weights) is None:
        return locate(weights)
    fetched = _pull_from_hub if weights.is_on_hub else _pull_from_web
    revision = fetched(weights, progress)
    folder = _folder(weights, revision)
    files = {file.name: file_hash(folder / file.name) for file in weights.files}
    _write_record(weights, {"source": weights.source, "revision": revision, "files": files})
    return locate(weights)


def remove(weights: Weights) -> bool:
    """Delete their files and record; of a repository, the files named alone. Whether any were here.

    Raises:
        OutputError: if they cannot be deleted.
    """
    from diorama.hub import discard, discard_parts

    lora_was_here = weights.lora is not None and remove(weights.lora)
    folder = own_folder() / weights.name
    paths = [_folder(weights) / file.name for file in weights.files]
    present = [path for path in paths if path.exists()]
    found = bool(present) or folder.exists() or lora_was_here
    try:
        for path in present:
            discard(path)
        if weights.is_on_hub:
            discard_parts(_repository_folder(weights))
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"cannot delete {error.filename}: {error.strerror}") from error
    return found


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, "Tensor"]:
    """Read the tensors of a checkpoint by name, and run nothing that stands in it.

    What is read: safetensors; what `torch.save` wrote, plain or inside a training run's checkpoint
    (under "state_dict" or "model"), whose other objects are replaced by inert ones; and a zip with
    one of these in it, as big-lama's.

    Args:
        path: the file.

    Returns:
        Tensors on the CPU.

    Raises:
        InputError: if it holds no tensors, is damaged, or is of another kind.
        MissingExtraError: if torch or safetensors is not installed.
    """
    path = Path(path)
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("reading weights", "models") from error
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _problem_of(weights: Weights) -> str | None:
    """See `find_problem`; the LoRA does not count."""
    record = _record(weights)
    if record is None:
        return "its weights are not here"
    for name, recorded in record.items():
        path = _folder(weights) / name
        try:
            stat = path.stat()
            found = _hash_of(path, stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            return f"{path} is missing"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        if found != recorded:
            return f"{path} is damaged or another file: its hash is not the recorded one"
    return None


def _models_dir() -> str | None:
    return os.environ.get(FOLDER_VARIABLE) or None


def _home() -> Path:
    """As the hub's client has it, whose constants are fixed when it is imported."""
    chosen = _models_dir() or os.environ.get("HF_HOME")
    if chosen:
        return _expanded(chosen)
    return _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


def _repository_folder(weights: Weights) -> Path:
    """As the hub documents the layout of its cache."""
    return hub_folder() / f"models--{weights.source.replace('/', '--')}"


def _folder(weights: Weights, revision: str | None = None) -> Path:
    """Where their files lie, once they are there."""
    if not weights.is_on_hub:
        return own_folder() / weights.name
    return _repository_folder(weights) / "snapshots" / (revision or _revision(weights) or "none")


def _revision(weights: Weights) -> str | None:
    return weights.revision or _read_record(weights).get("revision")


def _record_path(weights: Weights) -> Path:
    return own_folder() / weights.name / "record.json"


def _read_record(weights: Weights) -> dict[str, Any]:
    try:
        record = json.loads(_record_path(weights).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict) or record.get("source") != weights.source:
        return {}
    files = record.get("files")
    if not isinstance(files, dict) or not all(isinstance(h, str) for h in files.values()):
        return {}
    return record


def _record(weights: Weights) -> dict[str, str] | None:
    """The recorded hash of each file; None if there are none that fit the entry."""
    record = _read_record(weights)
    files = record.get("files", {})
    fits = weights.revision in (None, record.get("revision")) and all(
        file.name in files and file.sha256 in (None, files[file.name]) for file in weights.files
    )
    return {file.name: files[file.name] for file in weights.files} if fits else None


def _write_record(weights: Weights, record: dict[str, Any]) -> None:
    with whole_file(_record_path(weights)) as path:
        path.write_text(json.dumps(record, indent=1) + "\n")


@functools.lru_cache(maxsize=256)
def _hash_of(path: Path, size: int, mtime_ns: int) -> str:
    """A file's hash, read once for each size and date it has."""
    del size, mtime_ns
    return file_hash(path)


def _expected(weights: Weights, file: WeightFile) -> str | None:
    """The hash a file must have: the entry's, else what an earlier pull recorded."""
    return file.sha256 or (_record(weights) or {}).get(file.name)


def _pull_from_web(weights: Weights, progress: Progress) -> None:
    from diorama.downloads import download

    for file in weights.files:
        path, expected = _folder(weights) / file.name, _expected(weights, file)
        if path.is_file() and expected is not None and file_hash(path) == expected:
            continue
        download(
            f"{weights.source.rstrip('/')}/{file.name}",
            path,
            size=file.size,
            sha256=expected,
            progress=functools.partial(progress, file.name),
        )


def _pull_from_hub(weights: Weights, progress: Progress) -> str:
    from diorama.hub import fetch

    return fetch(
        weights.source,
        {file.name: _expected(weights, file) for file in weights.files},
        revision=_revision(weights),
        folder=_repository_folder(weights),
        progress=progress,
    )


def _read(file: Any, path: Path) -> dict[str, "Tensor"]:
    """Tensors of an open file, which is `path` or inside it."""
    try:
        start = file.read(9)
        file.seek(0)
        if start[8:] == b"{":
            return _read_safetensors(file)
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                if _pickle_in(archive) is None:
                    return _read(_only_checkpoint(archive, path), path)
                if any(name.endswith("constants.pkl") for name in archive.namelist()):
                    raise InputError(
                        f"{path} is TorchScript, a program: use the checkpoint it was made from"
                    )
        file.seek(0)
        return _tensors_of(_read_pickle(file, path), path)
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            f"{path} is no checkpoint, or damaged: {_first_sentence(error)}"
        ) from error


def _first_sentence(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line.partition(". ")[0]


def _read_safetensors(file: Any) -> dict[str, "Tensor"]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load, load_file
    except ImportError as error:
        raise MissingExtraError("reading safetensors", "models") from error
    try:
        return load(file.read()) if isinstance(file, BytesIO) else load_file(file.name)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _only_checkpoint(archive: zipfile.ZipFile, path: Path) -> BytesIO:
    found = [name for name in archive.namelist() if name.endswith(CHECKPOINTS)]
    if len(found) != 1:
        raise InputError(f"{path} must hold one checkpoint, but holds {len(found)}")
    return BytesIO(archive.read(found[0]))


def _pickle_in(archive: zipfile.ZipFile) -> str | None:
    names = (name for name in archive.namelist() if name.endswith("data.pkl"))
    return min(names, key=len, default=None)


def _read_pickle(file: Any, path: Path) -> Any:
    """What `torch.save` wrote: by torch if it is plain data, else the tensors in it."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on old formats
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        file.seek(0)
        if not zipfile.is_zipfile(file):
            raise InputError(
                f"{path} is no checkpoint, or a pickle that is not safe to read"
            ) from error
        with zipfile.ZipFile(file) as archive:
            return _read_tensors(archive)


def _read_tensors(archive: zipfile.ZipFile) -> Any:
    """Unpickle a checkpoint with every object inert but tensors and their containers.

    Classes and functions are made anew for each file, so that none can be changed for the next.
    """
    import torch

    types = {
        "BFloat16Storage": torch.bfloat16,
        "BoolStorage": torch.bool,
        "ByteStorage": torch.uint8,
        "CharStorage": torch.int8,
        "DoubleStorage": torch.float64,
        "FloatStorage": torch.float32,
        "HalfStorage": torch.float16,
        "IntStorage": torch.int32,
        "LongStorage": torch.int64,
        "ShortStorage": torch.int16,
    }

    class Inert:
        """Stands for any other object, and takes whatever is done to it."""

        def __new__(cls, *args: Any, **options: Any) -> "Inert":
            return object.__new__(cls)

        def __init__(self, *args: Any, **options: Any) -> None: ...

        def __setstate__(self, state: Any) -> None: ...

        def __setitem__(self, key: Any, value: Any) -> None: ...

        def __call__(self, *args: Any, **options: Any) -> "Inert":
            return self

        append = extend = add = update = __setstate__

    def tensor(storage: Any, offset: int, size: tuple, stride: tuple, *rest: Any) -> Any:
        return torch.as_strided(storage, size, stride, offset)

    def parameter(data: Any, *rest: Any) -> Any:
        return data

    class Containers(dict):
        """An OrderedDict that cannot be given attributes."""

        def __setstate__(self, state: Any) -> None: ...

    known: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): Containers,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        **{("torch", name): dtype for name, dtype in types.items()},
    }
    pickled = _pickle_in(archive)
    assert pickled is not None
    root = pickled.removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    storages: dict[str, Tensor] = {}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return known.get((module, name), Inert)

        def persistent_load(self, pid: Any) -> Any:
            _, dtype, key, *_ = pid
            if key not in storages:
                data = bytearray(archive.read(f"{root}data/{key}"))
                storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0)
            return storages[key]

    return Unpickler(BytesIO(archive.read(pickled)), encoding="utf-8").load()


def _tensors_of(loaded: Any, path: Path) -> dict[str, "Tensor"]:
    from torch import Tensor

    if isinstance(loaded, Mapping):
        for inner in (loaded.get("state_dict"), loaded.get("model"), loaded):
            if isinstance(inner, Mapping):
                tensors = {str(k): v for k, v in inner.items() if isinstance(v, Tensor)}
                if tensors:
                    return tensors
    raise InputError(f"{path} holds no tensors by name")
