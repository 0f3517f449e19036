"""Data that do not serve: each kind is refused in one sentence, and no code of a file runs."""

from __future__ import annotations

import zipfile
from importlib import import_module
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_data import grey, idx_bytes, in_folder, write_pair
from verify import data as module
from verify.data import load_data, read_idx
from verify.errors import InputError


def refuses(source: object, *words: str, limit: int | None = None) -> None:
    """The source is refused in one sentence that has these words and a remedy."""
    with pytest.raises(InputError) as caught:
        load_data(str(source), limit)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message
    for word in words:
        assert word in message


def breaks() -> None:
    raise RuntimeError("no disk")


def lacks() -> None:
    import_module("no_such_package_here")


def one_array() -> np.ndarray:
    return np.zeros((2, 3))


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


@pytest.mark.parametrize(("source", "words"), [
    ("no_such_module_here:data", ["cannot import no_such_module_here", "PYTHONPATH"]),
    ("tests.test_data_mistakes:absent", ["absent", "AttributeError"]),
    ("tests.test_data:CODES", ["not callable"]),
    ("tests.test_data_mistakes:breaks", ["RuntimeError: no disk"]),
    ("tests.test_data_mistakes:lacks", ["raised ModuleNotFoundError: No module named 'no_such_package_here'",
                                        "test_data_mistakes.py"]),
    ("tests.test_data_mistakes:one_array", ["returned ndarray", "pair (x, y)"]),
])
def test_a_function_that_does_not_serve(source: str, words: list[str]) -> None:
    refuses(source, source, *words)


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros((1000, 100), np.float32), y=np.zeros(1000, np.int64))
    assert len(load_data(str(tmp_path / "zeros.npz")).x) == 1000
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(InputError, match=r"zeros.npz unpacks to 408\d+ bytes, more than \d+; save it with numpy.savez"):
        load_data(str(tmp_path / "zeros.npz"))
