"""A GPU gives what the CPU gives: every method, every way to evaluate, images, and what only a GPU can do."""

from __future__ import annotations

import pytest
import torch

from rambit import Attribution, RaMbIT, ops, testing
from rambit.attribution import Occlusion, WinIT
from rambit.counterfactuals import Zero
from rambit.distributed import attribute_many
from rambit.game import Game, TensorSample
from rambit.models import GRUClassifier
from rambit.predictors import Predictor
from rambit.rex import ReX
from rambit.sufficiency import explain
from tests.game import test_incremental, test_rectangles
from tests.models_for_tests import GRU, Transformer
from tests.rex.test_explainer import planted
from tests.sufficiency.test_explain import Picture
from tests.test_testing import LEARNED, METHODS, maker

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and ops.HAS_CUDA_OPS), reason="no CUDA device here, or built without CUDA ops"
)
GPU = torch.device("cuda")
X = torch.randn(6, 3, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SMALL = {"L": 4, "num_samples": 2, "counterfactuals": "uniform", "window_size": 3}


def seeded(make):
    torch.manual_seed(1)
    return make().double().eval()


def exact_products(test):
    """cuDNN rounds float32 to TF32 unless told otherwise, which is no business of ours."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)(test)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("method", [m for m in METHODS if m not in LEARNED], ids=lambda m: m.__name__)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_method_keeps_the_contract(method, check):
    x = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    check(testing.Case(maker(method), testing.Decay(3).to(GPU), x.to(GPU)))


@pytest.mark.parametrize("evaluation", ["prefix", "causal", "stateful"])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_scores_are_the_cpus(anchor, evaluation):
    options = {**SMALL, "anchor": anchor, "evaluation": evaluation}
    if anchor == "end":
        del options["window_size"]
    model = seeded(GRU)
    expected = RaMbIT(model, **options).explain(X)
    found = RaMbIT(seeded(GRU).to(GPU), **options).explain(X.to(GPU))
    assert found.values.device.type == "cuda"
    torch.testing.assert_close(found.values.cpu(), expected.values, rtol=1e-9, atol=1e-12)
    assert (found.rows, found.row_steps) == (expected.rows, expected.row_steps)


@pytest.mark.parametrize("make", [Transformer, lambda: GRUClassifier(3, 7)], ids=["Transformer", "GRUClassifier"])
@pytest.mark.parametrize("counterfactuals", ["carry_forward", "zero", "gaussian", "joint"])
def test_series_stay_where_they_are(make, counterfactuals):
    options = {"L": 4, "counterfactuals": counterfactuals}
    if counterfactuals in ("carry_forward", "zero"):
        options["num_samples"] = 1
    if counterfactuals == "joint":
        options["background"] = X
    expected = RaMbIT(seeded(make), **options).attribute(X)
    found = RaMbIT(seeded(make).to(GPU), **options).attribute(X)  # X on the CPU, the model on the GPU
    assert found.device == X.device
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", [Occlusion, WinIT], ids=lambda m: m.__name__)
def test_another_stream_than_the_default_one(method):
    options = {"width": 2} if method is Occlusion else {"window_size": 2, "background": X, "num_samples": 2}
    model = seeded(GRU).to(GPU)
    expected = method(model, **options).attribute(X.to(GPU))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = method(model, **options).attribute(X.to(GPU))
    stream.synchronize()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["rambit-blocks", "fo", "occlusion", "sampling-segments"])
@pytest.mark.parametrize("name", ["conv", "max", "mlp", "mixed"])
def test_only_what_differs_is_evaluated(name, kind):
    method, options = test_incremental.options_of(kind)
    model, x = test_incremental.network(name), test_incremental.X
    expected = method(model, evaluation="full", **options).explain(x)
    found = method(model.to(GPU), evaluation="incremental", **options).explain(x.to(GPU))
    assert (found.mode, found.rows, found.row_steps) == ("incremental", expected.rows, expected.row_steps)
    torch.testing.assert_close(found.values.cpu(), expected.values, rtol=1e-7, atol=1e-9)


def test_networks_with_rounded_products_are_confirmed_too():
    """As cuDNN rounds unless told otherwise: windows round no more than whole rows do."""
    options = {"L": 4, "anchor": "end", "counterfactuals": "zero", "num_samples": 1}
    model, x = test_incremental.network("conv", dtype=torch.float32), test_incremental.X.float()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        found = RaMbIT(model.to(GPU), evaluation="incremental", **options).explain(x.to(GPU))
        expected = RaMbIT(model, evaluation="full", **options).explain(x.to(GPU))
    assert found.mode == "incremental"
    torch.testing.assert_close(found.values, expected.values, rtol=2e-2, atol=2e-3)


def test_rectangles_of_images():
    question = test_rectangles.Coalitions(test_rectangles.masks_of(20).to(GPU))
    x = torch.randn(2, 2, test_rectangles.H, test_rectangles.W, dtype=torch.float64, device=GPU)
    predictor = Predictor.of(test_rectangles.model().to(GPU), output="logits")
    found, expected = (
        torch.cat(list(Game(predictor, TensorSample.spatial(x), Zero(), evaluation=mode).evaluate(question)))
        for mode in ("incremental", "full")
    )
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


class PlainLSTM(torch.nn.Module):
    """Claims nothing."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = torch.nn.LSTM(3, 8, batch_first=True), torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.rnn(x.transpose(1, 2))[0][:, -1])


@pytest.mark.parametrize("anchor", ["cell", "mask"])
def test_a_plain_recurrent_module_is_recognised(anchor):
    """It goes on from states, as on the CPU; also where cuDNN rounds products, as it does unless told otherwise."""
    model, options = seeded(PlainLSTM), {**SMALL, "anchor": anchor}
    expected = RaMbIT(model, evaluation="prefix", **options).attribute(X)
    found = RaMbIT(model.to(GPU), evaluation="stateful", **options).attribute(X.to(GPU))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-12)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        found = RaMbIT(model.float(), evaluation="stateful", **options).attribute(X.float().to(GPU))
    torch.testing.assert_close(found.cpu(), expected.float(), rtol=2e-2, atol=2e-3)


def test_batches_and_memory_change_nothing_but_rounding():
    model = seeded(GRU).to(GPU)
    expected = RaMbIT(model, **SMALL).attribute(X.to(GPU))
    for changed in ({"batch_size": 5}, {"max_memory": 1 << 20}):
        found = RaMbIT(model, **SMALL, **changed).attribute(X.to(GPU))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


class Hungry(torch.nn.Module):
    """Needs 8 MiB for every row: large batches do not fit where little memory is left."""

    def forward(self, x):
        room = x.new_zeros(len(x), 1 << 20) + x[:, 0, -1:]
        return torch.stack((room[:, 0], x.square().sum(dim=(1, 2))), dim=1)


def test_running_out_of_memory_halves_the_batch():
    x = X.to(GPU)
    expected = RaMbIT(Hungry().double(), **SMALL, batch_size=2).explain(x)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction(((1 << 30) + torch.cuda.memory_allocated()) / total)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            Hungry().double()(torch.zeros(512, 3, 12, dtype=torch.float64, device=GPU))
        found = RaMbIT(Hungry().double(), **SMALL, batch_size=512).explain(x)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    torch.testing.assert_close(found.values, expected.values)
    assert found.rows == expected.rows


@pytest.mark.parametrize("shape", [(200,), (24, 30)], ids=["spectrum", "image"])
def test_rex(shape):
    x, blocks = planted(shape, 6, 3)
    block = blocks[0].flatten().float()

    def model(images):
        fraction = images.flatten(1) @ block.to(images.device) / block.sum()
        return torch.stack((torch.zeros_like(fraction), 20 * (fraction - 0.5)), dim=1)

    expected = ReX(model, seed=3, iters=5).explain(x)
    found = ReX(model, seed=3, iters=5).explain(x.to(GPU))
    torch.testing.assert_close(found.responsibility.cpu(), expected.responsibility)
    assert torch.equal(found.mask.cpu(), expected.mask)


def test_sufficient_explanations():
    image = torch.randn(2, 2, 6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = explain(Picture(1), image)
    found = explain(Picture(1).to(GPU), image.to(GPU))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.mask.cpu(), theirs.mask)
        assert ours.gap == pytest.approx(theirs.gap, abs=1e-9)


@exact_products
@pytest.mark.parametrize("compile", [True, "reduce-overhead"])
@pytest.mark.filterwarnings("ignore")  # torch's own, of which every version has others
def test_compiled_models(compile):
    torch.manual_seed(1)
    model, x = GRUClassifier(3, 7).eval().to(GPU), X.float().to(GPU)
    expected = RaMbIT(model, **SMALL).attribute(x)
    predictor = Predictor.of(model, compile=compile)
    torch.testing.assert_close(RaMbIT(predictor, **SMALL).attribute(x), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast(dtype):
    torch.manual_seed(1)
    model, x = Transformer().eval().to(GPU), X.float().to(GPU)
    expected = RaMbIT(model, **SMALL).attribute(x)
    found = RaMbIT(Predictor.of(model, autocast=dtype), **SMALL).attribute(x)
    assert float((found - expected).abs().max()) < 0.1
    assert float(torch.corrcoef(torch.stack((found.flatten(), expected.flatten())))[0, 1]) > 0.9


def test_a_result_is_read_kept_and_drawn(tmp_path):
    found = RaMbIT(seeded(GRU).to(GPU), **SMALL).explain(X.to(GPU))
    found.save(tmp_path / "result")
    kept = Attribution.load(tmp_path / "result")
    assert torch.equal(kept.values.cpu(), found.values.cpu())
    assert str(found)
    assert found.to_numpy().shape == tuple(X.shape)
    assert len(found.to_frame()) == len(kept.to_frame())
    assert found.top(3) == kept.top(3)
    assert found.compare(kept)["spearman"] == pytest.approx(1)
    for part in (found.by_feature(), found.by_time(), found.isel(series=0, time=slice(2, 5)).values):
        assert part.device.type == "cuda"
    pytest.importorskip("matplotlib")
    found.plot(tmp_path / "result.png")


def test_a_folder_of_results(tmp_path):
    method = RaMbIT(seeded(GRU), **SMALL)
    expected = method.attribute(X)
    found = attribute_many(method, X.split(2), tmp_path, devices=["cuda:0"])[:]
    torch.testing.assert_close(found.values, expected, rtol=1e-9, atol=1e-12)
