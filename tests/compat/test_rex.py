"""rex-xai's settings are read key by key, and its calls give what ours give by our names."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from rambit.compat import rex
from rambit.compat.rex import keys
from rambit.rex import Distribution, Queue, ResponsibilityStyle, Strategy
from rambit.rex import ReX as Explainer

EXAMPLE = Path(__file__).parent / "rex_example.toml"
#: What the example says by our names; of images apart.
OURS = {
    "mask_value": 0.25,
    "seed": 3,
    "binary_threshold": 0.7,
    "tree_depth": 6,
    "search_limit": 500,
    "iters": 4,
    "min_box_size": 5,
    "confidence_filter": 0.3,
    "weighted": True,
    "negative_responsibility": True,
    "queue": Queue.Intersection,
    "queue_len": None,
    "concentrate": True,
    "responsibility_style": ResponsibilityStyle.Additive,
    "distribution": Distribution.BetaBinomial,
    "dist_args": [1.1, 1.2],
    "chunk_size": 7,
    "minimum_confidence_threshold": 0.2,
    "initial_radius": 3,
    "radius_growth": 1.5,
    "expansions": 2,
    "strategy": Strategy.MultiSpotlight,
    "spotlights": 4,
    "step": 2,
    "budget": 9,
    "objective": "mean",
    "permitted_overlap": 0.1,
}
UNUSED = {
    "rex": ["batch_size"],
    "rex.onnx": ["intra_op_num_threads", "inter_op_num_threads", "ort_logger"],
    "rex.visual": [
        *("progress_bar", "resize", "info", "raw", "colour", "heatmap_colours", "alpha", "grid", "mark_segments"),
        "multi_style",
    ],
    "causal": ["use_bounding_box", "segmentation"],
    "causal.distribution": ["blend"],
    "explanation": ["multi_class"],
    "explanation.multi": ["spotlight_size", "spotlight_eta"],
    "explanation.evaluation": ["insertion_step", "normalise_curves"],
}
#: Every older name, where it stands, and what it is called now.
OLDER = {
    ("explanation", "chunk"): "chunk_size",
    ("explanation", "min_confidence_scalar"): "minimum_confidence_threshold",
    ("causal.distribution", "dist_args"): "distribution_args",
    ("explanation.spatial", "initial_radius"): "spatial_initial_radius",
    ("explanation.spatial", "spotlight_initial_radius"): "spatial_initial_radius",
    ("explanation.spatial", "radius_eta"): "spatial_radius_eta",
    ("explanation.spatial", "spotlight_radius_eta"): "spatial_radius_eta",
    ("explanation.multi", "method"): "strategy",
    ("explanation.multi", "objective_function"): "spotlight_objective_function",
    ("explanation.multi", "obj_function"): "spotlight_objective_function",
    ("rex.visual", "heatmap"): "heatmap_colours",
}


class Corner(nn.Module):
    """Three classes by two bright squares of an image (N, 3, 16, 16)."""

    def forward(self, x):
        first, second = x[:, :, :6, :6].mean((1, 2, 3)), x[:, :, 9:14, 8:14].mean((1, 2, 3))
        return torch.stack((torch.zeros_like(first), 12 * (first - 0.4), 9 * (second - 0.6)), dim=1)


def image(seed=0):
    x = 0.3 * torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    x[:, :, :6, :6] = 1
    return x


def held(x=None, model=None):
    """rex-xai's object with an input set, quick settings, and its target."""
    one = rex.ReX(model or Corner(), ["N", 3, 16, 16], "cpu", "RGB")
    one.data = rex.Data(np.zeros((2, 2)), ["N", 3, 16, 16], "cpu", mode="RGB")
    one.set_transformed_data(image() if x is None else x)
    one.args.iters, one.args.min_box_size, one.args.seed = 3, 4, 1
    return one.set_target()


def nested(section, name, value):
    document = {name: value}
    for part in reversed(section.split(".")):
        document = {part: document}
    return document


# -- settings ---------------------------------------------------------------------------------------------------------


def test_every_documented_key_is_read_and_mapped():
    with pytest.warns(UserWarning, match="change no explanation here") as said:
        args = rex.load_config(EXAMPLE)
    assert args.options() == OURS
    [warning] = said
    listed = str(warning.message).split("here: ")[1].split(", ")
    assert sorted(listed) == sorted(f"[{section}] {name}" for section, names in UNUSED.items() for name in names)
    document = keys.read_document(rex.read_config_file(EXAMPLE))
    assert document.keys() == keys.BY_NAME.keys()
    images = {name: value for name, value in keys.as_options(document).items() if name in ("mean", "std")}
    assert images == {"mean": (0.8, 1.0, 1.2), "std": (0.4, 0.6, 0.8)}


def test_defaults_are_rex_xais():
    args = rex.CausalArgs()
    assert args.seed is None
    ours = {name: value for name, value in args.options().items() if name != "output"}
    defaults = Explainer(Corner())
    assert {name: getattr(defaults, name) for name in ours} == {
        **ours,
        "objective": defaults.objective,
        "confidence_filter": 0.0,
    }
    assert defaults.objective.value == ours["objective"]
    assert "iters" in repr(args)
    args.iters = 4
    assert vars(copy.copy(args)) == vars(args)


def test_the_example_gives_what_our_names_give():
    with pytest.warns(UserWarning, match="change no explanation"):
        args = rex.load_config(EXAMPLE)
    args.strategy, args.binary_threshold = Strategy.Global, None
    one = held()
    one.args = args
    one.calculate_responsibility()
    one.extract_sufficient_explanation()
    options = {**OURS, "strategy": "global", "binary_threshold": 0.5}
    expected = Explainer(Corner(), output="logits", **options).explain(image())
    assert torch.equal(one.explanation.target_map, expected.responsibility)
    assert torch.equal(one.explanation.sufficiency_mask, expected.mask.expand(3, 16, 16))
    assert one.explanation.sufficiency_confidence == expected.confidence
    assert one.explanation.result.settings == expected.settings


@pytest.mark.parametrize(("older", "now"), OLDER.items())
def test_older_names(older, now):
    value = {"strategy": "spotlight", "spotlight_objective_function": "max", "distribution_args": [1, 2]}.get(now, 2)
    section, name = older
    assert keys.read_document(nested(section, name, value)) == keys.read_document(nested(section, now, value))
    with pytest.raises(ValueError, match=f"gives {now} twice"):
        keys.read_document(nested(section, now, value) | {section.split(".")[0]: both(section, name, now, value)})


def both(section, name, now, value):
    inner = {name: value, now: value}
    for part in reversed(section.split(".")[1:]):
        inner = {part: inner}
    return inner


def test_names_in_upper_case():
    found = keys.read_document({"CAUSAL": {"ITERS": 3, "Queue_Style": "DC", "queue_len": "ALL"}})
    assert keys.as_options(found) == {"iters": 3, "queue": Queue.DC, "queue_len": None}
    assert keys.read_document({"rex": {"mask_value": "MEAN"}}) == {"mask_value": "mean"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"causal": {"itres": 3}}, r"unknown key 'itres' in \[causal\]; did you mean iters in \[causal\]\?"),
        ({"rex": {"iters": 3}}, r"iters is given in \[rex\], but belongs in \[causal\]"),
        ({"iters": 3, "rex": {}}, r"iters is given outside of all sections, but belongs in \[causal\]"),
        ({"causal": {"distributions": {}}}, r"unknown section \[causal.distributions\]; did you mean \[causal.dist"),
        ({"causal": {"queue_style": "big"}}, r"\[causal\] queue_style must be one of area, all"),
        ({"rex": {"mask_value": "random"}}, r"\[rex\] mask_value must be a number, min, mean, spectral or context"),
        ({"rex": {"mask_value": "linear"}}, "mask_value must be"),
        ({"causal": {"distribution": {"distribution": "binom"}}}, "'binom' of rex-xai has no counterpart"),
        ({"causal": {"use_bounding_box": True}}, "use_bounding_box of rex-xai has no counterpart"),
        ({"explanation": {"multi": {"strategy": "some"}}}, "strategy must be one of"),
    ],
)
def test_what_is_unknown_or_elsewhere_is_named(document, said):
    with pytest.raises(ValueError, match=said):
        keys.read_document(document)


def test_wrong_values_are_named():
    for name, value in {"spatial_radius_eta": -1, "queue_len": 0, "means": [float("nan")], "norm": 0}.items():
        with pytest.raises(ValueError, match=name):
            keys.as_options({name: value})
    args = rex.CausalArgs()
    with pytest.raises(AttributeError, match="no setting 'itres'; did you mean iters"):
        args.itres = 3


def test_where_settings_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.warns(UserWarning, match=r"there is no rex\.toml"):
        assert rex.load_config().iters == 20
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "rex.toml").write_text("[causal]\niters = 5")
    assert rex.load_config().iters == 5
    (tmp_path / "rex.toml").write_text("[causal]\niters = 6")
    assert rex.load_config().iters == 6
    (tmp_path / "rex.toml").write_text("[causal]\nitres = 6")
    with pytest.raises(ValueError, match=r"rex\.toml: unknown key 'itres' in \[causal\]"):
        rex.load_config()


# -- the object and the functions -------------------------------------------------------------------------------------


def test_the_script_of_the_notebook(tmp_path, capsys):
    """An image file, its target, the map, a part and pictures: rex-xai's calls, with another import."""
    pillow = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    pixels = (255 * image()[0].permute(1, 2, 0).numpy()).astype(np.uint8)
    pillow.fromarray(pixels).save(tmp_path / "a.png")

    one = rex.ReX(Corner(), ["N", 3, 16, 16], "cpu", "RGB")
    one.show_target()
    picture = one.set_rgb_image(str(tmp_path / "a.png"))
    one.set_transformed_data(torch.from_numpy(np.array(picture, dtype=np.float32) / 255).permute(2, 0, 1)[None])
    one.args.seed, one.args.iters, one.args.min_box_size = 1, 3, 4
    one.set_target()
    one.show_target()
    one.calculate_responsibility()
    one.extract_sufficient_explanation()
    one.show()
    one.explanation.save(tmp_path / "b.png")
    one.explanation.heatmap_plot()
    one.explanation.surface_plot(tmp_path / "c.png")

    x = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    expected = Explainer(Corner(), seed=1, iters=3, min_box_size=4).explain(x)
    assert torch.equal(one.explanation.sufficiency_mask[0], expected.mask)
    assert one.stats["total_passing"] == expected.stats["passing"]
    assert one.stats["total_passing"] + one.stats["total_failing"] == expected.stats["mutants"]
    assert capsys.readouterr().out.splitlines()[0] == "there is no target yet"
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_the_script_of_the_tutorial(tmp_path):
    """The same by functions, of one explanation and of several; with calls of 0.3 where they differ from 0.4's."""
    pillow = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    pixels = (255 * image()[0].permute(1, 2, 0).numpy()).astype(np.uint8)
    pillow.fromarray(pixels).save(tmp_path / "a.png")

    args = rex.CausalArgs()
    args.gpu, args.iters, args.seed, args.min_box_size = False, 3, 1, 4
    args.path = str(tmp_path / "a.png")
    device = rex.get_device(gpu=False)
    prediction_function = predicted(Corner())
    data = rex.load_and_preprocess_data(["N", 3, 16, 16], device, args)
    data.set_mask_value(0, device=device)
    data.target = rex.predict_target(data, prediction_function)
    resp_maps, stats = rex.calculate_responsibility(data, args, prediction_function)
    exp = rex.Explanation(resp_maps, prediction_function, data, args, stats)
    exp.extract(rex.Strategy.Global)
    assert exp.show(tmp_path / "b.png") is not None
    assert set(rex.analyze(exp, data.mode)) >= {"area", "entropy", "insertion_curve", "deletion_curve"}

    args.spotlights, args.chunk_size, args.spatial_initial_radius = 4, 3, 4
    multi_exp = rex.MultiExplanation(resp_maps, prediction_function, data, args, stats)
    multi_exp.extract(rex.Strategy.MultiSpotlight)
    clauses = multi_exp.separate_by(0)
    assert len(multi_exp.show(multi_style="composite", clauses=[clauses[0]])) == 1
    multi_exp.save(tmp_path / "c.png", clauses=clauses[0])
    multi_exp.save(tmp_path / "d.png", multi_style="separate")
    made = {path.name for path in tmp_path.glob("*.png")}
    assert made == {
        "a.png",
        "b.png",
        f"c_{clauses[0]}.png",
        *(f"d_{i}.png" for i in range(len(multi_exp.explanations))),
    }

    x = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    expected = Explainer(Corner(), iters=3, seed=1, min_box_size=4).explain(x)
    assert torch.equal(exp.final_mask[0], expected.mask)
    assert exp.sufficiency_confidence == pytest.approx(expected.confidence, abs=1e-6)


def test_contrastive_and_complete():
    one = held()
    one.calculate_responsibility()
    one.extract_complete_explanation()
    expected = Explainer(Corner(), seed=1, iters=3, min_box_size=4, strategy="complete", necessary_from="ranking")
    expected = expected.explain(image())
    found = one.explanation
    assert torch.equal(found.necessity_mask[0], expected.necessary)
    added = expected.complete & ~expected.necessary
    assert (found.complete_mask is None) == (not added.any())
    without = Corner()(torch.where(expected.necessary, 0, image())).softmax(1)[0]
    assert found.contrastive_classification == int(without.argmax()) != expected.target
    assert found.contrastive_confidence == pytest.approx(float(without.max()))
    one.extract_contrastive_explanation()
    assert one.explanation.complete_mask is None
    assert torch.equal(one.explanation.necessity_mask[0], expected.necessary)


def predicted(model):
    def prediction_function(mutants, target=None, raw=False, binary_threshold=None):
        logits = model(mutants)
        return logits.softmax(dim=1) if raw else rex.from_pytorch_tensor(logits, target)

    return prediction_function


def spectrum_model(x):
    part = x.reshape(len(x), -1)[:, 1:4].mean(1)
    return torch.stack((torch.zeros_like(part), 12 * (part - 0.5)), dim=1)


def volume_model(x):
    """Of volumes (N, H, W, D)."""
    part = x[:, 1:4, 1:4, 1:4].mean((1, 2, 3))
    return torch.stack((torch.zeros_like(part), 12 * (part - 0.5)), dim=1)


def channels_last(x):
    return Corner()(x.permute(0, 3, 1, 2))


def bright(*shape):
    """Dim values with a bright part, our layout."""
    x = 0.3 * torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    x[(0, 0, *(slice(1, 4) for _ in shape))] = 1
    return x


#: mode, model_shape, the model, the input in our layout; to the model's layout, and a map of ours to rex-xai's.
LAYOUTS = {
    "last": ("RGB", ("N", 16, 16, 3), channels_last, image(), lambda x: x.permute(0, 2, 3, 1), lambda map_: map_),
    "spectrum": ("spectral", ("N", 1, 40), spectrum_model, bright(40), lambda x: x, lambda map_: map_[None]),
    "flat": ("spectral", ("N", 40), spectrum_model, bright(40), lambda x: x[:, 0], lambda map_: map_[None]),
    "volume": (
        *("voxel", ("N", 6, 7, 5), volume_model, bright(5, 6, 7)),
        *(lambda x: x[:, 0].permute(0, 2, 3, 1), lambda map_: map_.permute(1, 2, 0)),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_functions_on_other_layouts(layout):
    """Channels last, spectra and volumes: the maps and masks of our names, in rex-xai's axes."""
    mode, shape, model, x, theirs, map_of_theirs = LAYOUTS[layout]
    data = rex.Data(np.zeros((2, 2)), shape, "cpu", mode=mode)
    data.data = theirs(x).contiguous()
    data.set_mask_value(0)
    args, function = rex.CausalArgs(), predicted(model)
    args.iters, args.min_box_size, args.seed = 3, 4, 2
    data.target = rex.predict_target(data, args, function)
    maps, stats = rex.calculate_responsibility(data, args, function)
    found = rex.Explanation(maps, function, data, args, stats, keep_all_maps=True)
    found.extract()

    explainer = Explainer(lambda rows: model(theirs(rows)), output="logits", iters=3, min_box_size=4, seed=2)
    expected = explainer.explain(x)
    assert list(maps.keys()) == list(expected.maps)
    for label, map_ in maps.items():
        assert torch.equal(torch.from_numpy(map_.copy()), map_of_theirs(expected.maps[label]))
    mask = expected.mask.expand(x.shape[1:]) if layout != "spectrum" else expected.mask[None]
    assert torch.equal(found.sufficiency_mask, theirs(mask.reshape(x.shape))[0])
    assert found.result.settings == {**expected.settings, "output": "probs"}
    for name in ("responsibility", "mask", "x"):
        assert torch.equal(getattr(found.result, name), getattr(expected, name))


def test_several_explanations_and_their_sets():
    pytest.importorskip("matplotlib")
    x = image()
    x[:, :, 9:14, 8:14] = 0.2

    def either(x):
        best = torch.maximum(x[:, :, :3, :3].mean((1, 2, 3)), x[:, :, 3:6, 3:6].mean((1, 2, 3)))
        return torch.stack((torch.zeros_like(best), 12 * (best - 0.5)), dim=1)

    one = held(x, either)
    one.args.strategy, one.args.spotlights = Strategy.MultiSpotlight, 6
    one.args.chunk_size, one.args.spatial_initial_radius = 1, 2
    one.calculate_responsibility()
    one.extract_sufficient_explanation()
    found = one.explanation
    count = len(found.explanations)
    assert count == len(found.explanation_confidences) > 1
    for mask, confidence in zip(found.explanations, found.explanation_confidences, strict=True):
        kept = either(torch.where(mask, x, 0)).softmax(1)[0]
        assert kept.argmax() == 1
        assert confidence == pytest.approx(float(kept[1]), abs=1e-6)
    sets = found.separate_by(0.3)
    assert sets == slow_sets([mask[0] for mask in found.explanations], 0.3)
    assert len(found.show(clauses=sets[:1])) == 1
    assert len(found.show("separate")) == count
    with pytest.raises(ValueError, match="multi_style"):
        found.show("other")


def slow_sets(masks, most):
    """All subsets of the largest size without a pair that overlaps more, by area."""
    from itertools import chain, combinations

    def overlap(a, b):
        return 2 * int((a & b).sum()) / int(a.sum() + b.sum())

    numbers = range(len(masks))
    subsets = chain.from_iterable(combinations(numbers, size) for size in range(1, len(masks) + 1))
    apart = [s for s in subsets if all(overlap(masks[i], masks[j]) <= most for i, j in combinations(s, 2))]
    largest = max(map(len, apart))
    return sorted((s for s in apart if len(s) == largest), key=lambda s: sum(int(masks[i].sum()) for i in s))


def test_analyze():
    one = held()
    one.calculate_responsibility()
    one.generate_explanation_object()
    with pytest.raises(ValueError, match="extract must come before analyze"):
        rex.analyze(one.explanation, "RGB")
    one.extract_sufficient_explanation()
    one.args.insertion_step = 30
    found = rex.analyze(one.explanation, "RGB")
    explainer = Explainer(Corner(), seed=1, iters=3, min_box_size=4)
    expected = explainer.evaluate(image(), explainer.explain(image()), step=30)
    assert found == {
        "area": expected.area,
        "entropy": expected.entropy,
        "robustness": expected.robustness,
        "max_entropy": None,
        "insertion_curve": expected.insertion,
        "deletion_curve": expected.deletion,
    }
    one.args.normalise_curves = False
    unit = one.data.target.confidence * 16 * 16
    assert rex.analyze(one.explanation)["insertion_curve"] == pytest.approx(expected.insertion * unit)


def test_mask_values():
    data = held().data
    context = image(5)
    with pytest.raises(ValueError, match="mask_value must be"):
        data.set_mask_value("linear")
    data.set_mask_value("context")
    with pytest.raises(ValueError, match=r"needs data\.context"):
        data.replacement(0)
    data.context, data.context_noise = context, 0
    assert torch.equal(data.replacement(0), context)
    data.context_noise = 0.8
    assert 0 < float((data.replacement(0) - context).abs().max()) < 0.5


def test_an_empty_mask_is_said():
    def always(x):
        return torch.stack((torch.ones(len(x)), torch.zeros(len(x))), dim=1)

    one = held(model=always)
    one.calculate_responsibility()
    with pytest.warns(UserWarning, match="nothing is kept; rex-xai keeps the first chunk"):
        one.extract_sufficient_explanation()
    assert not one.explanation.sufficiency_mask.any()


def test_steps_in_the_wrong_order_and_wrong_functions():
    one = rex.ReX(Corner(), ["N", 3, 16, 16], "cpu", "RGB")
    with pytest.raises(RuntimeError, match="set_rgb_image"):
        one.set_target()
    with pytest.raises(ValueError, match="mode must be spectral"):
        one.set_tabular_data("a.npy")
    one = held()
    with pytest.raises(RuntimeError, match="calculate_responsibility first"):
        one.extract_sufficient_explanation()
    one.set_prediction_function(lambda mutants, target=None: [None])
    with pytest.raises(ValueError, match="must predict a class for data, got None"):
        one.set_target()
    with pytest.raises(TypeError, match="raw=True"):
        one.calculate_responsibility()
    one.set_prediction_function(lambda mutants, target=None, raw=False: [])
    with pytest.raises(TypeError, match="must return a tensor of probabilities"):
        one.calculate_responsibility()
    one.data.target = rex.Prediction(1, 0.5)
    one.get_default_prediction_function()
    with pytest.raises(ValueError, match="must give data one confidence"):
        one.calculate_responsibility()
    with pytest.raises(ValueError, match="does not fit mode 'RGB'"):
        rex.Data(np.zeros(3), (1, 3), mode="RGB")


def test_files_by_the_settings(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 255, (10, 12, 3)).astype(np.uint8)
    pillow.fromarray(pixels).save(tmp_path / "a.png")
    args = rex.CausalArgs()
    args.path, args.means, args.stds = str(tmp_path / "a.png"), [0.1, 0.2, 0.3], [1, 2, 4]
    data = rex.load_and_preprocess_data(["N", 3, 10, 12], "cpu", args)
    expected = (pixels / np.float32(255) - np.float32([0.1, 0.2, 0.3])) / np.float32([1, 2, 4])
    np.testing.assert_allclose(data.data[0].permute(1, 2, 0), expected, rtol=1e-6)
    np.save(tmp_path / "a.npy", pixels[0, :, 0])
    args.path, args.mode = str(tmp_path / "a.npy"), "spectral"
    spectrum = rex.load_and_preprocess_data(["N", 1, 12], rex.get_device(False), args)
    assert spectrum.data.tolist() == [[pixels[0, :, 0].tolist()]]

    def preprocess(path, shape, device, mode):
        data = rex.Data(np.load(path), shape, device, mode=mode, process=True)
        data.data /= 255
        return data

    args.script, args.context_location = SimpleNamespace(preprocess=preprocess), str(tmp_path / "a.npy")
    scripted = rex.load_and_preprocess_data(["N", 1, 12], "cpu", args)
    assert torch.equal(scripted.data, spectrum.data / 255)
    assert torch.equal(scripted.context, scripted.data)
    args.script = None
    with pytest.raises(ValueError, match="context_location needs a script"):
        rex.load_and_preprocess_data(["N", 1, 12], "cpu", args)
    args.path, args.context_location = "a.nii", None
    with pytest.raises(ValueError, match=r"a\.nii must be an image"):
        rex.load_and_preprocess_data(["N", 1, 12], "cpu", args)
