"""What `rambit rex` reads: images of any order of axes, folders in folders, spectra, volumes."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pytest
import torch
from scipy import io as matlab

from rambit.cli.rex.array_files import read_arrays
from rambit.cli.rex.image_files import ImageFiles
from rambit.rex import ReX, RexExplanation

pillow = pytest.importorskip("PIL.Image")
QUICK = ("--iters", 2, "--min-box-size", 4)
MODULE = """
import torch

def of(bright):
    logits = 8 * (bright - 0.3)
    return torch.stack((torch.zeros_like(logits), logits), dim=1)

def first(x):
    return of(x[:, :, :8, :8].mean((1, 2, 3)))

def last(x):
    assert x.shape[-1] == 3
    return of(x[:, :8, :8].mean((1, 2, 3)))

def spectrum(x):
    return of(x[:, 0, 10:16].mean(1))

def volume(x):
    return of(x[:, :, :2, :2, :2].mean((1, 2, 3, 4)))
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """The current folder, with a module of models."""
    (tmp_path / "zoo_inputs.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "zoo_inputs", raising=False)
    yield tmp_path
    sys.modules.pop("zoo_inputs", None)


def photo(path, size=(16, 16)):
    pixels = np.random.default_rng(0).integers(0, 80, (*size, 3)).astype(np.uint8)
    pixels[: size[0] // 2, : size[1] // 2] += 150
    pillow.fromarray(pixels).save(path)
    return path


# -- the order of axes -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_channels_last_in_files_and_models(rambit, zoo):
    photo("a.png")
    for name, layout in (("first", "NCHW"), ("last", "NHWC")):
        rambit(
            "rex", "a.png", "--model", f"zoo_inputs:{name}", "--layout", layout, "--out", f"{name}.safetensors", *QUICK
        )
    first, last = (RexExplanation.load(f"{name}.safetensors") for name in ("first", "last"))
    assert torch.equal(first.responsibility, last.responsibility)
    assert torch.equal(first.mask, last.mask)
    assert last.x.shape == (1, 16, 16, 3)
    assert torch.equal(last.x.movedim(-1, 1), first.x)
    last.plot("last.png")


def network(path, shape):
    """An ONNX file: how bright an input of these sizes is, for two classes."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    parts = [make.make_node("Flatten", ["x"], ["flat"]), make.make_node("Gemm", ["flat", "w", "b"], ["logits"])]
    size = int(np.prod(shape))
    weights = np.stack((np.zeros(size), np.full(size, 30 / size)), axis=1).astype(np.float32)
    graph = make.make_graph(
        parts,
        "bright",
        [make.make_tensor_value_info("x", kind, ["N", *shape])],
        [make.make_tensor_value_info("logits", kind, ["N", 2])],
        [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(np.float32([0, -3]), "b")],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(("shape", "layout"), [((3, 8, 12), "NCHW"), ((8, 12, 3), "NHWC"), ((8, 12, 1), "NHWC")])
def test_an_onnx_model_says_size_and_order(rambit, fails, zoo, shape, layout):
    pytest.importorskip("onnxruntime")
    photo("a.png", (30, 40))
    model = network("net.onnx", shape)
    rambit("rex", "a.png", "--model", model, "--out", "a.safetensors", *QUICK)
    found = RexExplanation.load("a.safetensors")
    assert found.settings["layout"] == layout
    assert tuple(found.x.shape) == (1, *shape)
    assert found.mask.shape == (8, 12)
    said = fails("rex", "a.png", "--model", model, "--size", 9, "--out", "b.safetensors", *QUICK)
    assert "the ONNX model reads (N, " in said
    np.save("a.npy", found.x.numpy())  # arrays in the model's own order
    rambit("rex", "a.npy", "--model", model, "--out", "c.safetensors", *QUICK)
    assert torch.equal(RexExplanation.load("c.safetensors").mask, found.mask)


def test_a_broken_onnx_file_is_one_sentence(fails, zoo):
    pytest.importorskip("onnxruntime")
    photo("a.png")
    (zoo / "cut.onnx").write_bytes(network("net.onnx", (3, 8, 8)).encode())
    said = fails("rex", "a.png", "--model", "cut.onnx", "--out", "a.safetensors")
    assert "cut.onnx" in said
    assert not any(noise in said for noise in ("onnxruntime::", ".cc:", "ONNXRuntimeError"))
    assert said.count("\n") == 1


def test_a_context_and_x_lie_alike():
    torch.manual_seed(0)
    x, context = torch.rand(1, 12, 9, 3), torch.rand(1, 12, 9, 3) / 5

    def last(x):
        logits = 8 * (x[:, :5, :5].mean((1, 2, 3)) - 0.3)
        return torch.stack((torch.zeros_like(logits), logits), dim=1)

    settings = {"iters": 3, "min_box_size": 4}
    there = ReX(last, layout="NHWC", mask_value=context.numpy(), **settings)
    here = ReX(lambda x: last(x.movedim(1, -1)), mask_value=context.movedim(-1, 1), **settings)
    found, same = there.explain(x), here.explain(x.movedim(-1, 1))
    assert torch.equal(found.responsibility, same.responsibility)
    assert torch.equal(found.mask, same.mask)
    assert there.evaluate(x, found) == here.evaluate(x.movedim(-1, 1), same)
    assert torch.equal(there.attribute(torch.cat((x, x)))[1], same.responsibility)
    with pytest.raises(ValueError, match=r"mask_value must have the input's shape"):
        ReX(last, layout="NHWC", mask_value=context[:, :4]).explain(x)
    with pytest.raises(ValueError, match="layout='NHWC' is for images and volumes"):
        there.explain(x[0])
    with pytest.raises(ValueError, match="layout='NCHW'"):
        ReX(last, layout="NHWC", evaluation="incremental")
    with pytest.warns(UserWarning, match=r"12 channels.*give layout='NHWC', or x.permute\(0, 3, 1, 2\)"):
        ReX(lambda x: last(x.flatten(1)[:, :108].view(-1, 12, 3, 3)), **settings).explain(x)


# -- files -------------------------------------------------------------------------------------------------------------


def test_images_by_any_case_and_turned_as_they_say(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    image = pillow.fromarray(pixels)
    exif = image.getexif()
    exif[274] = 6  # shown after a quarter turn clockwise
    for name in ("a.PNG", "a.Tif", "a.webp", "a.JPG", "a.jpeg"):
        image.save(tmp_path / name, exif=exif, **({"lossless": True} if name.endswith("webp") else {}))
        read = ImageFiles({}).source(tmp_path / name, name).read().x
        assert read.shape == (1, 3, 9, 6)
        if not name.lower().endswith(("jpg", "jpeg")):
            expected = torch.from_numpy(np.rot90(pixels, -1).copy()).permute(2, 0, 1) / 255
            assert torch.equal(read[0], expected)


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), None),
        ((0.5,), (0.5,), None),
        ((0.408, 0.459, 0.481), (1 / 255,), None),
        ((0.0,), (1.0,), None),
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "reads -2.118 … -2.101 of pixels that are 0 … 1"),
        ((127.5,), (1.0,), "reads -127.5 … -126.5"),
        ((0.485,), (58.4,), "the std 58.4"),
        ((0.5,), (0.001,), "reads -500 … 500"),
    ],
)
def test_means_and_deviations_of_another_scale(tmp_path, recwarn, mean, std, said):
    files = ImageFiles({"mean": mean, "std": std})
    for name in ("a.png", "b.png"):
        files.read(photo(tmp_path / name))
    told = [str(one.message) for one in recwarn]
    assert len(told) == (said is not None)  # once for all files
    assert said is None or ("a.png: with the mean" in told[0] and said in told[0])


def test_values_of_their_own_scale_need_no_warning(tmp_path, recwarn):
    values = np.random.default_rng(0).uniform(-1000, 3000, (8, 8)).astype(np.float32)
    pillow.fromarray(values).save(tmp_path / "ct.tif")
    ImageFiles({"mean": (-500.0,), "std": (1000.0,), "grey": True}).read(tmp_path / "ct.tif")
    ImageFiles({"grey": True}).read(tmp_path / "ct.tif")
    assert not recwarn
    ImageFiles({"mean": (0.5,), "std": (0.5,), "grey": True}).read(tmp_path / "ct.tif")
    assert "of which scale are --mean and --std?" in str(recwarn[0].message)


def test_folders_in_folders(rambit, fails, zoo):
    (zoo / "photos" / "more").mkdir(parents=True)
    (zoo / "out").mkdir()
    photo("photos/a.png")
    photo("photos/more/a.PNG")
    given = ("rex", "photos", "--model", "zoo_inputs:first", "--model-id", "first", *QUICK)
    out = rambit(*given, "--out", "out/flat")
    assert "1 of photos" in out.out
    assert "photos: 1 sub-folders are left out: --recursive reads them" in out.err
    out = rambit(*given, "--out", "out/deep", "--recursive", "--figure", "out/pictures")
    assert "2 of photos" in out.out
    assert "left out" not in out.err
    assert (zoo / "out" / "pictures" / "more" / "a.PNG.png").is_file()
    assert "--recursive is for folders" in fails(*given[:1], "photos/a.png", *given[2:], "--out", "b", "--recursive")


def test_spectra(rambit, zoo):
    x = np.zeros(40)
    x[10:16] = 1
    np.save("one.npy", x)
    np.save("two.npy", np.stack((x, x)))
    given = ("--model", "zoo_inputs:spectrum", "--model-id", "s", *QUICK)
    rambit("rex", "one.npy", *given, "--out", "one.safetensors")
    found = RexExplanation.load("one.safetensors")
    assert found.mask.shape == (40,)
    assert found.mask[10:16].any()
    assert not found.mask.all()
    rambit("rex", "two.npy", *given, "--series", 1, "--out", "two.safetensors")
    assert torch.equal(RexExplanation.load("two.safetensors").mask, found.mask)


def test_volumes_of_matlab(rambit, fails, zoo):
    x = np.random.default_rng(0).random((4, 5, 6)) / 5
    x[:2, :2, :2] = 1
    matlab.savemat("a.mat", {"scan": x, "name": "a"})
    matlab.savemat("b.mat", {"scan": x, "mask": x})
    rambit("rex", "a.mat", "--model", "zoo_inputs:volume", "--out", "a.safetensors", *QUICK)
    assert torch.equal(RexExplanation.load("a.safetensors").x[0, 0], torch.from_numpy(x))
    said = fails("rex", "b.mat", "--model", "zoo_inputs:volume", "--out", "b.safetensors")
    assert "--x must name one of its arrays of numbers: scan, mask" in said
    matlab.savemat("c.mat", {"spectrum": x[0, 0]})
    assert read_arrays(zoo / "c.mat", None).shape == (1, 1, 6)
    matlab.savemat("d.mat", {"scan": np.stack((x, x + 1), axis=-1)})
    assert torch.equal(read_arrays(zoo / "d.mat", "scan")[0, 1], torch.from_numpy(x + 1))


def test_volumes_of_nibabel(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    x = np.random.default_rng(0).integers(0, 200, (4, 5, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(x, np.diag([2.0, -1, 1, 1])), tmp_path / "a.nii")
    (tmp_path / "b.NII.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    for name in ("a.nii", "b.NII.gz"):
        assert torch.equal(read_arrays(tmp_path / name, None), torch.from_numpy(x).float()[None, None])
    (tmp_path / "c.nii").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"c\.nii"):
        read_arrays(tmp_path / "c.nii", None)
