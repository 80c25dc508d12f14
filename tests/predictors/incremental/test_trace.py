"""Traces: what has none, that nothing else is changed, and that no stale weight or attribute is read."""

from __future__ import annotations

import copy
import gc
import logging
import random
import threading
import types
import warnings
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rambit.predictors.trace as tracing
from rambit.predictors.incremental import Incremental
from rambit.predictors.module import ModulePredictor
from rambit.predictors.trace import Trace, trace

X = torch.zeros(2, 3, 9)


class Model(nn.Module):
    """A convolution, a head, and what it reads beside weights."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.tied = nn.Linear(4, 2)
        self.tied.weight = self.head.weight
        self.scale, self.shift, self.settings = 1.0, np.float32(0.0), types.SimpleNamespace(power=1)
        self.added, self.factors = torch.zeros(2), [1.0, 1.0]
        self.register_buffer("offset", torch.zeros(2), persistent=False)

    def helper(self, h):
        return h * self.factors[0]

    def forward(self, x):
        h = torch.relu(self.norm(self.conv(x))).mean(2)
        h = self.helper(h) * self.scale + float(self.shift)
        return (self.head(h) + self.tied(h)) ** self.settings.power + self.added + self.offset


def traced(module, x=X, **options):
    return trace(ModulePredictor(module, **options), x)


def outputs(module, x):
    found = traced(module, x)
    assert isinstance(found, Trace), found
    with torch.no_grad():
        return Incremental(found, 2).reference(x)[1]


def of_module(module):
    """Everything that a module shows: values and identities."""
    state = {name: (id(t), t.clone()) for name, t in [*module.named_parameters(), *module.named_buffers()]}
    parts = {
        name: (part.training, {k: (id(v), repr(v)) for k, v in vars(part).items()}, type(part))
        for name, part in module.named_modules()
    }
    return state, parts


def of_process():
    """What a trace might leave behind elsewhere."""
    names = ["", "torch", "torch._dynamo", "torch.export", "torch._export", "torch.fx.experimental.symbolic_shapes"]
    return {
        "rng": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002
        "python": random.getstate(),
        "levels": [logging.getLogger(name).level for name in names],
        "handlers": [list(logging.getLogger(name).handlers) for name in names],
        "disabled": logging.root.manager.disable,
        "filters": list(warnings.filters),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
        "type": (torch.get_default_dtype(), torch.is_autocast_enabled("cpu")),
        "call": (nn.Module.__call__, nn.Module.__getattr__, nn.Module.__setattr__),
        "threads": torch.get_num_threads(),
    }


def assert_unchanged(before, module):
    (state, parts), (state_now, parts_now) = before, of_module(module)
    assert parts == parts_now
    assert state.keys() == state_now.keys()
    for name, (identity, value) in state.items():
        assert state_now[name][0] == identity
        assert torch.equal(state_now[name][1], value)


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """torch's own modules, which are imported at the first trace."""
    traced(nn.Identity())


# -- what has no trace ----------------------------------------------------------------------------------------------


class Forward(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.ones(3, 1))
        self.register_buffer("seen", torch.zeros(3, 1))

    def forward(self, x):
        return self.function(self, x)


def branch(self, x):
    return x.mean(2) if x.sum() > 0 else x.amax(2)


def loop(self, x):
    while x.abs().max() > 1:
        x = x / 2
    return x


def write_into_input(self, x):
    x.mul_(2.0)
    return x.mean(2)


def write_into_input_through_a_view(self, x):
    x[:, 0] = 0.0
    return x.mean(2)


def write_into_buffer(self, x):
    self.seen += 1
    return (x * self.seen).mean(2)


def write_into_weight(self, x):
    self.weight.data.add_(1.0)
    return (x * self.weight).mean(2)


def noise(self, x):
    return (x + torch.randn_like(x)).mean(2)


def dropped(self, x):
    return F.dropout(x, 0.5, training=True).mean(2)


def by_strides(self, x):
    return x.contiguous().as_strided((len(x), 3), (27, 1))


def by_number_of_rows(self, x):
    return x.mean(2) if len(x) > 5 else x.amax(2)


def gradients(self, x):
    with torch.enable_grad():
        return (x * self.weight).mean(2)


def checked(self, x):
    torch._assert_async((x.sum() < 1e9).any())
    return x.mean(2)


def several_outputs_last_fixed(self, x):
    return x.mean(2).numpy()


def failing(self, x):
    raise RuntimeError("out of order")


REFUSED = {
    branch: "could not trace",
    loop: "could not trace",
    write_into_input: "writes into",
    write_into_input_through_a_view: "writes into",
    write_into_buffer: "changes its buffers",
    write_into_weight: "",
    noise: "draws random numbers",
    dropped: "draws random numbers",
    by_strides: "memory",
    by_number_of_rows: "some numbers of rows",
    gradients: "its graph holds",
    checked: "checks its values",
    several_outputs_last_fixed: "could not trace",
    failing: "out of order",
}


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_a_model_without_a_trace_has_a_reason_and_stays_as_it_is(function):
    module = Forward(function).eval()
    before, process = of_module(module), of_process()
    found = traced(module)
    assert isinstance(found, str)
    assert REFUSED[function] in found
    assert_unchanged(before, module)
    assert of_process() == process


def test_a_module_that_cannot_be_copied_has_a_reason():
    module = Forward(lambda self, x: x.mean(2)).eval()
    module.lock = threading.Lock()
    assert "lock" in traced(module)
    module.lock, module.kept = None, module.weight * 2  # of which torch copies none either
    assert "could not trace" in traced(module)


def test_hooks_and_options_have_a_reason():
    module = Model().eval()
    handle = module.conv.register_forward_hook(lambda part, args, result: result.mul_(2))
    assert "hooks" in traced(module)
    handle.remove()
    assert isinstance(traced(module), Trace)
    module.conv.forward = module.conv.forward
    assert "forward of its own" in traced(module)
    assert "autocast" in traced(Model().eval(), autocast=torch.bfloat16)
    assert "compiled" in traced(Model().eval(), compile=True)
    assert "is no module" in trace(ModulePredictor(lambda x: x.mean(2)), X)


# -- what is left as it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_nothing_else_is_changed(training, grad):
    module = Model().train(training)
    module.norm.eval()
    module.register_state_dict_pre_hook(lambda *args: None)
    before, process = of_module(module), of_process()
    with torch.set_grad_enabled(grad):
        assert isinstance(traced(module), Trace)
        assert torch.is_grad_enabled() == grad
    assert_unchanged(before, module)
    assert of_process() == process


def test_the_graph_is_of_evaluation_mode_and_full_precision():
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(27, 2)).train()
    x = torch.randn(4, 3, 9)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert isinstance(traced(module), Trace)
    assert module.training
    found = outputs(module, x)
    expected = module.eval()(x)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected)


def test_a_trace_does_not_keep_its_module_alive():
    module = Model().eval()
    traced(module)
    kept = weakref.ref(module)
    del module
    gc.collect()
    assert kept() is None


# -- what is never stale --------------------------------------------------------------------------------------------


def load(module):
    module.load_state_dict(other_state())


def load_and_assign(module):
    module.load_state_dict(other_state(), assign=True)


def other_state():
    torch.manual_seed(1)
    other = Model()
    other.norm.running_mean.add_(0.5)
    return other.state_dict()


def optimize(module):
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    module(torch.ones(2, 3, 9)).sum().backward()
    optimizer.step()


def replace_data(module):
    module.conv.weight.data = module.conv.weight.data * 2


def replace_parameter(module):
    module.conv.weight = nn.Parameter(module.conv.weight * 2)


def replace_parameter_twice(module):
    """So that a new parameter may lie where an old one lay."""
    for _ in range(3):
        module.conv.weight = nn.Parameter(module.conv.weight.detach() * 2)


def replace_submodule(module):
    module.head = nn.Linear(4, 2)


def replace_by_another_kind(module):
    module.norm = nn.Identity()


def untie(module):
    module.tied.weight = nn.Parameter(module.tied.weight * 3)


def tie_otherwise(module):
    module.tied.bias = module.head.bias


def replace_buffer(module):
    module.offset = torch.ones(2)


def write_buffer(module):
    module.norm.running_var.mul_(4.0)


def change_number(module):
    module.scale = 2.0


def change_numpy_number(module):
    module.shift = np.float32(2.0)


def change_settings(module):
    module.settings.power = 2


def change_list(module):
    module.factors[0] = 3.0


def change_tensor(module):
    module.added += 1.0


def change_setting_of_a_layer(module):
    module.conv.dilation, module.conv.padding = (2,), (2,)


def replace_method(module):
    module.helper = lambda h: h * 5.0


def to_and_fro(module):
    module.double().float()
    module.conv.weight.data.mul_(2.0)


CHANGES = [load, load_and_assign, optimize, replace_data, replace_parameter, replace_parameter_twice]
CHANGES += [replace_submodule, replace_by_another_kind, untie, tie_otherwise, replace_buffer, write_buffer]
CHANGES += [change_number, change_numpy_number, change_settings, change_list, change_tensor]
CHANGES += [change_setting_of_a_layer, replace_method, to_and_fro]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_model_that_was_changed_in_place_is_read_anew(change):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, x = Model().eval(), torch.randn(4, 3, 9)
        torch.testing.assert_close(outputs(module, x), module(x).detach())
        before = module(x).detach()
        change(module)
    expected = module(x).detach()
    assert not torch.allclose(expected, before) or change is tie_otherwise
    torch.testing.assert_close(outputs(module, x), expected)


def test_code_that_was_changed_is_read_anew(monkeypatch):
    module, x = Model().eval(), torch.randn(4, 3, 9)
    outputs(module, x)
    monkeypatch.setattr(Model, "helper", lambda self, h: h * 7.0)
    torch.testing.assert_close(outputs(module, x), module(x).detach())


def test_another_type_has_another_trace():
    module, x = Model().eval(), torch.randn(4, 3, 9)
    outputs(module, x)
    module.double()
    torch.testing.assert_close(outputs(module, x.double()), module(x.double()).detach())


# -- once, and in threads -------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    calls = []
    exported = tracing._exported
    monkeypatch.setattr(tracing, "_exported", lambda *args: calls.append(1) or exported(*args))
    return calls


def test_a_trace_is_paid_once_for_each_module_and_shape(counted):
    module = Model().eval()
    first = traced(module)
    assert traced(module) is first
    with torch.no_grad():
        module.conv.weight.add_(1.0)
    module.train().eval()
    assert traced(module, X[:1]) is first
    assert len(counted) == 1
    traced(module, X[..., :8])
    assert traced(module) is first
    assert len(counted) == 2
    traced(copy.deepcopy(module))
    assert len(counted) == 3


def test_what_has_no_trace_is_tried_once(counted):
    module = Forward(branch).eval()
    assert traced(module) == traced(module)
    assert len(counted) == 1


def test_threads_share_a_model_while_it_is_traced(counted):
    module, x = Model().eval(), torch.randn(4, 3, 9)
    with torch.no_grad():
        expected = module(x)
    wrong, stop, failed = [], threading.Event(), []

    def evaluate():
        while not stop.is_set():
            with torch.no_grad():
                if not torch.allclose(module(x), expected):  # without oneDNN, meanwhile
                    wrong.append(1)

    def ask(length):
        try:
            series = torch.randn(2, 3, length)
            with torch.no_grad():
                torch.testing.assert_close(outputs(module, series), module(series))
        except Exception as error:
            failed.append(error)

    callers = [threading.Thread(target=evaluate) for _ in range(2)]
    askers = [threading.Thread(target=ask, args=(9 + k % 2,)) for k in range(4)]
    for thread in (*callers, *askers):
        thread.start()
    for thread in askers:
        thread.join()
    stop.set()
    for thread in callers:
        thread.join()
    assert failed == []
    assert wrong == []
    assert len(counted) == 2


class Pooled(nn.Module):
    """The largest value of each channel, by whatever way it is written."""

    def __init__(self, pool):
        super().__init__()
        self.body, self.pool = nn.Sequential(nn.Conv1d(3, 16, 5, padding=2), nn.ReLU()), pool

    def forward(self, x):
        return self.pool(self.body(x))


@pytest.mark.parametrize(
    "pool",
    [lambda x: x.max(2).values, lambda x: x.max(-1)[0], lambda x: torch.max(x, dim=2, keepdim=True)[0].squeeze(2)],
)
def test_what_nobody_reads_keeps_no_rule_from_being_used(pool):
    """Where the largest value lies is in the graph, but in no result."""
    x = torch.randn(2, 3, 200)
    with torch.no_grad():
        found = trace(ModulePredictor(Pooled(pool).eval()), x)
    assert isinstance(found, Trace)
    assert Incremental(found, 2).gain(x[:1], 1) > 20


class CountsRows(nn.Module):
    """Says ``len(x)`` where it means its rows, in a forward with defaults, a closure and ``super``."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(3, 4, 3, padding=1), nn.Linear(4 * 12, 2)

    def forward(self, x, *, scale=2.0):
        shape, parts = (len(x), -1), [self.conv(x)] * len([1, 2])
        return self.head(super().__getattr__("conv")(x).reshape(shape) + scale * parts[1].view(len(x), -1))


def test_the_number_of_rows_by_len_is_any_number():
    model = CountsRows().eval()
    before = of_module(model)
    found = traced(model, torch.randn(2, 3, 12))
    assert isinstance(found, Trace), found
    assert_unchanged(before, model)
    for rows in (1, 2, 5):
        x = torch.randn(rows, 3, 12)
        torch.testing.assert_close(outputs(model, x), model(x))
