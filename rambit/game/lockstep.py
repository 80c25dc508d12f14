"""Many searches as one: each is a generator that yields questions; a round asks those of all that still run at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


def run_together(
    searches: Sequence[Generator[Tensor, Tensor, Result]], ask: Callable[[Tensor, Tensor], Tensor]
) -> list[Result]:
    """The results of all searches, in their order.

    A search yields rows of a question (n, …), is sent the answers (n, …) to them and returns its result. ``ask`` gets
    the rows of a round and, for each, the number of the search that asks, (n,) int64; it returns an answer a row.
    """
    results: dict[int, Result] = {}
    wishes: dict[int, Tensor] = {}

    def advance(number: int, answers: Tensor | None) -> None:
        try:
            wishes[number] = next(searches[number]) if answers is None else searches[number].send(answers)
        except StopIteration as stop:
            results[number] = stop.value

    for number in range(len(searches)):
        advance(number, None)
    while wishes:
        asking, sizes = list(wishes), [len(wish) for wish in wishes.values()]
        target_cell = torch.tensor(asking).repeat_interleave(torch.tensor(sizes))
        answers = ask(torch.cat(list(wishes.values())), target_cell)
        wishes.clear()
        begin = 0
        for number, size in zip(asking, sizes, strict=True):
            advance(number, answers[begin : begin + size])
            begin += size
    return [results[number] for number in range(len(searches))]
