"""A module's call as a graph of ATen operators, for any number of rows.

``torch.export`` makes the graph, of a copy that shares the weights, so that nothing of the user's module is changed,
not even for a moment. Shape inference would unroll recurrent layers step by step; in the copy they are one operator.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.fx import Node

from rambit import memory
from rambit.memory import is_out_of_memory
from rambit.predictors.fused import is_wrapped
from rambit.predictors.holding import evaluating
from rambit.predictors.identity import structure
from rambit.predictors.module import ModulePredictor
from rambit.predictors.predictor import Predictor
from rambit.predictors.recurrent_op import as_one_operator
from rambit.store import resume_key

if TYPE_CHECKING:
    from torch.export import ExportedProgram

#: Which call of a predictor is traced: ``call_whole`` or ``call_steps``.
Call = Literal["whole", "steps"]
#: Traces kept for one module, of different shapes and options; the oldest goes first.
MOST_TRACES = 8
#: Operators that say that they draw random numbers, though with these arguments they do not.
_DROPOUT = (
    torch.ops.aten.dropout.default,
    torch.ops.aten.feature_dropout.default,
    torch.ops.aten.alpha_dropout.default,
    torch.ops.aten.feature_alpha_dropout.default,
)
_ATTENTION = (torch.ops.aten.scaled_dot_product_attention.default,)
#: What reads memory, not values: results would depend on how the values of some rows happen to lie in it.
_BY_STRIDES = (torch.ops.aten.as_strided.default, torch.ops.aten.as_strided_copy.default)
#: What may stand in a graph without a result that counts: shapes and types, which are known.
_CHECKS_TYPES = torch.ops.aten._assert_tensor_metadata.default
#: The rows of the call that is traced: a number that is no other size by chance.
ROWS = 7
#: For how many a graph must hold at least. A GPU's batch norm has another kernel, and the same numbers, for very many.
MOST_ROWS = 1 << 15

#: What torch says of a model that it cannot export; ``trace`` returns the reason.
_LOGGERS = ("torch.fx.experimental.symbolic_shapes", "torch._export", "torch.export")

_lock = threading.RLock()
_traces: weakref.WeakKeyDictionary[nn.Module, dict[Any, tuple[str, Trace | str]]] = weakref.WeakKeyDictionary()
_made: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Trace:
    """Operators without side effects, in order; ``sources`` are what the placeholders but for ``x`` stand for.

    ``x`` stands for the rows as the model reads them, ``output`` for its raw outputs. The parameters are the module's,
    not their values: what they hold may be replaced (``parameter.data``), and while one is kept no other has its id.
    """

    nodes: tuple[Node, ...]
    sources: dict[Node, Tensor]
    x: Node
    output: Node
    #: What ``Incremental.gain`` found, by axes and widths of windows.
    gains: dict[Any, float] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[Node, Tensor]:
        """The values of the placeholders but for ``x``, as they are now."""
        return {node: source.detach() for node, source in self.sources.items()}


def trace(predictor: Predictor, x: Tensor, call: Call = "whole") -> Trace | str:
    """The graph of a predictor's call on rows like x (N, D, w), or why there is none.

    Kept per module, shape and options; made anew when the module's structure, attributes or parameters (as objects)
    have changed. Weights are read when the graph is run, so new values in the same parameters count.
    """
    if not isinstance(predictor, ModulePredictor) or predictor.module is None:
        return f"{type(predictor).__name__} is no module"
    if predictor.compile or predictor.autocast is not None:
        return "it is compiled or runs under autocast"
    if predictor.tokens or predictor.takes_lengths or predictor.categorical_name is not None:
        return "it takes tokens, lengths or categories"
    module = predictor.module
    if any(is_wrapped(part) for part in module.modules()):
        return "it has hooks, or a forward of its own"
    options = (type(predictor), predictor.layout, predictor.input_name, predictor.choice.select)
    key = (call, options, tuple(x.shape[1:]), x.dtype, x.device, torch.get_default_dtype())
    with _lock:
        kept = _traces.setdefault(module, {})
        state = _state(module)
        if key not in kept or kept[key][0] != state:
            kept.pop(key, None)
            while len(kept) >= MOST_TRACES:
                kept.pop(next(iter(kept)))
            _made[module] = traces_made(module) + 1
            kept[key] = (state, _traced(predictor, x, call))
        return kept[key][1]


def traces_made(module: nn.Module) -> int:
    """How often a module was traced, whatever came of it; many times where something in it changes with each call."""
    return _made.get(module, 0)


def _state(module: nn.Module) -> str:
    """What a graph depends on beside the values of weights: code, attributes, which tensors are parameters."""
    tensors = chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    types = [[name, id(type(part))] for name, part in module.named_modules(remove_duplicate=False)]
    kinds = [[name, id(t), _address(t), str((t.shape, t.dtype, t.device))] for name, t in tensors]
    return resume_key(tensors=kinds, types=types, structure=structure(module))


def _address(tensor: Tensor) -> int:
    """Where its values lie: ``tensor.data = …`` gives it others."""
    return tensor.data_ptr() if tensor.layout == torch.strided else 0


def _traced(predictor: ModulePredictor, x: Tensor, call: Call) -> Trace | str:
    rows = predictor._as_model_reads(memory.zeros((ROWS, *x.shape[1:]), x))
    try:
        with _silence(), evaluating(None):
            called = _Called(predictor, call)
            program = _exported(called, rows)
    except Exception as error:  # whatever a model does that cannot be exported
        if is_out_of_memory(error):  # the next time there may be enough
            raise
        return f"torch.export could not trace it ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]})"
    return _of_program(program, called)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _exported(called: nn.Module, rows: Tensor) -> ExportedProgram:
    import torch.export

    automatic = torch.export.Dim.AUTO
    program = torch.export.export(called, (rows,), dynamic_shapes=({0: automatic},), strict=False)
    if any(_writes(node) for node in program.graph.nodes):
        program = program.run_decompositions({})  # the same operators, none of which writes into its arguments
    return program


class _Called(nn.Module):
    """A predictor's call as a module, on a copy of its module in evaluation mode that shares the weights."""

    def __init__(self, predictor: ModulePredictor, call: Call) -> None:
        super().__init__()
        assert predictor.module is not None
        shared = {id(t): t for t in chain(predictor.module.parameters(), predictor.module.buffers())}
        self.model = copy.deepcopy(predictor.module, shared).eval()
        for part in self.model.modules():
            as_one_operator(part)
            _count_by_shape(part)
        given = copy.copy(predictor)
        given.model = given.module = self.model
        given.choice = copy.copy(predictor.choice)
        given._call = given._called()
        self.call: Callable[[Tensor], Tensor] = given.call_steps
        if call == "whole":
            self.call = lambda x: given.call_whole(x, None)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def _count_by_shape(part: nn.Module) -> None:
    """Let ``len`` of a tensor be its size in a ``forward``: Python's own makes the number of rows a constant."""
    forward: Any = type(part).forward
    code, names = getattr(forward, "__code__", None), getattr(forward, "__globals__", {})
    if code is None or "len" not in code.co_names or "len" in names:
        return
    own = FunctionType(code, {**names, "len": _len}, code.co_name, forward.__defaults__, forward.__closure__)
    own.__kwdefaults__ = forward.__kwdefaults__
    part.forward = MethodType(own, part)


def _len(values: Any) -> Any:
    return values.shape[0] if isinstance(values, Tensor) and values.ndim else len(values)


def _of_program(program: ExportedProgram, called: nn.Module) -> Trace | str:
    """The graph of an exported program, or why it cannot stand for the module."""
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.parameters_to_mutate:
        return "it changes its buffers or parameters"
    if signature.user_inputs_to_mutate:
        return "it writes into its input"
    nodes = tuple(node for node in program.graph.nodes if node.op != "output")
    for node in nodes:
        if (reason := _refused(node)) is not None:
            return reason
    named = {node.name: node for node in nodes if node.op == "placeholder"}
    x = named.pop(signature.user_inputs[0])
    rows = _rows(program, x)
    if not (rows[0] <= 2 and rows[1] >= MOST_ROWS):
        return f"its graph is for some numbers of rows, {rows[0]} to {rows[1]}"
    named_tensors = (called.named_parameters, called.named_buffers)
    values = dict(chain.from_iterable(tensors(remove_duplicate=False) for tensors in named_tensors))
    values.update(program.constants)
    sources = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    sources.update(signature.inputs_to_lifted_tensor_constants)
    try:
        tensors = {node: values[sources[name]] for name, node in named.items()}
    except KeyError as missing:
        return f"its graph needs {missing}"
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    last = [result for result in output.args[0] if isinstance(result, Node)][-1:]
    if not last or signature.user_outputs[-1] != last[0].name:
        return "it has no single output"
    return Trace(_needed(nodes, last[0]), tensors, x, last[0])


def _needed(nodes: tuple[Node, ...], output: Node) -> tuple[Node, ...]:
    """The placeholders, and what the output depends on."""
    found = {output}
    for node in reversed(nodes):
        if node in found:
            found.update(node.all_input_nodes)
        elif node.op != "placeholder" and not node.users:
            node.graph.erase_node(node)  # what nobody reads is no user of what it reads
    return tuple(node for node in nodes if node in found or node.op == "placeholder")


def _rows(program: ExportedProgram, x: Node) -> tuple[int, int]:
    """For how few and how many rows a graph holds."""
    rows = x.meta["val"].shape[0]
    if isinstance(rows, int):
        return rows, rows
    allowed = program.range_constraints.get(rows.node.expr)
    return (rows.node.hint, rows.node.hint) if allowed is None else (int(allowed.lower), int(min(allowed.upper, 2**31)))


def _refused(node: Node) -> str | None:
    """Why a graph with this node cannot stand for the module."""
    if node.op not in ("placeholder", "call_function"):
        return f"its graph holds {node.op}"
    if _writes(node):
        return f"it writes into its values ({node.target})"
    if _draws(node):
        return f"it draws random numbers ({node.target})"
    if node.target in _BY_STRIDES:
        return f"it reads memory, not values ({node.target})"
    if _gives_nothing(node) and node.target is not _CHECKS_TYPES:
        return f"it checks its values ({node.target})"
    return None


def _gives_nothing(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.returns


def _writes(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _draws(node: Node) -> bool:
    """Whether an operator draws random numbers."""
    target: Any = node.target
    if torch.Tag.nondeterministic_seeded not in getattr(target, "tags", ()):
        return False
    if target in _DROPOUT:
        return node.args[2] is not False
    if target in _ATTENTION:
        rate: Any = node.args[4] if len(node.args) > 4 else node.kwargs.get("dropout_p", 0.0)
        return bool(rate)
    return True
