"""The loader of data sets: what it reads, exactly, and what it refuses, with which words."""

from __future__ import annotations

import gzip
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.support.helpers import SHARED, needs_shared
from verify.data import load_data, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
idx_shapes = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
idx_arrays = st.sampled_from(sorted(CODES)).flatmap(lambda kind: arrays.arrays(np.dtype(f">{kind}"), idx_shapes))
in_folder = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def idx_bytes(values: np.ndarray) -> bytes:
    """An IDX file as LeCun's page describes it, written independently of the reader."""
    kind = values.dtype.str[1:]
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, CODES[kind], values.ndim, *values.shape)
    return head + values.astype(f">{kind}").tobytes()


def write_pair(folder: Path, x: np.ndarray, y: np.ndarray, part: str = "t10k", ending: str = "") -> Path:
    """An IDX pair in a folder; returns the path of the images."""
    pack = gzip.compress if ending else bytes
    (folder / f"{part}-labels-idx1-ubyte{ending}").write_bytes(pack(idx_bytes(y)))
    images = folder / f"{part}-images-idx3-ubyte{ending}"
    images.write_bytes(pack(idx_bytes(x)))
    return images


def grey(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 5, 4), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.uint8)


def test_every_byte_becomes_the_float_nearest_to_its_255th(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=np.arange(256, dtype=np.uint8).reshape(256, 1), y=np.zeros(256, np.int64))
    x = load_data(str(tmp_path / "all.npz")).x
    assert x.dtype == torch.float32
    for v in range(256):
        here = np.float32(x[v, 0].item())
        error = abs(Fraction(float(here)) - Fraction(v, 255))
        for other in (np.nextafter(here, np.float32(-1)), np.nextafter(here, np.float32(2))):
            assert error <= abs(Fraction(float(other)) - Fraction(v, 255))
    assert torch.equal(x[:, 0], torch.arange(256).float() / 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_npz_channels_last_bytes_move_to_the_front(tmp_path: Path, channels: int) -> None:
    x = np.random.default_rng(1).integers(0, 256, (6, 4, 5, channels), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", x=x, y=np.arange(6, dtype=np.uint8))
    data = load_data(str(tmp_path / "a.npz"))
    assert data.x.shape == (6, channels, 4, 5)
    assert data.x.is_contiguous()
    assert data.name == "a.npz"
    for n, c, i, j in np.ndindex(6, channels, 4, 5):
        assert data.x[n, c, i, j].item() == np.float32(x[n, i, j, c]) / np.float32(255)
    assert data.y.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.y.dtype == torch.int64


@pytest.mark.parametrize("kind", ["float16", "float32", ">f4", "float64"])
def test_npz_floats_are_taken_as_they_are(tmp_path: Path, kind: str) -> None:
    x = np.random.default_rng(2).normal(size=(4, 3, 5, 3)).astype(kind)
    np.savez(tmp_path / "a.npz", x=x, y=np.zeros(4, np.int8), other=np.zeros(2))
    data = load_data(str(tmp_path / "a.npz"))
    assert np.array_equal(data.x.numpy(), x.astype(np.float32))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_pair_by_file_or_folder(tmp_path: Path, ending: str) -> None:
    x, y = grey(7)
    images = write_pair(tmp_path, x, y, ending=ending)
    for source in (images, tmp_path):
        data = load_data(str(source))
        assert data.name == images.name
        assert data.x.shape == (7, 1, 5, 4)
        assert np.array_equal(data.x[:, 0].numpy(), x.astype(np.float32) / np.float32(255))
        assert np.array_equal(data.y.numpy(), y)


def test_a_folder_in_the_layout_of_mnist_gives_the_test_part(tmp_path: Path) -> None:
    write_pair(tmp_path, *grey(3), part="train")
    write_pair(tmp_path, *grey(2), ending=".gz")
    assert len(load_data(str(tmp_path)).y) == 2
    write_pair(tmp_path, *grey(2))
    assert load_data(str(tmp_path)).name == "t10k-images-idx3-ubyte"


@in_folder
@given(values=idx_arrays, packed=st.booleans())
def test_idx_round_trip(tmp_path: Path, values: np.ndarray, packed: bool) -> None:
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(idx_bytes(values)) if packed else idx_bytes(values))
    found = read_idx(path)
    assert found.shape == values.shape
    assert found.dtype.isnative
    assert found.tobytes() == values.astype(values.dtype.newbyteorder("=")).tobytes()


def arrays_of_numpy() -> tuple[np.ndarray, list[int]]:
    return np.full((3, 2), 0.5, np.float32), [0, 1, 2]


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((3, 2), 0.5, dtype=torch.bfloat16, requires_grad=True), torch.tensor([0, 1, 2])


@pytest.mark.parametrize("function", ["arrays_of_numpy", "tensors"])
def test_a_function_of_the_user(function: str) -> None:
    data = load_data(f"tests.test_data:{function}", limit=2)
    assert torch.equal(data.x, torch.full((2, 2), 0.5))
    assert data.y.tolist() == [0, 1]
    assert not data.x.requires_grad


def test_digits_are_the_bundled_test_images() -> None:
    data = load_data("digits", limit=9)
    assert data.x.shape == (9, 1, 8, 8)
    assert bool((data.x * 16 == (data.x * 16).round()).all())
    assert len(load_data("digits").y) == 500


def test_the_digest_tells_data_apart_and_limits_agree(tmp_path: Path) -> None:
    x, y = grey(6)
    images = write_pair(tmp_path, x, y)
    first = load_data(str(images), limit=4)
    write_pair(tmp_path, x[:4], y[:4])
    assert load_data(str(images)).digest == load_data(str(images), limit=100).digest == first.digest
    for name, other in {"pixel": (x[:4] ^ 1, y[:4]), "label": (x[:4], y[:4] ^ 1), "fewer": (x[:3], y[:3])}.items():
        write_pair(tmp_path, *other)
        assert load_data(str(images)).digest != first.digest, name


@needs_shared
def test_mnist() -> None:
    data = load_data(str(SHARED / "data" / "mnist"))
    assert data.name == "t10k-images-idx3-ubyte.gz"
    assert data.x.shape == (10000, 1, 28, 28)
    assert data.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    with gzip.open(SHARED / "data" / "eran" / "mnist_test.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",")  # another distribution of the first 100 images
    assert np.array_equal(data.y[: len(rows)].numpy(), rows[:, 0])
    assert np.array_equal(data.x[: len(rows)].flatten(1).numpy(), rows[:, 1:].astype(np.float32) / np.float32(255))


@needs_shared
def test_cifar10() -> None:
    data = load_data(str(SHARED / "data" / "cifar10" / "cifar10_test1000.npz"), limit=100)
    assert data.x.shape == (100, 3, 32, 32)
    with gzip.open(SHARED / "data" / "eran" / "cifar10_test.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    assert np.array_equal(data.y[: len(rows)].numpy(), rows[:100, 0])
    last = torch.from_numpy(rows[:, 1:].astype(np.float32)).reshape(-1, 32, 32, 3) / 255
    assert torch.equal(data.x, last.permute(0, 3, 1, 2))
