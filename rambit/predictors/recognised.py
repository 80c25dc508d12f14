"""Plain modules whose graph is a causal network's, with outputs at every step and a state to advance from."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rambit.predictors.causal_program import CausalProgram, Convolution
from rambit.predictors.causal_rules import causal_program
from rambit.predictors.module import ModulePredictor
from rambit.predictors.predictor import Predictor, State, Walk
from rambit.predictors.trace import trace


class RecognisedPredictor(ModulePredictor):
    """A module that claims nothing itself, with what its graph says of it: confirmed as a module's own claims are.

    Weights are read when it is called. On whole inputs the module itself is called.
    """

    __slots__ = ("program",)

    program: CausalProgram
    recognised = True

    @staticmethod
    def of(predictor: Predictor, x: Tensor) -> RecognisedPredictor | str:  # type: ignore[override]
        """The predictor of a plain module, recognised by its call on rows like x (N, D, w); or why it is not.

        Both are one: what either finds out of the module's outputs the other knows.
        """
        if type(predictor) is not ModulePredictor or predictor.modes:
            return f"{type(predictor).__name__} says itself what it claims"
        with predictor.session():
            graph = trace(predictor, x)
        if isinstance(graph, str):
            return graph
        program = causal_program(graph, 1 if predictor.layout == "BTD" else 2)
        if isinstance(program, str):
            return program
        recognised = object.__new__(RecognisedPredictor)
        recognised.__dict__ = predictor.__dict__
        recognised.program = program
        return recognised

    @property
    def modes(self) -> frozenset[str]:  # type: ignore[override]
        """What the graph claims."""
        return frozenset({"causal", "stateful"})

    @property
    def long_state(self) -> bool:  # type: ignore[override]
        """Whether its state are the steps that convolutions saw, which each call copies."""
        return any(isinstance(part, Convolution) for part in self.program.body)

    def call_steps(self, x: Tensor, **extra: Tensor) -> Tensor:
        return self.call_advance(x, None)[0]

    def call_advance(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        run = self.program.with_weights()
        hidden, after = run.hidden(x, state)
        return run.outputs(hidden), after

    def walk(self, like: Tensor) -> Walk:
        return CausalWalk(self, like)


class CausalWalk(Walk):
    """A walk of a recognised module: ``hidden`` is what its head reads, called only where outputs count."""

    spares_state = True

    def __init__(self, predictor: RecognisedPredictor, like: Tensor) -> None:
        super().__init__(predictor)
        self.run = predictor.program.with_weights(like)

    def step(self, x: Tensor, state: State | None) -> tuple[Tensor, Any]:
        return self.run.hidden(self.predictor._as_model_reads(x.clone()), state)

    def outputs(self, hidden: Tensor) -> Tensor:
        return self.predictor.finish(self.run.outputs(hidden))
