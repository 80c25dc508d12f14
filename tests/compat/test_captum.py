"""captum's methods of ours against captum itself: shapes, types, values and the generator's state, on random calls."""

from __future__ import annotations

import logging
import random
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

captum = pytest.importorskip("captum")

from captum import attr  # noqa: E402

import rambit.compat.captum as ours  # noqa: E402
from rambit import rex  # noqa: E402
from rambit.game import tuple_game  # noqa: E402

NAMES = ours.__all__
DOCUMENT = Path(__file__).parents[2] / "docs" / "captum.md"
OLD = captum.__version__.startswith("0.8")


class Network(nn.Module):
    """A model of several inputs of any rank and type, with outputs (B, *shape)."""

    def __init__(self, shape=(3,), reduce=None):
        super().__init__()
        self.shape, self.reduce = shape, reduce

    def forward(self, *tensors):
        total = 0
        for k, x in enumerate(tensors):
            flat = x.reshape(len(x), -1).double()
            weight = torch.sin(torch.arange(flat.shape[1] * self.size).double() + k).view(-1, self.size)
            total = total + (flat @ weight).tanh() + 0.1 * flat.sum(dim=1, keepdim=True)
        found = total.view(len(total), *self.shape).float()
        return found if self.reduce is None else self.reduce(found)

    @property
    def size(self):
        return int(torch.Size(self.shape).numel())


def both(name, make, *args, seed=0, init=(), **kwargs):
    """What captum and ours return, and torch's generator after each."""
    found = []
    for module in (attr, ours):
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = getattr(module, name)(make(), *init).attribute(*args, **kwargs)
        found.append((result, torch.get_rng_state()))
    return found


def check(name, make, *args, tolerance=1e-5, **kwargs):
    (expected, state), (found, own_state) = both(name, make, *args, **kwargs)
    assert type(found) is type(expected)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
    assert torch.equal(state, own_state)


@pytest.fixture
def reasons(caplog):
    """Why calls were passed on to captum."""
    caplog.set_level(logging.DEBUG, logger="rambit.compat.captum")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "rambit.compat.captum"]


def random_call(rng, name):
    """A random call that ours serves: a model, and the arguments of ``attribute``."""
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    B, count = rng.choice([1, 2, 4]), rng.choice([1, 1, 2, 3])
    integers = rng.random() < 0.2
    tensors = []
    for _ in range(count):
        shape = (B, *(rng.randint(1, 4) for _ in range(rng.choice([1, 1, 2, 3]))))
        x = torch.randn(shape, generator=generator)
        tensors.append((10 * x).long() if integers else x)
    shape = rng.choice([(3,), (2, 2), ()])
    given = {"inputs": tuple(tensors) if count > 1 or rng.random() < 0.3 else tensors[0]}
    form = rng.choice(["none", "one", "each", "tensor"]) if shape else "none"
    if form == "one":
        given["target"] = 1 if len(shape) == 1 else (1, 0)
    elif form == "each":
        places = [tuple(rng.randrange(size) for size in shape) for _ in range(B)]
        given["target"] = places if len(shape) > 1 else [place[0] for place in places]
    elif form == "tensor" and len(shape) == 1:
        given["target"] = torch.randint(0, 3, (B,), generator=generator)
    per_example = given.get("target") is not None or not shape
    if name != "FeaturePermutation" and rng.random() < 0.6:
        values = []
        for x in tensors:
            kind = rng.choice(["number", "row", "rows"])
            value = {
                "number": 2 if integers else 0.5,
                "row": torch.randn(1, *x.shape[1:], generator=generator).to(x.dtype),
                "rows": torch.randn(x.shape, generator=generator).to(x.dtype),
            }[kind]
            values.append(value)
        given["baselines"] = tuple(values) if count > 1 else values[0]
    if name == "Occlusion":
        windows = [tuple(rng.randint(1, size) for size in x.shape[1:]) for x in tensors]
        given["sliding_window_shapes"] = tuple(windows) if count > 1 else windows[0]
        if rng.random() < 0.5:
            strides = [tuple(rng.randint(1, size) for size in window) for window in windows]
            given["strides"] = tuple(strides) if count > 1 else strides[0]
    elif rng.random() < 0.6 or name == "ShapleyValues":
        most = 4 if name == "ShapleyValues" else 6
        rows = B if rng.random() < 0.3 and per_example and B > 1 else 1
        masks = [torch.randint(0, most, (rows, *x.shape[1:]), generator=generator) for x in tensors]
        masks[0].view(-1)[0] = most - 1
        given["feature_mask"] = tuple(masks) if count > 1 else masks[0]
    if name == "ShapleyValueSampling":
        given["n_samples"] = rng.choice([1, 5])
    single = name == "FeaturePermutation" and count > 1
    given["perturbations_per_eval"] = 1 if single else rng.choice([1, 1, 2, 7])
    return B, shape, given


@pytest.mark.parametrize("name", ["FeatureAblation", "Occlusion", "ShapleyValueSampling", "ShapleyValues"])
def test_random_calls(name, reasons):
    rng = random.Random(name)
    for _ in range(40):
        _, shape, given = random_call(rng, name)
        check(name, lambda shape=shape: Network(shape), **given)
    assert not reasons()


@pytest.mark.skipif(OLD, reason="permutations are drawn for features that are not there")
def test_random_permutations(reasons):
    rng = random.Random(1)
    for _ in range(30):
        B, shape, given = random_call(rng, "FeaturePermutation")
        if B > 1:
            check("FeaturePermutation", lambda shape=shape: Network(shape), **given)
    assert not reasons()


@pytest.mark.parametrize("name", ["KernelShap", "Lime"])
@pytest.mark.parametrize("B", [1, 3])
def test_regressions(name, B, reasons):
    pytest.importorskip("sklearn")
    x, mask = torch.randn(B, 6), torch.tensor([[0, 0, 1, 2, 3, 3]])
    calls = []

    def make():
        network = Network()

        def forward(*tensors):
            calls.append(len(tensors[0]))
            return network(*tensors)

        return forward

    check(name, make, x, target=list(range(B)), baselines=0.3, feature_mask=mask, n_samples=20)
    check(name, make, (x, x[:, :2]), target=0, n_samples=20, perturbations_per_eval=4)
    check(name, lambda: lambda x: Network()(x).sum(), x[:1], n_samples=10)
    assert not reasons()


def calls_of(name, *args, function=None, **kwargs):
    """How many examples each call of ours holds."""
    sizes = []

    def forward(*tensors):
        sizes.append(len(tensors[0]))
        return (function or Network())(*tensors)

    getattr(ours, name)(forward).attribute(*args, **kwargs)
    return sizes


def test_rows_share_calls():
    x = torch.randn(2, 50)
    assert calls_of("FeatureAblation", x, target=0) == [2, 2, 102]
    assert calls_of("FeatureAblation", x, target=0, perturbations_per_eval=20) == [2, 40, 40, 20]
    assert calls_of("FeatureAblation", x[:, :3], target=0) == [2, 2, 2, 2]  # too few to find out
    assert calls_of("ShapleyValues", x[:, :4], target=0) == [2, 2, 32]
    assert sum(calls_of("ShapleyValueSampling", x[:, :3], target=0, n_samples=100)) == 2 + 2 + 16
    assert max(calls_of("KernelShap", x[:1], target=0, n_samples=100)) == 100


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.softmax(dim=0).sum(dim=1),  # over the batch
        lambda x: (x - x[:1]).sum(dim=1),
        lambda x: (x - x[-1:]).sum(dim=1),
        lambda x: x.view(2, 3, 5).sum(dim=2),  # of one batch size
        lambda x: x.sum(),
        lambda x: x.sum(dim=1).mean().item(),
        lambda x: int(x.sum()),
        lambda x: x.sum(dim=0),
        lambda x: x[:, 3],  # a view of what it was given
        lambda x: (100 * x).long(),
        lambda x: x.double(),
        lambda x: x.half().sum(dim=1),
    ],
)
@pytest.mark.parametrize("name", ["FeatureAblation", "Occlusion", "ShapleyValueSampling", "FeaturePermutation"])
def test_functions_of_the_whole_batch(name, function, reasons):
    given = {"sliding_window_shapes": (3,)} if name == "Occlusion" else {}
    if name == "ShapleyValueSampling":
        given["n_samples"] = 2
    try:
        check(name, lambda: function, torch.randn(2, 15), tolerance=2e-3, **given)  # of sums of half precision
    except RuntimeError:
        assert OLD
    assert OLD or not reasons()


class Dropping(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x).sum(dim=1)


def normalised():
    torch.manual_seed(3)
    return Dropping(nn.BatchNorm1d(8))


PASSED_ON = {
    "dropout": (lambda: Dropping(nn.Dropout()), {}),
    "dropout in a function": (lambda: lambda x: nn.functional.dropout(x).sum(dim=1), {}),
    "batch norm that learns": (normalised, {}),
    "future": (lambda: lambda x: torch.futures.Future(), {}),
    "NaN": (lambda: lambda x: x.nan_to_num().sum(dim=1), {"inputs": torch.full((2, 8), torch.nan)}),
    "infinite baseline": (lambda: lambda x: x.sum(dim=1), {"baselines": torch.full((1, 8), torch.inf)}),
    "NaN outputs": (lambda: lambda x: x.log().sum(dim=1), {}),
    "no arguments": (lambda: lambda: torch.ones(2), {}),
    "no type": (lambda: lambda x: "text", {}),
    "rows and one number": (lambda: lambda x: x.sum(), {"perturbations_per_eval": 3}),
    "no number of perturbations": (lambda: lambda x: x.sum(dim=1), {"perturbations_per_eval": 0}),
    "a mask of another shape": (lambda: lambda x: x.sum(dim=1), {"feature_mask": torch.zeros(2, 7).long()}),
    "a baseline of another shape": (lambda: lambda x: x.sum(dim=1), {"baselines": torch.zeros(2, 7)}),
    "a target that is none": (lambda: lambda x: x, {"target": 9}),
}


@pytest.mark.parametrize("case", PASSED_ON)
@pytest.mark.parametrize("name", ["FeatureAblation", "ShapleyValueSampling"])
def test_what_is_passed_on(name, case, reasons):
    """captum's own result or error, from the same random numbers."""
    make, changes = PASSED_ON[case]
    given = {"inputs": torch.linspace(-1, 1, 16).view(2, 8), **changes}
    try:
        torch.manual_seed(0)
        getattr(attr, name)(make()).attribute(**given)
    except Exception as error:
        with pytest.raises(type(error)):
            getattr(ours, name)(make()).attribute(**given)
    else:
        check(name, make, **given)
        assert reasons()


def test_inputs_with_gradients_and_unused_keywords(reasons):
    x = torch.randn(2, 8, requires_grad=True)
    model = nn.Sequential(nn.Linear(8, 4), nn.Tanh())
    check("FeatureAblation", lambda: model, x, target=0, enable_cross_tensor_attribution=True)
    check("ShapleyValueSampling", lambda: model, x, target=0, baselines=x.detach()[:1].requires_grad_(), n_samples=3)
    assert not reasons()


def test_training_flags_are_left_alone(reasons):
    model = nn.Sequential(nn.Linear(8, 4), nn.Tanh()).train()
    check("FeatureAblation", lambda: model, torch.randn(2, 8), target=0)
    assert model.training
    assert not reasons()


@pytest.mark.parametrize("name", ["FeatureAblation", "ShapleyValueSampling"])
def test_more_arguments(name):
    """Those with a row for each example go with it, others are passed as they are."""
    seen = []

    def forward(x, weight, matrix, scale, words):
        seen.append((len(x), len(weight), len(matrix), words))
        return (x * weight) @ matrix * scale

    x = torch.randn(3, 8)
    args = (torch.randn(3, 8), torch.randn(8, 2), torch.tensor(2.0), "words")
    check(name, lambda: forward, x, target=1, additional_forward_args=args)
    assert seen[-1][0] == seen[-1][1] > 3
    assert seen[-1][2:] == (8, "words")


@pytest.mark.parametrize("baseline", [None, 2, 0.5, True, torch.tensor([[0.25] * 8])])
@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.bool, torch.float64, torch.float16])
def test_types(kind, baseline, reasons):
    """Baselines turn inputs into their type, as there."""
    x = (10 * torch.randn(2, 8)).to(kind)
    check("FeatureAblation", lambda: Network(), x, baselines=baseline, target=0)
    check("Occlusion", lambda: Network(), x, baselines=baseline, sliding_window_shapes=(3,), strides=2, target=0)
    assert not reasons()
    check("ShapleyValueSampling", lambda: Network(), x, baselines=baseline, target=0, n_samples=2)
    check("FeatureAblation", lambda: Network(), (x, torch.randn(2, 3)), baselines=(baseline or 0, 1), target=0) if not (
        isinstance(baseline, torch.Tensor)
    ) else None


@pytest.mark.skipif(OLD, reason="such examples are refused")
def test_empty_inputs_and_few_examples(reasons):
    x, empty = torch.randn(3, 4), torch.zeros(0)
    check("FeatureAblation", lambda: lambda x, empty: x.sum(dim=1) + empty.sum(), (x, empty))
    check("FeaturePermutation", lambda: lambda x, one: x.sum(dim=1) + one.sum(), (x, x[:1]))


def test_one_example_is_not_permuted():
    for module in (attr, ours):
        method = module.FeaturePermutation(Network())
        method._min_examples_per_batch_grouped = None  # as in captum 0.8
        with pytest.raises(AssertionError, match="batch_size = 1"):
            method.attribute(torch.randn(1, 4), target=0)


@pytest.mark.skipif(OLD, reason="its perturbations are made in another method")
def test_a_subclass_that_perturbs_itself_is_left_alone(reasons):
    def subclass(base):
        class Doubled(base):
            def _construct_ablated_input_across_tensors(self, *args, **kwargs):
                inputs, masks = super()._construct_ablated_input_across_tensors(*args, **kwargs)
                return tuple(2 * x for x in inputs), masks

        return Doubled

    x = torch.randn(2, 8)
    found, expected = (subclass(module.FeatureAblation)(Network()).attribute(x, target=0) for module in (ours, attr))
    assert torch.equal(found, expected)
    assert reasons()


def test_they_are_captum_s(capsys):
    for name in set(NAMES) - {"ReX"}:
        assert issubclass(getattr(ours, name), getattr(attr, name))
    assert issubclass(ours.Occlusion, ours.FeatureAblation)
    method = ours.ShapleyValues(Network())
    assert (method.has_convergence_delta(), method.multiplies_by_inputs) == (False, True)
    x = torch.randn(2, 8)
    ours.FeatureAblation(Network()).attribute(x, target=0, show_progress=True)
    assert "Feature Ablation attribution: 100%" in capsys.readouterr().err
    future = ours.FeatureAblation(lambda x: _done(Network()(x)[:, 0])).attribute_future(x)
    torch.testing.assert_close(future.wait(), attr.FeatureAblation(Network()).attribute(x, target=0))
    with pytest.raises(NotImplementedError):
        ours.Occlusion(Network()).attribute_future()


def _done(value):
    future = torch.futures.Future()
    future.set_result(value)
    return future


def test_a_data_loader_s_attributions(reasons):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(6, 4)), batch_size=2)
    model = nn.Sequential(nn.Linear(4, 2))
    found, expected = (
        attr.DataLoaderAttribution(module.FeatureAblation(model)).attribute(loader) for module in (ours, attr)
    )
    torch.testing.assert_close(found, expected)
    assert reasons()


def test_memory_that_runs_out():
    """Calls become smaller, and the results stay."""
    x, network = torch.randn(2, 200), Network()
    expected = attr.FeatureAblation(network).attribute(x, target=0)

    def forward(x):
        if len(x) > 100:
            raise MemoryError
        return network(x)

    torch.testing.assert_close(ours.FeatureAblation(forward).attribute(x, target=0), expected)
    found = ours.FeatureAblation(forward).attribute(x, target=0, perturbations_per_eval=200)
    torch.testing.assert_close(found, expected)


def test_several_threads():
    model, x = Network(), torch.randn(2, 40)
    expected = attr.FeatureAblation(model).attribute(x, target=0)
    method, found = ours.FeatureAblation(model), {}
    threads = [threading.Thread(target=lambda k=k: found.update({k: method.attribute(x, target=0)})) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.allclose(one, expected, atol=1e-5) for one in found.values())
    assert len(found) == 4


def test_what_a_function_makes_of_rows_is_looked_at():
    """Large activations make smaller calls."""
    sizes = calls_of("FeatureAblation", torch.randn(1, 1000), function=lambda x: x.repeat(1, 200).sin().sum(dim=1))
    assert 3 < max(sizes) < 40
    assert sum(sizes) < 1010


def test_captum_is_imported_by_nothing_else():
    code = "import sys, rambit, rambit.compat; assert 'captum' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_captum_the_extra_is_named():
    code = "import sys; sys.modules['captum'] = None; import rambit.compat.captum"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "rambit[baselines]"' in outcome.stderr.splitlines()[-1]


def planted(x, offset=None):
    """Class 1 where the middle of an image or series is bright."""
    middle = x.flatten(2)[:, 0].view(len(x), -1)
    n = middle.shape[1]
    found = middle[:, n // 2 - 2 : n // 2 + 2].mean(dim=1)
    found = found if offset is None else found + offset
    return torch.stack((0.5 - found, found - 0.5), dim=1) * 8


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 4, 12), (2, 1, 20)])
@pytest.mark.parametrize("baselines", [None, 0.1, "one", "each"])
def test_rex(shape, baselines):
    x = torch.ones(shape)
    given = {"one": torch.full((1, *shape[1:]), 0.1), "each": torch.full(shape, 0.1)}.get(baselines, baselines)
    found = ours.ReX(planted, iters=2).attribute(x, baselines=given, target=1)
    for b in range(2):
        value = 0 if baselines is None else torch.full((1, *shape[1:]), 0.1)
        expected = rex.ReX(planted, iters=2, mask_value=value).attribute(x[b : b + 1])[0]
        assert torch.equal(found[b], expected.expand(shape[1:]))
    assert float(found.max()) > 0


def test_rex_takes_captum_s_arguments():
    x = torch.ones(2, 1, 8, 8)
    method = ours.ReX(planted, iters=2)
    assert isinstance(method, attr.PerturbationAttribution)
    expected = method.attribute(x)
    for target in (1, [1, 1], [1], torch.tensor([1, 1]), torch.tensor(1)):
        assert torch.equal(method.attribute((x,), target=target)[0], expected)
    offset = torch.zeros(2)
    assert torch.equal(method.attribute(x, additional_forward_args=offset), expected)
    with pytest.raises(ValueError, match="target must be"):
        method.attribute(x, target=(1, 0))
    with pytest.raises(ValueError, match="target must be the class that the model gives"):
        method.attribute(x, target=0)
    with pytest.raises(ValueError, match="inputs and baselines must be one tensor each"):
        method.attribute((x, x))
    with pytest.raises(ValueError, match="mask_value is given to attribute"):
        ours.ReX(planted, mask_value=1)


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the sources are not here")
def test_the_documentation_s_script_gives_captum_s_numbers():
    """The examples of captum's own documentation, in our words, with one import changed."""
    pytest.importorskip("sklearn")
    (script,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.S)
    found, expected = {}, {}
    for names, text in ((found, script), (expected, script.replace("rambit.compat.captum", "captum.attr"))):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(text, str(DOCUMENT), "exec"), names)
    results = [name for name, value in found.items() if isinstance(value, torch.Tensor)]
    assert len(results) == 10
    for name in results:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_products_that_a_gpu_rounds_are_no_other_rows():
    """cuDNN rounds to 10 bits unless told otherwise; what depends on its batch differs by far more."""
    assert tuple_game._rounding(torch.float32, "cuda") > 2**-10 > 100 * tuple_game._rounding(torch.float32, "cpu")
    assert tuple_game._rounding(torch.float64, "cuda") == tuple_game._rounding(torch.float64, "cpu")
