"""One process for each device of this machine."""

from __future__ import annotations

import io
import signal
import traceback
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import torch
import torch.multiprocessing

from rambit.attribution.attributor import Attributor
from rambit.distributed.ledger import Finished, explain
from rambit.distributed.pieces import Piece


def pack_attributor(attributor: Attributor, **how: Any) -> bytes:
    """For another process or machine. Raises TypeError if it holds something that can't travel."""
    buffer = io.BytesIO()
    try:
        torch.save(attributor, buffer, **how)
    except Exception as error:
        raise TypeError(
            f"attributor can't be sent to another process: {error}; a model must be made of classes and functions "
            "that stand at the top of a module"
        ) from error
    return buffer.getvalue()


def unpack_attributor(data: bytes, device: str | torch.device) -> Attributor:
    """The attributor with all its tensors on a device. Only for what ``pack_attributor`` made in this run."""
    attributor: Attributor = torch.load(io.BytesIO(data), map_location=device, weights_only=False)
    attributor.predictor.device = torch.device(device)
    return attributor


@dataclass(frozen=True)
class Failure:
    """What went wrong in another process."""

    error: Exception
    where: str

    @staticmethod
    def of(error: Exception) -> Failure:
        """Called while the error is handled."""
        return Failure(error, traceback.format_exc())

    def reraise(self) -> NoReturn:
        raise self.error from RuntimeError(f"in a worker:\n{self.where}")


def explain_in_processes(
    attributor: Attributor, todo: Iterable[Piece], devices: Sequence[str | torch.device]
) -> Generator[Finished, None, None]:
    """Each worker has one piece at a time; what is finished first comes first. Closing it ends the workers.

    Raises what a worker raised, and RuntimeError if one was killed.
    """
    data = pack_attributor(attributor)
    workers = []
    try:
        workers = [_Worker(data, torch.device(device)) for device in devices]
        yield from _share(workers, iter(todo))
    finally:
        for worker in workers:
            worker.end()


def _share(workers: list[_Worker], todo: Iterator[Piece]) -> Iterator[Finished]:
    busy: list[_Worker] = []
    for worker, piece in zip(workers, todo, strict=False):
        worker.send(piece)
        busy.append(worker)
    while busy:
        ready = wait([worker.pipe for worker in busy])
        for worker in [worker for worker in busy if worker.pipe in ready]:
            done = worker.receive()
            following = next(todo, None)
            if following is None:
                busy.remove(worker)
            else:  # before the result is written, so that the worker does not wait for that
                worker.send(following)
            yield done


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, attributor: bytes, device: torch.device) -> None:
        self.device = device
        context = torch.multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, attributor, device, torch.get_num_threads())
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()  # the child's end is the child's alone, so that its death ends the pipe

    def send(self, piece: Piece) -> None:
        try:
            self.pipe.send_bytes(piece.pack())
        except OSError:
            raise self._died() from None

    def receive(self) -> Finished:
        try:
            received = self.pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(received, Failure):
            received.reraise()
        return Finished.unpack(received)

    def _died(self) -> RuntimeError:
        self.process.join()
        return RuntimeError(
            f"the worker on {self.device} died (exit code {self.process.exitcode}); finished shards are kept: "
            "the same call goes on from there"
        )

    def end(self) -> None:
        """Stop it, whatever it is at: nobody will read what it sends."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def _work(pipe: Connection, data: bytes, device: torch.device, threads: int) -> None:
    """What a worker does until its pipe ends, which it also does when the other process is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    torch.set_num_threads(threads)
    try:
        attributor = unpack_attributor(data, device)
        while True:
            try:
                piece = Piece.unpack(pipe.recv_bytes())
            except EOFError:
                return
            pipe.send(explain(attributor, piece).pack())
    except Exception as error:
        pipe.send(Failure.of(error))
