"""Workers on a Ray cluster: one actor a worker, that holds the job and does one task at a time."""

from __future__ import annotations

import pickle
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from verify.errors import InputError
from verify.runs.engine.executors import Job, Lost, SampleResult, Task, answered

REACH = 5.0  # seconds for the head of a cluster to answer
LOCAL = "local"  # the address of a cluster that is started here, and ends with the run


class Cluster:
    """Actors on a Ray cluster, each with one CPU, or with one GPU where the job is on one.

    Every node needs this package; the model and the data travel with the job. An actor that dies, with its node or
    alone, loses its task and is started anew where there is room.
    """

    def __init__(self, job: Job, address: str, size: int | None = None):
        """address: of the cluster, "auto" for the one that this machine belongs to, or "local"; size: workers, by
        default as many as the cluster has CPUs, or GPUs. Raises InputError where there is no cluster."""
        try:
            import ray
        except ModuleNotFoundError:
            raise InputError("Ray is not installed; install it with pip install 'verify-nn[ray]'") from None
        self._ray: Any = ray
        self._on_gpus = job.device.type == "cuda"
        self._connect(address, size)
        resource = "GPU" if self._on_gpus else "CPU"
        room = int(ray.cluster_resources().get(resource, 0))
        if room < (size or 1):
            ray.shutdown()
            raise InputError(f"the Ray cluster at {address} has {room} {resource}s, too few for {size or 1} workers")
        self.size = size or room
        self._content = ray.put(pickle.dumps(job.to("cpu")))
        need = {"num_gpus": 1, "num_cpus": 0} if self._on_gpus else {"num_cpus": 1}
        self._actor = self._ray.remote(**need)(Actor)
        self._free: deque[Any] = deque()
        self._running: dict[Any, tuple[Any, Task]] = {}

    def give(self, task: Task) -> None:
        actor = self._free.popleft() if self._free else self._actor.remote(self._content, self._on_gpus)
        self._running[actor.done.remote(pickle.dumps(task))] = actor, task

    def take(self) -> tuple[Task, Sequence[SampleResult] | Lost]:
        (ready, *_), _ = self._ray.wait(list(self._running), num_returns=1)
        actor, task = self._running.pop(ready)
        try:
            answer = pickle.loads(self._ray.get(ready))
        except self._ray.exceptions.RayError as loss:
            self._ray.kill(actor)
            return task, Lost(type(loss).__name__)
        self._free.append(actor)
        if isinstance(answer, BaseException):
            raise answer
        return task, answer

    def close(self) -> None:
        self._ray.shutdown()

    def _connect(self, address: str, size: int | None) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        try:
            if address == LOCAL:
                self._ray.init(num_cpus=size, include_dashboard=False, **quiet)
            else:
                _reach(address)
                self._ray.init(address=address, **quiet)
        except Exception as problem:  # Ray raises many things where it finds no cluster
            first = (str(problem).splitlines() or [type(problem).__name__])[0]
            raise InputError(f"cannot join a Ray cluster at {address!r} ({first}); start one with `ray start --head`, "
                             f"or give {LOCAL}") from None


def _reach(address: str) -> None:
    """Raises OSError where nobody answers at host:port, for which Ray would wait minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.removeprefix("ray://"), int(port)), REACH).close()


class Actor:
    """What a worker of the cluster is."""

    def __init__(self, content: bytes, on_gpu: bool):
        import torch

        torch.set_num_threads(1)
        self._job: Job = pickle.loads(content).to("cuda" if on_gpu else "cpu")

    def done(self, task: bytes) -> bytes:
        """The answer to a task; both are pickled here, so that Ray sees bytes only."""
        return pickle.dumps(answered(self._job, pickle.loads(task)))
