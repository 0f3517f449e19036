"""Data sets from the sources that the command line names: bundled, .npz, IDX files, or a function of the user."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import read_array
from torch import Tensor

from verify.errors import InputError, place_of
from verify.ir.load import imported
from verify.models import digits

BUNDLED = ("digits",)
SPLITS = {"train": "train", "test": "t10k"}  # of MNIST's layout, by the first letters of the files' names
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
LARGEST, DENSEST = 1 << 28, 64  # bytes of an .npz file's arrays: so many, or so many times those of the file
IMAGES, LABELS = "images-idx3", "labels-idx1"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples: x (n, *shape) float32 and finite, y (n,) int64 >= 0, or (0,) where labels were not asked for; `digest`
    is sha256 over their bytes. `span` are the least and the largest label of the whole source, `notes` say what was
    done to its pixels, `is_scaled` whether they are bytes divided by 255."""

    name: str
    x: Tensor
    y: Tensor
    digest: str
    span: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()
    is_scaled: bool = False


def load_data(
    source: str, limit: int | None = None, split: str = "test", *, shape: tuple[int, ...] | None = None,
    labelled: bool = True,
) -> Dataset:
    """The first `limit` samples (all by default) of a data set.

    Args:
        source: one of
            - a bundled name: "digits", of which `split` says the part;
            - an .npz file with arrays x and y;
            - an IDX images file (.gz or not) with its labels file beside it, or a folder that holds one such pair; of a
              folder in the layout of MNIST, the part that `split` says;
            - "package.module:dataset", a callable that returns (x, y) as arrays or tensors.
        split: "train" or "test", where the source has both parts.
        shape: of one sample as it will be used, if that is known.
        labelled: whether labels are read; without them y may be missing, or be what a regressor aims at.

    Pixels of type uint8 become float32(v) / 255, and of rank 4 with 1 or 3 entries in the last axis they are moved to
    channels-first, unless they have the shape already; IDX images get a channel axis; floats are taken as they are.
    Raises InputError for anything else.
    """
    if limit is not None and limit <= 0:
        raise InputError(f"limit is {limit} but must be at least 1; leave it out to take all samples")
    name, x, given = _read(source, split)
    if given is None and labelled:
        raise InputError(f"{name} has no labels; save them under the key y")
    y = given if given is not None and labelled else np.zeros(x.shape[:1], np.int64)
    if x.ndim < 2 or y.ndim != 1:
        raise InputError(f"{name} has x of shape {x.shape} and y of shape {y.shape}; give (n, *shape) and (n,)")
    if len(x) != len(y):
        raise InputError(f"{name} has {len(x)} samples but {len(y)} labels; give one label for each sample")
    if x.size == 0:
        raise InputError(f"{name} has no data: x has shape {x.shape}; give at least one sample")
    (pixels, notes), labels = _pixels(name, x[:limit], shape), _labels(name, y[:limit] if labelled else y[:0])
    seen = hashlib.sha256(f"{pixels.shape}".encode())
    seen.update(pixels.tobytes())
    seen.update(labels.tobytes())
    span = int(y.min()), int(y.max())
    return Dataset(name, torch.from_numpy(pixels), torch.from_numpy(labels), seen.hexdigest(), span, notes,
                   x.dtype == np.uint8)


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file, the format of MNIST: 0, 0, type, rank, sizes as big-endian uint32, then the values.

    A name that ends in .gz is decompressed. Raises InputError for a file that is missing, damaged or of another format.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}; check the path")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError(f"{path} cannot be read ({problem}); fetch the file again") from None
    rank = content[3] if len(content) > 3 else 0
    start = 4 + 4 * rank
    known = rank in range(1, 33) and len(content) >= start and content[:2] == b"\0\0" and content[2] in IDX_TYPES
    if not known:
        raise InputError(f"{path} does not begin like an IDX file; give the file as MNIST distributes it")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", rank, 4))
    kind = np.dtype(IDX_TYPES[content[2]])
    if len(content) - start != prod(shape) * kind.itemsize:
        raise InputError(
            f"{path} announces values of shape {shape}, {prod(shape) * kind.itemsize} bytes, but holds "
            f"{len(content) - start}; fetch the file again"
        )
    return np.frombuffer(content, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def _read(source: str, split: str) -> tuple[str, np.ndarray, np.ndarray | None]:
    """(name, x, y) as the source has them; an .npz file may lack y."""
    path = Path(source)
    if source in BUNDLED:
        x, y = digits(split)
        return source, x.numpy(), y.numpy()
    if path.suffix == ".npz":
        return path.name, *_read_npz(path)
    if path.is_dir() or IMAGES in path.name:
        return _read_idx_pair(_images_of(path, split) if path.is_dir() else path)
    if ":" in source and not path.exists():
        return source, *_call(source)
    raise InputError(
        f"cannot tell what data {source!r} is; give a bundled name ({', '.join(BUNDLED)}), an .npz file, a file named "
        f"*{IMAGES}*, a folder with such a file, or package.module:dataset"
    )


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    if path.is_dir():
        raise InputError(f"{path} is a folder, not an .npz file; give the file")
    if not path.is_file():
        raise InputError(f"there is no file {path}; check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            held = sum(item.file_size for item in archive.infolist())
            most = max(LARGEST, DENSEST * path.stat().st_size)
            if held > most:
                raise InputError(f"{path} unpacks to {held} bytes, more than {most}; save it with numpy.savez")
            arrays = {name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()}
    except InputError:
        raise
    except Exception as problem:  # a damaged archive fails in many ways
        raise InputError(f"{path} is not a whole .npz file ({problem}); save it again with numpy.savez") from None
    if "x" not in arrays or (len(arrays) > 1 and "y" not in arrays):
        raise InputError(f"{path} has arrays {', '.join(arrays) or '(none)'}; save it with the keys x and y")
    return arrays["x"], arrays.get("y")


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        return read_array(file, allow_pickle=False)


def _images_of(folder: Path, split: str) -> Path:
    """The one images file of a folder; of several the one of this split, and of a file and its .gz the file."""
    found = sorted(p for p in folder.iterdir() if IMAGES in p.name)
    chosen = [p for p in found if p.name.startswith(SPLITS[split])] or found
    if not chosen:
        raise InputError(f"folder {folder} has no file named *{IMAGES}*; give the folder of an IDX pair")
    if len({p.name.removesuffix(".gz") for p in chosen}) > 1:
        raise InputError(f"folder {folder} has {', '.join(p.name for p in chosen)}; give the path of one of them")
    return chosen[0]


def _read_idx_pair(images: Path) -> tuple[str, np.ndarray, np.ndarray]:
    x, y = read_idx(images), read_idx(images.with_name(images.name.replace(IMAGES, LABELS)))
    if x.ndim != 3:
        raise InputError(f"{images} holds values of shape {x.shape}; images have three axes (n, rows, columns)")
    return images.name, x[:, None], y


def _call(source: str) -> tuple[np.ndarray, np.ndarray]:
    """What the function `package.module:function` returns."""
    module = imported(source)
    try:
        result = getattr(module, source.partition(":")[2])()
    except Exception as problem:  # the user's code may raise anything
        where, what = place_of(problem), f"{type(problem).__name__}: {problem}"
        raise InputError(f"{source} raised {what} ({where}); mend that function") from problem
    if not isinstance(result, tuple) or len(result) != 2:
        raise InputError(f"{source} returned {type(result).__name__}; it must return a pair (x, y)")
    return _array(result[0]), _array(result[1])


def _array(values: object) -> np.ndarray:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def _pixels(name: str, x: np.ndarray, shape: tuple[int, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """(float32 (n, *shape) in C order, finite; what was done to them that the user may not expect)."""
    if x.dtype == np.uint8:
        notes: tuple[str, ...] = ()
        if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1:] != shape:
            moved = np.moveaxis(x, 3, 1)
            if x.shape[3] > 1:
                notes = (f"{name} has bytes of shape {x.shape[1:]}; the last axis is taken for channels and moved, "
                         f"{moved.shape[1:]}",)
            x = moved
        return np.ascontiguousarray(x, dtype=np.float32) / np.float32(255), notes
    if x.dtype.kind != "f":
        raise InputError(f"{name} has pixels of type {x.dtype}; give uint8 (divided by 255 here) or floats")
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused below
        pixels = np.array(x, dtype=np.float32, order="C")
    finite = np.isfinite(pixels).reshape(len(pixels), -1).all(1)
    if not finite.all():
        raise InputError(f"sample {int(finite.argmin())} of {name} has a pixel that is not finite; remove or mend it")
    return pixels, ()


def _labels(name: str, y: np.ndarray) -> np.ndarray:
    """The labels as int64 (n,), all at least 0; raises InputError for others."""
    if y.dtype.kind not in "iu":
        raise InputError(f"{name} has labels of type {y.dtype}; classes are integers, and of a "
                         "regressor `verify certify` asks with --within or --bounds")
    labels = y.astype(np.int64)
    if labels.size and labels.min() < 0:
        worst = int(labels.argmin())
        raise InputError(f"sample {worst} of {name} has label {y[worst]}, out of range; number the classes from 0")
    return labels
