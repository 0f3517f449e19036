"""Archives of torch.export: what is plain is read, and nothing that a file holds is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from verify.errors import InputError
from verify.ir.load import load
from verify.ir.pt2 import refuse_code


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(scope="module")
def good() -> bytes:
    """A program with parameters, buffers and a symbolic batch."""
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def changed(data: bytes, change: Callable[[str, bytes], bytes], *more: tuple[str, bytes]) -> bytes:
    """The archive with its members changed by their names after the first folder, and with further ones."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            target.writestr(info, change(info.filename.partition("/")[2], source.read(info)))
        root = source.namelist()[0].partition("/")[0]
        for name, content in more:
            target.writestr(f"{root}/{name}", content)
    return out.getvalue()


def edited(data: bytes, edit: Callable[[dict], None]) -> bytes:
    """The archive with its program changed."""
    def change(name: str, content: bytes) -> bytes:
        if not name.startswith("models/"):
            return content
        program = json.loads(content)
        edit(program)
        return json.dumps(program).encode()

    return changed(data, change)


def test_a_plain_program_is_read(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "good.pt2").write_bytes(good)
    assert load(tmp_path / "good.pt2").output_shape == (3,)


@pytest.mark.parametrize("member", ["data/sample_inputs/model.pt", "data/constants/tensor_0", "data/weights/weight_0"])
def test_pickles_of_code_are_refused_and_not_run(good: bytes, tmp_path: Path, member: str) -> None:
    mark, payload = tmp_path / "ran", pickle.dumps(Payload(tmp_path / "ran"))

    def change(name: str, content: bytes) -> bytes:
        if name.endswith("_config.json") and name.startswith(member.rpartition("/")[0]):
            entry = {"path_name": member.rpartition("/")[2], "use_pickle": True, "is_param": True, "tensor_meta": None}
            return json.dumps({"config": {"0.weight": entry}}).encode()
        return payload if name == member else content

    more = [] if member in _names(good) else [(member, payload)]
    (tmp_path / "evil.pt2").write_bytes(changed(good, change, *more))
    with pytest.raises(InputError, match="contains code that reading it would run"):
        load(tmp_path / "evil.pt2")
    assert not mark.exists()
    with suppress(InputError):  # trusted code runs, whatever becomes of the program
        load(tmp_path / "evil.pt2", trust_code=True)
    assert mark.exists() or "sample_inputs" not in member


def _names(data: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2] for name in archive.namelist()}


def _retarget(program: dict, target: str) -> None:
    program["graph_module"]["graph"]["nodes"][0]["target"] = target


EDITS: dict[str, Callable[[dict], None]] = {
    "a function of torch": lambda p: _retarget(p, "torch.hub.load"),
    "a module through torch": lambda p: _retarget(p, "torch.os.system"),
    "an attribute of a namespace": lambda p: _retarget(p, "torch.ops.aten.__class__"),
    "an operator that calls": lambda p: _retarget(p, "_operator.call"),
    "a guard": lambda p: p.update(guards_code=["__import__('os').system('true')"]),
    "a guard without quotes": lambda p: p.update(guards_code=["exec(L)"]),
    "an expression": lambda p: _symbol(p, "eval('1')"),
    "a name in an expression": lambda p: _symbol(p, "exit(3)"),
    "a class for inputs": lambda p: p["graph_module"].update(treespec_namedtuple_fields={"os.X": {"fields": ["a"]}}),
    "a container": lambda p: p["graph_module"]["module_call_graph"][0]["signature"].update(
        in_spec='[1, {"type": "collections.defaultdict", "context": "null", "children_spec": []}]'),
}


def _symbol(program: dict, text: str) -> None:
    sizes = program["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
    sizes[0] = {"as_expr": {"expr_str": text, "hint": None}}


@pytest.mark.parametrize("kind", EDITS)
def test_programs_that_name_code_are_refused(good: bytes, kind: str) -> None:
    with pytest.raises(InputError, match="contains code"):
        refuse_code(edited(good, EDITS[kind]), "evil.pt2")
    refuse_code(edited(good, lambda program: None), "good.pt2")


def test_members_of_other_kinds_and_damaged_archives_are_refused(good: bytes) -> None:
    with pytest.raises(InputError, match="contains code"):
        refuse_code(changed(good, lambda name, data: data, ("data/aotinductor/model.so", b"")), "evil.pt2")
    with pytest.raises(InputError, match="contains code"):
        refuse_code(changed(good, lambda name, data: data, ("data/constants/custom_obj_0", b"")), "evil.pt2")
    for data in (good[:500], b"", b"not an archive", changed(good, lambda name, data: b"{}")):
        with pytest.raises(InputError, match="write it again"):
            refuse_code(data, "broken.pt2")
