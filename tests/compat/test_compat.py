"""The drop-in explainers of WinIT's and RaMbIT's repositories: what they compute, their names, and what they refuse."""

from __future__ import annotations

import itertools
import pickle
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from rambit import RaMbIT, compat
from rambit.attribution import BiWinIT, Dynamask, WinIT
from rambit.compat import (
    AFOExplainer,
    BiWinITExplainer,
    DeepLiftExplainer,
    DynamaskExplainer,
    FITExplainer,
    FOExplainer,
    GradientShapExplainer,
    IGExplainer,
    JIMEx,
    MockExplainer,
    OGWinITExplainer,
    WinITExplainer,
)
from tests.models_for_tests import GRU
from tests.naive import attribution as naive_attribution
from tests.naive import ops as naive_ops
from tests.naive import rambit as naive
from tests.naive import winit as naive_winit
from tests.predictors.published_models import ConvClassifier, StateClassifier

X = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
TRAIN = torch.randn(16, 3, 8, generator=torch.Generator().manual_seed(1))
LOADER = DataLoader(TensorDataset(TRAIN, torch.zeros(16)), batch_size=5)


class Protocol:
    """Only ``predict``: one state becomes (p, 1 - p)."""

    def __init__(self, states):
        torch.manual_seed(0)
        self.net = GRU(C=max(states, 1)).eval()
        self.states = states

    def predict(self, x, return_all=False):
        outputs = self.net(x, return_all=return_all)
        return outputs.sigmoid() if self.states == 1 else outputs.softmax(1)


def published(states=1, make=StateClassifier):
    torch.manual_seed(states)
    return make(3, states).double().eval()


def both_classes(model):
    """Probabilities (N, C) at the last step; p of one state becomes (1 - p, p)."""

    def f(x):
        with torch.no_grad():
            p = model.predict(x, return_all=False)
        return torch.cat((1 - p, p), dim=1) if p.shape[1] == 1 else p

    return f


def drawn(kind, samples, seed, **source):
    """Draws (S, B, D, T) in float64 for X."""
    B, D, T = X.shape
    return naive_ops.draw(kind, samples, list(range(B)), D, T, torch.float64, seed=seed, **source)


def with_model(explainer, model):
    explainer.set_model(model)
    return explainer


# -- JIMEx -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [1, 3])
def test_jimex(states):
    model = Protocol(states)
    explainer = JIMEx(3, num_samples=2, num_masks=4, window_size=3, train_loader=LOADER, random_state=7)
    with pytest.raises(RuntimeError, match="set_model"):
        explainer.attribute(X)
    explainer.set_model(model)
    scores = explainer.attribute(X)
    assert isinstance(scores, np.ndarray)
    assert scores.shape == (2, 3, 8)
    expected = RaMbIT(
        model, num_samples=2, L=4, window_size=3, Wt_max=3, Wd_max=3, anchor="mask", background=TRAIN, seed=7
    ).attribute(X)
    np.testing.assert_array_equal(scores, expected.numpy())
    zero = JIMEx(3, num_masks=4, window_size=3, train_loader=LOADER, random_state=7, all_zero_cf=True)
    zeros = with_model(zero, model).attribute(X)
    assert not np.array_equal(zeros, scores)
    np.testing.assert_array_equal(explainer.attribute(X, all_zero_cf=True), zeros)
    for nothing in (explainer.train_generators(LOADER, LOADER, 2), explainer.test_generators(LOADER)):
        assert nothing is None
    explainer.load_generators()
    np.testing.assert_array_equal(explainer.attribute(X), scores)


@pytest.mark.filterwarnings("ignore:the model offers causal evaluation")  # convolutions that look ahead do
@pytest.mark.parametrize("make", [StateClassifier, ConvClassifier])
def test_one_cell_is_that_of_all(make):
    model = published(4, make)
    explainer = with_model(JIMEx(3, num_samples=2, num_masks=5, window_size=3, train_loader=LOADER), model)
    for zero in (False, True):
        scores = explainer.attribute(X.double(), all_zero_cf=zero)
        assert abs(scores).max() > 1e-3
        for d, t in np.ndindex(3, 8):
            cell = explainer.attribute_one_cell(X.double(), t, d, zero)
            np.testing.assert_allclose(cell.numpy(), scores[:, d, t], atol=1e-12)
    with pytest.raises(ValueError, match="source_t must be at most 7, got 8"):
        explainer.attribute_one_cell(X, 8, 0)
    with pytest.raises(ValueError, match="source_d must be at least 0, got -1"):
        explainer.attribute_one_cell(X, 0, -1)


# -- WinIT -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joint", [False, True])
def test_winit_with_trained_generators(tmp_path, joint):
    model = Protocol(3)
    common = {"window_size": 3, "joint": joint, "random_state": 2}
    explainer = with_model(WinITExplainer("cpu", 3, "toy", tmp_path, **common), model)
    with pytest.raises(RuntimeError, match="train_generators"):
        explainer.test_generators(TRAIN)
    with pytest.warns(UserWarning, match="replaced values are zero"):
        zeros = explainer.attribute(X)
    history = explainer.train_generators(TRAIN, TRAIN[:4], num_epochs=2)
    assert len(history.train_loss) == 2
    drawn = explainer.attribute(X)
    assert drawn.shape == (2, 3, 8, 3)
    assert not np.array_equal(drawn, zeros)
    np.testing.assert_array_equal(explainer.attribute(X, all_zero_cf=True), zeros)
    loss = explainer.test_generators(TRAIN)
    again = with_model(WinITExplainer("cpu", 3, "toy", tmp_path, **common), model)
    again.load_generators()
    np.testing.assert_array_equal(again.attribute(X), drawn)
    assert again.test_generators(TRAIN) == loss


def test_winit_draws_from_the_data_where_there_are_some(tmp_path):
    model, common = Protocol(3), {"window_size": 3, "random_state": 2}
    explainer = with_model(WinITExplainer("cpu", 3, "toy", tmp_path, train_loader=LOADER, **common), model)
    expected = WinIT(model, window_size=3, background=TRAIN, seed=2).explain(X).windows
    np.testing.assert_array_equal(explainer.attribute(X), expected)
    explainer.train_generators(LOADER, num_epochs=1)  # the name says that the data are used, so they are
    np.testing.assert_array_equal(explainer.attribute(X), expected)
    other = with_model(OGWinITExplainer("cpu", 3, "toy", tmp_path, train_loader=LOADER, **common), model)
    np.testing.assert_array_equal(other.attribute(X), expected)


# -- BiWinIT -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["box", "upper_triangular"])
@pytest.mark.parametrize("height", [1, 2, 3])
def test_biwinit(tmp_path, shape, height):
    model = published(4 if height == 2 else 1)
    explainer = BiWinITExplainer(
        "cpu", 3, "toy", tmp_path, TRAIN, 4, 2, random_state=3, height=height, mask_strategy=shape
    )
    explainer.set_model(model)
    for zero in (False, True):
        runs = torch.zeros(1, *X.shape).double() if zero else drawn("MARGINAL", 2, 3, background=TRAIN.double())
        whole, kept = naive_winit.blocks(both_classes(model), X.double(), runs, 4, height, shape)
        scores, S1, S2, IS = explainer.attribute(X.double(), all_zero_cf=zero)
        for found, expected in ((S1, whole), (S2, kept), (IS, whole - kept), (scores, (whole - kept)[..., ::-1])):
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, expected, atol=1e-9)
        assert abs(IS).max() > 1e-3
    np.testing.assert_array_equal(explainer.attribute(X.double())[0], scores)  # zero is the default


def test_boxes_are_biwinit_and_triangles_of_one_feature_too(tmp_path):
    model, common = Protocol(3), {"train_loader": TRAIN, "window_size": 3}
    box = with_model(BiWinITExplainer("cpu", 3, "toy", tmp_path, height=2, **common), model)
    expected = BiWinIT(model, window_size=3, height=2, background=TRAIN).explain(X).windows
    np.testing.assert_array_equal(box.attribute(X, all_zero_cf=False)[0], expected)
    one, other = (
        with_model(BiWinITExplainer("cpu", 3, "toy", tmp_path, height=1, mask_strategy=s, **common), model)
        for s in ("box", "upper_triangular")
    )
    for a, b in zip(one.attribute(X, False), other.attribute(X, False), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_triangles_with_a_generator(tmp_path):
    """Values by window: what begins a step later is drawn as a window that begins there."""
    model = published(4)
    explainer = BiWinITExplainer("cpu", 3, "toy", tmp_path, None, 3, 2, mask_strategy="upper_triangular")
    explainer.set_model(model)
    explainer.train_generators(TRAIN, num_epochs=1)
    runs = explainer.generator.draw(X, torch.arange(2), 2, 0)
    expected = naive_winit.blocks(both_classes(model), X.double(), runs, 3, 2, "upper_triangular")
    found = explainer.attribute(X.double(), all_zero_cf=False)
    np.testing.assert_allclose(found[1:3], expected, atol=1e-6)


@pytest.mark.parametrize("states", [1, 4])
def test_cells_masked_together(tmp_path, states):
    model = published(states)
    f = both_classes(model)
    explainer = with_model(BiWinITExplainer("cpu", 3, "toy", tmp_path, window_size=3, metric="kl"), model)
    x, cells = X.double(), [(5, 0), (2, 2), (5, 1)]

    def expected(t):
        masked = x.clone()
        for step, d in cells:
            masked[:, d, step] = 0
        pairs = zip(f(x[:, :, : t + 1]), f(masked[:, :, : t + 1]), strict=True)
        return [naive.distance("kl", p, q) for p, q in pairs]

    np.testing.assert_allclose(explainer.mask_and_score(x, cells), expected(7), atol=1e-12)
    for t, scores in zip((5, 6, 7), explainer.mask_and_score_windowed(x, cells), strict=True):
        np.testing.assert_allclose(scores, expected(t), atol=1e-12)
    last, *beyond = explainer.mask_and_score_windowed(x, [(7, 0)])
    assert last.shape == (2,)
    assert np.isnan(beyond).all()
    assert len(beyond) == 2
    everything = list(itertools.product(range(8), range(3)))
    assert explainer.mask_and_score(x, everything).shape == (2,)
    for wrong, words in (([], "at least one cell"), ([(8, 0)], "t must be at most 7"), ([(0, 3)], "d must be at most")):
        with pytest.raises(ValueError, match=words):
            explainer.mask_and_score(x, wrong)


# -- the others --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [1, 2, 4])
@pytest.mark.parametrize("name", ["fo", "afo"])
def test_occlusion(name, states):
    model = published(states)
    common = {"num_samples": 3, "random_state": 5}
    explainer = FOExplainer("cpu", **common) if name == "fo" else AFOExplainer("cpu", LOADER, **common)
    source = {"low": -3.0, "high": 3.0} if name == "fo" else {"background": TRAIN.double()}
    draws = drawn("UNIFORM" if name == "fo" else "MARGINAL", 3, 5, **source)
    expected, x = np.zeros(X.shape), X.double()
    for d, t in itertools.product(range(3), range(1, 8)):
        for values in draws:
            changed = x[:, :, : t + 1].clone()
            changed[:, d, t] = values[:, d, t]
            with torch.no_grad():
                moved = model.predict(changed, return_all=False) - model.predict(x[:, :, : t + 1], return_all=False)
            expected[:, d, t] += moved.abs().mean(dim=1).numpy() / 3
    found = with_model(explainer, model).attribute(x)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert found.max() > 1e-3


class Linear(nn.Module):
    """One state, linear in the series: every gradient method gives weight times change."""

    num_states = 1

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 8, generator=torch.Generator().manual_seed(2)))

    def forward(self, x, return_all=True):
        return (x * self.weight).cumsum(dim=2).sum(dim=1, keepdim=True) if return_all else self.last(x)

    def last(self, x):
        return (x * self.weight).sum(dim=(1, 2))[:, None]

    def predict(self, x, return_all=True):
        return self.forward(x, return_all).sigmoid()


@pytest.mark.filterwarnings("ignore::UserWarning")  # captum's, of what it does to inputs and modules
def test_gradients():
    captum = pytest.importorskip("captum.attr")
    model = Linear()
    expected = (X * model.weight).abs().detach().numpy()
    for kind in (IGExplainer, DeepLiftExplainer):
        np.testing.assert_allclose(with_model(kind("cpu"), model).attribute(X), expected, atol=1e-5)
    model = published(1).float().train()
    explainer = GradientShapExplainer("cpu")
    explainer.set_model(model, set_eval=False)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002  captum's generator
    found = explainer.attribute(X)
    assert model.training
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002  captum's generator
    options = {"n_samples": 50, "stdevs": 0.0001, "baselines": torch.cat((0 * X, X))}
    direct = captum.GradientShap(lambda x: model.eval()(x, return_all=False)).attribute(X, **options)
    np.testing.assert_allclose(found, direct.abs().numpy(), atol=1e-7)
    with pytest.raises(ValueError, match="models of one state, got num_states=2"):
        explainer.set_model(published(2))
    with pytest.raises(TypeError, match=r"needs an nn.Module, for its gradients, got Protocol"):
        explainer.set_model(Protocol(1))


def test_fit(tmp_path):
    model = published(4)
    explainer = with_model(FITExplainer("cpu", 3, "toy", tmp_path, num_samples=2, random_state=4), model)
    with pytest.raises(RuntimeError, match="train_generators or load_generators first"):
        explainer.attribute(X.double())
    explainer.train_generators(LOADER, LOADER, num_epochs=2)
    found = explainer.attribute(X.double())
    expected = naive_attribution.fit(
        both_classes(model), X.double(), lambda d: explainer.generator.draw_given(X, d, torch.arange(2), 2, 4), 2
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    again = with_model(FITExplainer("cpu", 3, "toy", tmp_path, num_samples=2, random_state=4), model)
    again.load_generators()
    np.testing.assert_array_equal(again.attribute(X.double()), found)
    assert again.test_generators(LOADER) == explainer.test_generators(LOADER)


@pytest.mark.parametrize("last", [False, True])
def test_dynamask_passes_its_settings_on(monkeypatch, last):
    """Fitting takes seconds, and is tested where it is done: what is fitted is looked at here."""
    seen = {}

    class Recorded:
        def __init__(self, model, **options):
            seen.update(options, model=model)
            assert set(options) <= {option.name for option in Dynamask.options()}

        def attribute(self, x):
            return torch.ones_like(x)

    monkeypatch.setattr("rambit.compat.learned_explainers.Dynamask", Recorded)
    model = published(1)
    explainer = DynamaskExplainer(
        "cpu", [0.1, 0.2], 7, blur_type="fadema", size_reg_factor_dilation=10, use_last_timestep_only=last
    )
    assert with_model(explainer, model).attribute(X).shape == X.shape
    assert seen == {
        "model": model,
        "anchor": "end" if last else "cell",
        "perturbation": "fade_moving_average",
        "keep_ratio": [0.1, 0.2],
        "epochs": 7,
        "size_reg_factor_dilation": 10.0,
        "time_reg_factor": 1.0,
        "seed": 0,
        "device": torch.device("cpu"),
    }
    for wrong, words in (
        ({"blur_type": "mean"}, "blur_type must be one of gaussian, fadema"),
        ({"loss": "mse"}, "loss must be one of logloss, ce"),
        ({"deletion_mode": True}, "deletion_mode=True is not offered"),
        ({"area_list": []}, "area_list must name at least one"),
    ):
        with pytest.raises(ValueError, match=words):
            DynamaskExplainer("cpu", **wrong)


def test_missing_libraries_name_their_extra(monkeypatch):
    for module in ("captum.attr", "tint.attr"):
        monkeypatch.setitem(sys.modules, module, None)
    for kind in (IGExplainer, DeepLiftExplainer, GradientShapExplainer):
        with pytest.raises(ImportError, match=r"captum.*rambit\[baselines\]"):
            kind("cpu")
    with pytest.raises(ImportError, match=r"time_interpret.*rambit\[baselines\]"):
        with_model(DynamaskExplainer("cpu"), published(1)).attribute(X)


# -- what all share ----------------------------------------------------------------------------------------------------


def test_set_eval(tmp_path):
    for kind in (JIMEx(3), FOExplainer(), WinITExplainer(None, 3, "toy", tmp_path)):
        model = published(1).train()
        kind.set_model(model, set_eval=False)
        assert model.training
        scores = kind.attribute(X.double(), **({} if isinstance(kind, FOExplainer) else {"all_zero_cf": True}))
        assert model.training
        kind.set_model(model)
        assert not model.training
        assert kind.base_model is model
        np.testing.assert_array_equal(
            scores, kind.attribute(X.double(), **({} if isinstance(kind, FOExplainer) else {"all_zero_cf": True}))
        )
        with pytest.raises(TypeError, match="set_eval must be True or False"):
            kind.set_model(model, set_eval="no")


def test_unknown_keywords_are_logged(tmp_path, caplog):
    JIMEx(3), FOExplainer("cpu", n_samples=4), BiWinITExplainer("cpu", 3, "toy", tmp_path, height=3)
    assert not caplog.records
    explainers = [
        WinITExplainer("cpu", 3, "toy", tmp_path, usedatadist=True),
        BiWinITExplainer("cpu", 3, "toy", tmp_path, other_args={"height": 3}),
        FOExplainer("cpu", depth=3),
        AFOExplainer("cpu", LOADER, depth=3),
        FITExplainer("cpu", 3, "toy", tmp_path, depth=3),
        DynamaskExplainer("cpu", depth=3),
    ]
    assert [record.name for record in caplog.records] == [type(one).__name__ for one in explainers]
    assert all(record.levelname == "WARNING" for record in caplog.records)
    assert caplog.records[0].getMessage() == "Keywords without effect: {'usedatadist': True}"
    with pytest.raises(TypeError, match="depth"):
        JIMEx(3, depth=3)


def names(make, **options):
    """The names of all combinations of these options."""
    combinations = (dict(zip(options, values, strict=True)) for values in itertools.product(*options.values()))
    return [make(**one).get_name() for one in combinations]


def test_names_are_the_published_ones(tmp_path):
    where = ("cpu", 3, "toy", tmp_path)
    expected = {
        JIMEx(3): "jimex_num_masks_3_window_size_10_num_samples_3_wt_bounds_1_3_pd",
        JIMEx(3, 5, 7, (2, 4), metric="kl", window_size=6, train_loader=TRAIN): (
            "jimex_num_masks_7_window_size_6_num_samples_5_wt_bounds_2_4_kl_usedatadist"
        ),
        WinITExplainer(*where): "winit_window_10_pd",
        WinITExplainer(*where, TRAIN, 5, 4, conditional=True): "winit_window_5_samples_4_cond_pd_usedatadist",
        WinITExplainer(*where, joint=True, metric="js"): "winit_window_10_joint_js",
        OGWinITExplainer(*where): "winit_window_10_samples_3_pd",
        BiWinITExplainer(*where, height=1): "biwinit_window_10_pd",
        BiWinITExplainer(*where, TRAIN, 5, 4, joint=True, height=3): (
            "biwinit_window_5_samples_4_joint_height_3_pd_usedatadist"
        ),
        FOExplainer("cpu"): "fo",
        FOExplainer("cpu", 3): "fo_sample_3",
        AFOExplainer("cpu", LOADER): "afo",
        AFOExplainer("cpu", LOADER, n_samples=3): "afo_sample_3",
        FITExplainer("cpu", 3, "toy", tmp_path): "fit",
        FITExplainer("cpu", 3, "toy", tmp_path, 3): "fit_sample_3",
        DynamaskExplainer("cpu"): "dynamask_gaussian_timereg_1_sizereg_100_area_0.25-0.3400000000000001_epoch_200",
        DynamaskExplainer("cpu", [0.1], 9, blur_type="fadema", loss="ce", use_last_timestep_only=True): (
            "dynamask_fadema_celoss_timereg_1_sizereg_100_area_0.1_epoch_9_lastonly"
        ),
        MockExplainer(): "mock",
    }
    for explainer, name in expected.items():
        assert explainer.get_name() == name


def test_no_two_settings_share_a_name(tmp_path):
    def jimex(zero, data, **options):
        return JIMEx(3, all_zero_cf=zero and data, train_loader=TRAIN if data else None, **options)

    def biwinit(data, **options):
        return BiWinITExplainer("cpu", 3, "toy", tmp_path, TRAIN if data else None, **options)

    either, small = (False, True), {"num_samples": (3, 4), "window_size": (5, 10), "metric": ("pd", "kl")}
    bounds = ((1, 2), (1, 3), (2, 3))
    found = names(jimex, zero=(True,), data=either, wt_bounds=bounds, wd_bounds=bounds, num_masks=(3, 5), **small)
    found += names(jimex, zero=(False,), data=(True,), wt_bounds=bounds, wd_bounds=bounds, num_masks=(3, 5), **small)
    shapes = {"height": (1, 2, 3), "mask_strategy": ("box", "upper_triangular")}
    found += names(biwinit, data=either, conditional=either, **shapes, **small)
    areas = ([0.1], [0.1, 0.3], [0.1, 0.2, 0.3], [0.1, 0.15, 0.3], None, [0.25, 0.3400000000000001])
    kinds = {"blur_type": ("gaussian", "fadema"), "loss": ("ce", "logloss"), "use_last_timestep_only": either}
    found += names(DynamaskExplainer, area_list=areas, num_epoch=(7, 8), time_reg_factor=(0, 1), **kinds)
    assert len(set(found)) == len(found)


def test_mock():
    explainer = MockExplainer()
    assert (explainer.attribute(X, anything=3) == np.zeros(X.shape)).all()


def test_bad_input(tmp_path):
    explainer = with_model(BiWinITExplainer("cpu", 3, "toy", tmp_path, train_loader=TRAIN), Protocol(3))
    with pytest.raises(ValueError, match=r"x must be \(B, 3, T\), got \(2, 2, 8\)"):
        explainer.attribute(X[:, :2])
    with pytest.raises(ValueError, match=r"x must be \(B, D, T\), got \(3, 8\)"):
        with_model(FOExplainer(), Protocol(3)).attribute(X[0])
    with pytest.raises(ValueError, match="train_loader"):
        JIMEx(4, train_loader=TRAIN)
    with pytest.raises(ValueError, match="train_loader is needed"):
        AFOExplainer("cpu", None)
    with pytest.raises(ValueError, match="joint"):
        WinITExplainer("cpu", 3, "toy", tmp_path, joint=True, conditional=True)
    with pytest.raises(ValueError, match="mask_strategy must be one of box, upper_triangular"):
        BiWinITExplainer("cpu", 3, "toy", tmp_path, mask_strategy="disc")
    with pytest.raises(ValueError, match="height must be at least 1"):
        BiWinITExplainer("cpu", 3, "toy", tmp_path, height=0)
    with pytest.raises(TypeError, match="all_zero_cf must be True or False"):
        explainer.attribute(X, all_zero_cf="yes")


def test_inputs_as_people_have_them(tmp_path):
    """Arrays of any strides, and reference data that misses values and says so; what is masked in x is refused."""
    seen = torch.rand(TRAIN.shape, generator=torch.Generator().manual_seed(2)) < 0.8
    loader = [
        np.ma.array(part.numpy(), mask=~here.numpy()) for part, here in zip(TRAIN.split(5), seen.split(5), strict=True)
    ]
    model = Protocol(3)
    for make, method in (
        (lambda: JIMEx(3, num_samples=2, num_masks=4, wt_bounds=(1, 3), train_loader=loader), None),
        (lambda: WinITExplainer("cpu", 3, "toy", tmp_path, train_loader=loader, window_size=3), WinIT),
    ):
        explainer = make()
        explainer.set_model(model)
        scores = explainer.attribute(X)
        np.testing.assert_array_equal(explainer.attribute(X.numpy()[::-1].copy()[::-1]), scores)
        np.testing.assert_array_equal(explainer.attribute(X.numpy().astype(">f4")), scores)
        known = {"X": TRAIN, "observed": seen}
        if method is not None:
            expected = method(model, window_size=3, background=known).explain(X).windows
            np.testing.assert_array_equal(scores, expected)
        with pytest.raises(ValueError, match=r"x is a masked array with 1 masked values.*x.filled"):
            explainer.attribute(np.ma.masked_equal(X.numpy(), X.numpy().max()))


# -- the scripts of the two repositories, with the import changed ------------------------------------------------------


def test_the_readme_of_rambit():
    model = published(2).float()
    attributor = RaMbIT(model, num_samples=10, Wt_max=10, Wd_max=5, window_size=5, L=20)
    scores = attributor.attribute(X)
    assert scores.shape == X.shape
    assert float(scores.abs().max()) > 0


@pytest.mark.filterwarnings("ignore::UserWarning")  # captum's
def test_a_run_of_every_explainer(tmp_path):
    """As their runner does it: make, train or load generators, set the model, explain batch by batch, keep by name."""
    pytest.importorskip("captum")
    model, where = published(1).float(), ("cpu", 3, "toy", tmp_path / "generators")
    explainers = {
        "winit": compat.OGWinITExplainer(*where, window_size=4, joint=False, conditional=False, random_state=2345),
        "biwinit": compat.BiWinITExplainer(*where, train_loader=LOADER, window_size=4, height=3),
        "jimex": compat.JIMEx(
            3, 3, 5, (1, 4), (1, 4), "cpu", "pd", 4, train_loader=LOADER, random_state=2345, all_zero_cf=False
        ),
        "fit": compat.FITExplainer(*where),
        "ig": compat.IGExplainer("cpu"),
        "deeplift": compat.DeepLiftExplainer("cpu"),
        "fo": compat.FOExplainer("cpu"),
        "afo": compat.AFOExplainer("cpu", LOADER),
        "gradientshap": compat.GradientShapExplainer("cpu"),
        "mock": compat.MockExplainer(),
    }
    for name, explainer in explainers.items():
        explainer.train_generators(LOADER, LOADER, 1)
        explainer.load_generators()
        explainer.test_generators(LOADER)
        explainer.set_model(model, set_eval=name != "fit")
        results = [explainer.attribute(x) for x, _ in DataLoader(TensorDataset(X, X), batch_size=1)]
        scores = np.concatenate([one[0] if isinstance(one, tuple) else one for one in results])
        kept = tmp_path / f"{explainer.get_name()}_test_importance_scores_0.pkl"
        kept.write_bytes(pickle.dumps(scores))
        scores = compat.aggregate_scores(pickle.loads(kept.read_bytes()), "mean")
        assert scores.shape == X.shape
        masked = compat.Masker("std", 3, False, 43814, True, "mean").mask(X.numpy(), {0: scores})
        assert (masked[0] != X.numpy()).any()


def test_the_interaction_script_of_rambit(tmp_path):
    """How far two cells together move the predictions beyond what each of them does."""
    explainer = compat.BiWinITExplainer("cpu", 3, "toy", tmp_path, window_size=2, mask_strategy="box", height=3)
    explainer.set_model(published(1).float(), set_eval=True)
    p, q = (2, 0), (2, 1)
    alone = [explainer.mask_and_score_windowed(X, [cell]) for cell in (p, q)]
    together = explainer.mask_and_score_windowed(X, [p, q])
    delta = np.array([(pq - a - b).numpy() for pq, a, b in zip(together, *alone, strict=True)])
    assert delta.shape == (2, 2)
    assert np.isfinite(delta).all()
