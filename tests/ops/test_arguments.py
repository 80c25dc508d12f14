"""What every op does with its arguments: empty ones, ones at any place in memory, wrong ones, and ones elsewhere."""

from __future__ import annotations

import inspect

import pytest
import torch

from tests.ops.layouts import POISON, assert_refused, rng, written

CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
F64, I32, I64 = torch.float64, torch.int32, torch.int64


def values(*shape, dtype=torch.float32):
    return torch.rand(shape, generator=rng(len(shape)), dtype=F64).to(dtype)


def below(high, *shape, dtype=I32):
    return torch.randint(0, max(high, 1), shape, generator=rng(1), dtype=dtype)


def kept(*shape):
    return values(*shape) < 0.5


def to_write(*shape, dtype=torch.float32):
    return torch.full(shape, dtype == torch.bool or POISON, dtype=dtype)


def rows_of(n, B, K, M, cells):
    """Rows that point inside, each with a slot of its own."""
    columns = [below(B, n), below(K, n), below(M, n), below(cells, n), *[torch.zeros(n, dtype=I32)] * 2]
    return torch.stack((*columns, torch.ones(n, dtype=I32), torch.arange(n, dtype=I32), below(1, n)), dim=1)


# One call of each op, by the names of its schema: the sizes are arguments, and what it writes comes first.


def sample_masks(L=4, D=3, T=5):
    out, index, target_cells = to_write(L, D, T, dtype=torch.bool), below(99, L, dtype=I64), below(D * T, L)
    return [out, index, target_cells, 0, 1, max(1, T // 2), 1, max(1, D // 2), 0.5, 7]


def shift_windows(L=3, W=4, D=2, T=5):
    return [to_write(L, W, D, T, dtype=torch.bool), kept(L, D, T), below(T + 1, L)]


def draw(S=2, B=3, D=2, T=4):
    return [to_write(S, B, D, T), values(5, D, T + 1), below(99, B, dtype=I64), 2, 0.0, 1.0, 0, 7]


def masked_batch(n=4, B=2, D=3, T=5, K=2, M=3, w=4):
    w, n = min(w, T), n if B and K and M else 0
    rows = rows_of(n, B, K, M, D * w)
    return [to_write(n, D, w), values(B, D, T), values(K, B, D, T), kept(M, D, T), rows, kept(B, D, T), 0, None]


def masked_windows(n=4, B=2, D=3, T=5, K=2, M=3, w=4, P=2):
    *front, observed, _, _ = masked_batch(n, B, D, T, K, M, w)
    front[2] = front[2][:0]
    return [*front, observed, 3, values(K, B, D, T, P)]


def boxed_batch(n=3, C=2, Z=2, Y=3, X=4, boxes=2):
    box = torch.tensor([[0, Z, 0, min(2, Y), 0, X]] * boxes, dtype=I32).view(boxes, 6)
    offsets = torch.linspace(0, boxes, n + 1).long()
    return [to_write(n, C, Z, Y, X), values(C, Z, Y, X), -values(C, Z, Y, X), box, offsets, box[:0], offsets[:1] * 0]


def gather_windows(n=3, R=2, T=6, K=2, w=5, v=2):
    n = n if R else 0
    which, start, window_start = below(R, n, dtype=I64), below(T + w, n, dtype=I64) - w, below(T, n, dtype=I64)
    return [to_write(n, w, K), values(R, T, K), which, start, -values(n, v, K), window_start, 7.0]


def put_windows(n=3, T=6, K=2, v=2):
    v = min(v, T)
    return [to_write(n, T, K), values(n, v, K), below(T - v + 1, n, dtype=I64)]


def distance(n=4, C=3, K=2, B=2):
    n = n if B else 0
    return [to_write(n, K, dtype=F64), values(n, C, K), values(B, C, K), below(B, n), below(C, B, dtype=I64), 0]


def score(n=4, M=2, S=2, B=2, D=3, T=5, C=3):
    n, width, masks = n if M and S and B and D and T else 0, max(T, 1), kept(M, D, T)
    contributions, base = values(M, S, B, D * T, dtype=F64), values(M * S * B, T, dtype=F64)
    outputs, reference, target = values(n, C, width), values(B, C, T), below(C, B, dtype=I64)
    return [contributions, outputs, reference, base, masks, rows_of(n, B, 1, M, D * T), target, width, 0, 0]


def accumulate(M=4, S=2, B=3, cells=5):
    total, squares, weights = values(B, cells, dtype=F64), values(B, cells, dtype=F64), values(3, M, dtype=F64)
    return [total, squares, values(M, S, B, cells, dtype=F64), torch.arange(M, dtype=I32), *weights, None]


def accumulate_own(M=4, S=2, B=3):
    total, squares, given, *rest, _ = accumulate(M, S, B)
    return [total, squares, given[..., :1].contiguous(), *rest, below(5, M)]


def gru_step(N=3, H=4):
    return [to_write(N, H), values(N, 3 * H), values(N, 3 * H), values(3 * H), values(3 * H), values(N, H)]


def lstm_step(N=3, H=4):
    gates, biases = [values(N, 4 * H) for _ in range(2)], [values(4 * H) for _ in range(2)]
    return [to_write(N, H), to_write(N, H), *gates, *biases, values(N, H)]


def rnn_step(N=3, H=4):
    return [to_write(N, H), values(N, H), values(N, H), values(H), values(H), 0]


OPS = {
    sample_masks: "sample_masks", shift_windows: "shift_windows", draw: "draw", masked_batch: "masked_batch",
    masked_windows: "masked_batch", boxed_batch: "boxed_batch", gather_windows: "gather_windows",
    put_windows: "put_windows", distance: "distance", score: "score",
    accumulate: "accumulate", accumulate_own: "accumulate", gru_step: "gru_step",
    lstm_step: "lstm_step", rnn_step: "rnn_step",
}  # fmt: skip
#: Which arguments may have any strides; the others must be contiguous.
ANY_STRIDES = {
    "masked_batch": {"out", "x", "draws", "masks", "observed", "windows"},
    "boxed_batch": {"out", "inside", "outside"},
    "gather_windows": {"out", "window"},
    "put_windows": {"out", "window"},
    "distance": {"outputs", "reference"},
    "score": {"outputs", "reference"},
    "gru_step": {"out", "input_gates", "hidden_gates", "state"},
    "lstm_step": {"out", "cell_out", "input_gates", "hidden_gates", "cell"},
    "rnn_step": {"out", "input_sums", "hidden_sums"},
}
#: Every size of every call; but a window has at least one value.
SIZES = [
    pytest.param(call, size, id=f"{call.__name__}-{size}")
    for call in OPS
    for size in inspect.signature(call).parameters
    if size != "P"
]


def op_of(call):
    return getattr(torch.ops.rambit, OPS[call])


def names_of(call):
    return [a.name for a in op_of(call).default._schema.arguments]


#: Each tensor argument of each call.
TENSORS = [
    pytest.param(call, i, id=f"{call.__name__}-{name}")
    for call in OPS
    for i, (name, value) in enumerate(zip(names_of(call), call(), strict=True))
    if isinstance(value, torch.Tensor)
]


def run(call, arguments):
    """The bytes that the op leaves, and those that were there before."""
    before = [t.clone() for t in written(op_of(call), arguments)]
    op_of(call)(*arguments)
    return [t.clone() for t in written(op_of(call), arguments)], before


def equal(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("call", OPS)
def test_the_calls_write(call):
    after, before = run(call, call())
    assert not any(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize(("call", "size"), SIZES)
def test_any_dimension_may_be_empty(call, size):
    """All of an output is written, or nothing of it is touched."""
    after, before = run(call, call(**{size: 0}))
    for a, b in zip(after, before, strict=True):
        assert torch.equal(a, b) or not (a == POISON).any()


@pytest.mark.parametrize(("call", "i"), TENSORS)
def test_at_an_offset_in_a_larger_buffer(call, i):
    expected, _ = run(call, call())
    arguments = call()
    given = arguments[i]
    buffer = torch.full((given.numel() + 8,), 1, dtype=given.dtype)
    arguments[i] = buffer[3 : 3 + given.numel()].view(given.shape).copy_(given)
    assert equal(run(call, arguments)[0], expected)
    assert (buffer[:3] == 1).all()
    assert (buffer[3 + given.numel() :] == 1).all()


@pytest.mark.parametrize(("call", "i"), TENSORS)
def test_gaps_between_elements_are_followed_or_refused(call, i):
    expected, _ = run(call, call())
    arguments = call()
    arguments[i] = arguments[i].repeat_interleave(2, -1)[..., ::2]
    if arguments[i].is_contiguous() or names_of(call)[i] in ANY_STRIDES.get(OPS[call], ()):
        assert equal(run(call, arguments)[0], expected)
        return
    assert_refused(op_of(call), arguments)


WRONG = {
    "dtype": lambda t: t.to(torch.complex64),
    "one dimension more": lambda t: t[None],
    "one dimension less": lambda t: t.flatten(0, 1) if t.ndim > 1 else t.sum(),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("call", "i"), TENSORS)
def test_a_wrong_argument_raises_before_anything_is_written(call, i, wrong):
    arguments = call()
    arguments[i] = WRONG[wrong](arguments[i])
    assert_refused(op_of(call), arguments)


@pytest.mark.parametrize(("call", "i"), TENSORS)
def test_all_tensors_are_on_one_device(call, i):
    """A tensor without memory stands in for one of another device; the CPU's kernel, which is chosen here, meets it."""
    arguments = call()
    arguments[i] = arguments[i].to("meta")
    before = [t.clone() for t in written(op_of(call), arguments) if not t.is_meta]
    with pytest.raises(ValueError, match=rf"{OPS[call]}: (.* )?{names_of(call)[i]} (is )?on another device"):
        op_of(call).default.redispatch(CPU, *arguments)
    assert equal([t for t in written(op_of(call), arguments) if not t.is_meta], before)
