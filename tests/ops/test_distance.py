"""``distance`` against its twin."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import ops
from tests.naive import ops as naive
from tests.ops.layouts import POISON, assert_refused, laid_out, layouts, rng

DTYPES = [torch.float32, torch.float64]
sizes = st.integers(1, 5)


def make(n, B, C, K, dtype, seed):
    """Answers with some exact zeros and ones, as saturated models give them."""
    g = rng(seed)
    outputs = torch.randn(n, C, K, generator=g, dtype=dtype).mul(3).softmax(1)
    reference = torch.randn(B, C, K, generator=g, dtype=dtype).mul(3).softmax(1)
    outputs[torch.rand(outputs.shape, generator=g) < 0.1] = 0
    series = torch.randint(0, B, (n,), generator=g, dtype=torch.int32)
    return outputs, reference, series, torch.randint(0, C, (B,), generator=g)


@pytest.mark.parametrize("metric", list(ops.Metric))
@given(
    data=st.data(),
    n=sizes,
    B=sizes,
    C=sizes,
    K=sizes,
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1 << 20),
)
def test_equals_the_twin(device, metric, data, n, B, C, K, dtype, seed):
    outputs, reference, series, target = make(n, B, C, K, dtype, seed)
    expected = naive.distance(outputs, reference, series, target, metric.name.lower())
    outputs, reference = (laid_out(t.to(device), data.draw(layouts(3)), POISON)[0] for t in (outputs, reference))
    out = torch.full((n, K), POISON, dtype=torch.float64, device=device)
    assert ops.distance(out, outputs, reference, series.to(device), target.to(device), metric) is out
    torch.testing.assert_close(out.cpu(), expected, rtol=1e-12, atol=1e-14)


def test_on_paper():
    p, q = torch.tensor([[[0.5], [0.5]]]), torch.tensor([[[0.25], [0.75]]])
    expected = {
        "PD": 0.5,
        "KL": 0.5 * math.log(2) + 0.5 * math.log(2 / 3),
        "JS": 0.25 * math.log(4 / 3) + 0.125 * math.log(2 / 3) + 0.25 * math.log(0.8) + 0.375 * math.log(1.2),
        "DIFF": -0.25,
        "CHANGE": 0.25,
        "L2": math.sqrt(0.125),
    }
    out, series = torch.empty(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.int32)
    for name, value in expected.items():
        found = ops.distance(out, q, p, series, torch.ones(1, dtype=torch.int64), ops.Metric[name])
        assert float(found) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("metric", list(ops.Metric))
def test_nan_shows(device, metric):
    outputs, reference, series, target = make(3, 1, 2, 2, torch.float64, 0)
    outputs[1, int(target[0]), 1] = torch.nan
    out = torch.full((3, 2), POISON, dtype=torch.float64, device=device)
    ops.distance(out, *(t.to(device) for t in (outputs, reference, series, target)), metric)
    assert out.isnan().nonzero().tolist() == [[1, 1]]


@pytest.mark.parametrize("metric", list(ops.Metric))
def test_threads_do_not_matter(threads, metric):
    given = make(3000, 4, 5, 6, torch.float32, 0)
    found = []
    for n in (1, 2):
        threads(n)
        found.append(ops.distance(torch.empty(3000, 6, dtype=torch.float64), *given, metric))
    assert torch.equal(*found)


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 2, 3, 0)])
def test_nothing_to_compare(device, shape):
    given = make(*shape, torch.float32, 0)
    out = torch.empty(shape[0], shape[3], dtype=torch.float64, device=device)
    assert ops.distance(out, *(t.to(device) for t in given), ops.Metric.PD).shape == out.shape


def bad_calls():
    outputs, reference, series, target = make(4, 2, 3, 5, torch.float32, 0)
    out = torch.empty(4, 5, dtype=torch.float64)
    call = {"out": out, "outputs": outputs, "reference": reference, "series": series, "target": target, "metric": 0}
    yield "out shape", {**call, "out": out[:, :4].contiguous()}
    yield "out dtype", {**call, "out": out.float()}
    yield "out strides", {**call, "out": torch.empty(5, 4, dtype=torch.float64).mT}
    yield "outputs rank", {**call, "outputs": outputs[0]}
    yield "outputs half", {**call, "outputs": outputs.half(), "reference": reference.half()}
    yield "dtypes", {**call, "outputs": outputs.double()}
    yield "reference rank", {**call, "reference": reference[0]}
    yield "reference C", {**call, "reference": reference[:, :2]}
    yield "reference K", {**call, "reference": reference[:, :, :4]}
    yield "series", {**call, "series": series[:3]}
    yield "series dtype", {**call, "series": series.long()}
    yield "target", {**call, "target": target[:1]}
    yield "target dtype", {**call, "target": target.int()}
    yield "metric", {**call, "metric": 6}
    yield "no metric", {**call, "metric": -1}


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.distance, call.values())


@pytest.mark.parametrize("metric", list(ops.Metric))
def test_opcheck(device, metric):
    given = (t.to(device) for t in make(4, 2, 3, 5, torch.float32, 0))
    out = torch.empty(4, 5, dtype=torch.float64, device=device)
    torch.library.opcheck(torch.ops.rambit.distance.default, (out, *given, int(metric)))
