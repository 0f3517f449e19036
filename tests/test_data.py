"""The loader of data sets: what it reads, exactly, and what it refuses, with which words."""

from __future__ import annotations

import gzip
import struct
import zipfile
from fractions import Fraction
from importlib import import_module
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.support.helpers import SHARED, needs_shared
from verify import data as module
from verify.data import load_data, read_idx
from verify.errors import InputError

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


def refuses(source: object, *words: str, limit: int | None = None) -> None:
    """The source is refused in one sentence that has these words and a remedy."""
    with pytest.raises(InputError) as caught:
        load_data(str(source), limit)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message
    for word in words:
        assert word in message


# --- what is read -------------------------------------------------------------------------------------------------


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


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one(limit: int) -> None:
    refuses("digits", f"limit is {limit}", limit=limit)


@pytest.mark.parametrize("source", ["digit", "no/such/file.bin", "numpy"])
def test_unknown_source(source: str) -> None:
    refuses(source, repr(source), "digits", "package.module:dataset")


@pytest.mark.parametrize("name", ["a.npz", "t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    refuses(tmp_path / name, "no file", str(tmp_path / name))


@pytest.mark.parametrize(("arrays", "words"), [
    ({"images": np.zeros((2, 3)), "y": [0, 1]}, ["images, y", "keys x and y"]),
    ({"x": np.zeros((2, 3)), "y": [0]}, ["2 samples but 1 labels"]),
    ({"x": np.zeros((0, 3)), "y": np.zeros(0, int)}, ["no data"]),
    ({"x": np.zeros((2, 0)), "y": [0, 1]}, ["no data"]),
    ({"x": np.zeros(2), "y": [0, 1]}, ["(2,)"]),
    ({"x": np.zeros((2, 3)), "y": [[0], [1]]}, ["(2, 1)"]),
    ({"x": np.zeros((2, 3)), "y": [0.0, 1.0]}, ["labels of type float64"]),
    ({"x": np.zeros((2, 3)), "y": [0, -1]}, ["sample 1", "label -1"]),
    ({"x": np.zeros((2, 3)), "y": np.array([0, 2**63], np.uint64)}, ["sample 1", str(2**63)]),
    ({"x": np.zeros((2, 3), int), "y": [0, 1]}, ["pixels of type int64", "uint8"]),
    ({"x": np.zeros((2, 3), complex), "y": [0, 1]}, ["pixels of type complex128"]),
    ({"x": np.array([[0.0, 1], [1, np.nan], [np.nan, 1]]), "y": [0, 1, 2]}, ["sample 1", "not finite"]),
    ({"x": np.array([[0.0, -np.inf]]), "y": [0]}, ["sample 0", "not finite"]),
    ({"x": np.array([[0.0], [1e300]]), "y": [0, 1]}, ["sample 1", "not finite"]),
])
def test_npz_with_contents_that_do_not_fit(tmp_path: Path, arrays: dict, words: list[str]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    refuses(tmp_path / "a.npz", "a.npz", *words)


def test_npz_with_pickled_objects_runs_no_code(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([[print]], dtype=object), y=[0])
    refuses(tmp_path / "a.npz", "a.npz", "not a whole .npz")


def test_a_folder_named_like_an_npz_file(tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    refuses(tmp_path / "a.npz", str(tmp_path / "a.npz"), "is a folder")


def test_npz_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"")
    refuses(path, str(path), "not a whole .npz")
    np.save(tmp_path / "b.npy", np.zeros((2, 3)))
    (tmp_path / "b.npy").rename(path)
    refuses(path, str(path), "not a whole .npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
        archive.writestr("y.npy", b"no array")
    refuses(path, str(path), "not a whole .npz")


@in_folder
@given(cut=st.integers(0, 10**6), flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=4))
def test_a_damaged_npz_is_the_same_data_or_refused(tmp_path: Path, cut: int, flips: list[tuple[int, int]]) -> None:
    path = tmp_path / "a.npz"
    x, y = grey(3)
    np.savez_compressed(path, x=x, y=y)
    whole = load_data(str(path))
    content = bytearray(path.read_bytes())
    for place, change in flips:
        content[place % len(content)] ^= change
    path.write_bytes(content if flips else content[: cut % len(content)])
    try:
        found = load_data(str(path))
    except InputError:
        return
    assert flips
    assert found.digest == whole.digest


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("half", ["images-idx3", "labels-idx1"])
def test_a_missing_or_damaged_half_of_an_idx_pair(tmp_path: Path, ending: str, half: str) -> None:
    images = write_pair(tmp_path, *grey(3), ending=ending)
    path = images.with_name(images.name.replace("images-idx3", half))
    content = path.read_bytes()
    for damaged in (content[:-1], content[: len(content) // 2], content[:3], b"", b"P5 5 4 255" + bytes(60)):
        path.write_bytes(damaged)
        refuses(images, str(path))
    path.unlink()
    refuses(images, "no file", str(path))


def test_an_idx_file_that_is_too_long(tmp_path: Path) -> None:
    images = write_pair(tmp_path, *grey(3))
    images.write_bytes(images.read_bytes() + b"\0")
    refuses(images, "(3, 5, 4), 60 bytes, but holds 61")


def test_a_gzip_file_with_a_wrong_checksum(tmp_path: Path) -> None:
    images = write_pair(tmp_path, *grey(3), ending=".gz")
    content = bytearray(images.read_bytes())
    content[-8] ^= 1
    images.write_bytes(content)
    refuses(images, str(images), "CRC")


@in_folder
@given(content=st.binary(max_size=40), head=st.sampled_from([b"", b"\0\0\x08\x03", b"\0\0\x08\x01", b"\0\0\x0d\x40"]))
def test_any_bytes_are_an_idx_array_or_an_input_error(tmp_path: Path, content: bytes, head: bytes) -> None:
    (tmp_path / "a").write_bytes(head + content)
    try:
        found = read_idx(tmp_path / "a")
    except InputError:
        return
    assert prod(found.shape) == found.size
    assert idx_bytes(found) == head + content


def test_idx_images_of_another_rank(tmp_path: Path) -> None:
    x, y = grey(3)
    images = write_pair(tmp_path, x.reshape(3, 20), y)
    refuses(images, "(3, 20)", "three axes")


def test_a_folder_without_images_and_one_with_several(tmp_path: Path) -> None:
    refuses(tmp_path, str(tmp_path), "images-idx3")
    write_pair(tmp_path, *grey(3), part="train")
    write_pair(tmp_path, *grey(3), part="extra")
    refuses(tmp_path, "train-images-idx3-ubyte", "extra-images-idx3-ubyte")


def breaks() -> None:
    raise RuntimeError("no disk")


def lacks() -> None:
    import_module("no_such_package_here")


def one_array() -> np.ndarray:
    return np.zeros((2, 3))


@pytest.mark.parametrize(("source", "words"), [
    ("no_such_module_here:data", ["cannot import no_such_module_here", "PYTHONPATH"]),
    ("tests.test_data:absent", ["absent", "AttributeError"]),
    ("tests.test_data:CODES", ["not callable"]),
    ("tests.test_data:breaks", ["RuntimeError: no disk"]),
    ("tests.test_data:lacks", ["raised ModuleNotFoundError: No module named 'no_such_package_here'", "test_data.py"]),
    ("tests.test_data:one_array", ["returned ndarray", "pair (x, y)"]),
])
def test_a_function_that_does_not_serve(source: str, words: list[str]) -> None:
    refuses(source, source, *words)


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros((1000, 100), np.float32), y=np.zeros(1000, np.int64))
    assert len(load_data(str(tmp_path / "zeros.npz")).x) == 1000
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(InputError, match=r"zeros.npz unpacks to 408\d+ bytes, more than \d+; save it with numpy.savez"):
        load_data(str(tmp_path / "zeros.npz"))
