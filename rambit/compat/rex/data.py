"""rex-xai's inputs and predictions, and how our inputs and models are made of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rambit import arrays
from rambit.checks import one_of
from rambit.compat.rex.causal_args import CausalArgs
from rambit.compat.rex.keys import BY_NAME
from rambit.predictors import Predictor

MODES = ("RGB", "spectral", "tabular", "voxel")
IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


class Prediction:
    """A class, its confidence, and those of the target."""

    def __init__(
        self,
        pred: int | None = None,
        conf: float | None = None,
        box: Any = None,
        target: Prediction | None = None,
        target_confidence: float | None = None,
    ) -> None:
        self.classification, self.confidence, self.bounding_box = pred, conf, box
        self.target = None if target is None else target.classification
        self.target_confidence = target_confidence

    def __repr__(self) -> str:
        return "no prediction" if self.is_empty() else f"class {self.classification}, confidence {self.confidence:.5f}"

    def get_class(self) -> int | None:
        """The class."""
        return self.classification

    def is_empty(self) -> bool:
        """Whether nothing was predicted."""
        return self.classification is None or self.confidence is None

    def is_passing(self) -> bool:
        """Whether the class is the target."""
        return self.target == self.classification


def from_pytorch_tensor(tensor: Tensor, target: Prediction | None = None) -> list[Prediction]:
    """The likeliest class of each row of logits (N, C)."""
    probabilities = tensor.softmax(dim=1)
    best = probabilities.max(dim=1)
    wanted: Sequence[float | None] = [None] * len(tensor)
    if target is not None:
        wanted = probabilities[:, target.classification].tolist()
    pairs = zip(best.indices.tolist(), best.values.tolist(), wanted, strict=True)
    return [Prediction(label, confidence, None, target, other) for label, confidence, other in pairs]


class DefaultPrediction:
    """The prediction function of a model that returns logits (N, C)."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        self.model = model

    def __call__(self, mutants: Tensor, target: Prediction | None = None, raw: bool = False) -> Any:
        with torch.no_grad():
            logits = self.model(mutants)
            return logits.softmax(dim=1) if raw else from_pytorch_tensor(logits, target)


class Data:
    """An input as rex-xai holds it: `input` as it was given, `data` (1, …) as the model reads it.

    mode: RGB for images (1, C, H, W) or (1, H, W, C), spectral or tabular for spectra (1, 1, T) or (1, T), voxel for
    volumes (1, H, W, D). model_shape: of a batch, of which the first entry may be "N". Raises ValueError for a shape
    that does not fit the mode.
    """

    def __init__(
        self,
        input: Any,
        model_shape: Sequence[Any],
        device: Any = "cpu",
        mode: str | None = None,
        process: bool = False,
    ) -> None:
        self.input, self.device, self.mode = input, device, _guessed(input) if mode is None else mode
        one_of("mode", self.mode, MODES)
        self.model_shape = list(model_shape)
        self.model_height, self.model_width, self.model_depth, self.model_channels, self.model_order = _sizes(
            self.mode, self.model_shape
        )
        self.data: Any = None
        self.target: Any = None
        self.mask_value: Any = None
        self.background: Any = None
        self.context: Any = None
        self.context_noise = 0.4
        self.transposed = self.mode == "RGB" and self.model_order == "first"
        self.setup: Any = None
        if process and self.mode != "RGB":
            self.data = self.generic_tab_preprocess()

    def __repr__(self) -> str:
        return f"Data({self.mode}, {self.model_shape}, target: {self.target})"

    def set_height(self, h: int) -> None:
        """The height of the model's inputs."""
        self.model_height = h

    def set_width(self, w: int) -> None:
        """The width of the model's inputs."""
        self.model_width = w

    def set_channels(self, c: int | None = None) -> None:
        """How many channels the model reads."""
        self.model_channels = c

    def set_mask_value(self, m: Any, device: Any = None) -> None:
        """What stands where nothing is kept: a number, min, mean, spectral, or context, which is `context` blurred.

        Raises ValueError for another name.
        """
        self.mask_value = BY_NAME["mask_value"].parse("mask_value", m)

    def generic_tab_preprocess(self) -> Tensor:
        """The input as float32 with the leading axes of the model's."""
        found = arrays.whole("input", self.input).to(self.device, torch.float32)
        return found.reshape(*(1,) * (len(self.model_shape) - found.ndim), *found.shape)

    def generic_image_preprocess(
        self, means: Any = None, stds: Any = None, astype: str = "float32", norm: float | None = 255.0
    ) -> None:
        """A picture scaled to the model's height and width, (pixel / norm - mean) / std of each channel."""
        picture = self.input.resize((self.model_width, self.model_height))
        pixels = np.atleast_3d(np.array(picture).astype(astype))
        for name, numbers in (("means", means), ("stds", stds)):
            if numbers is not None and len(numbers) != pixels.shape[2]:
                raise ValueError(f"{name} must hold {pixels.shape[2]} numbers, one a channel, got {numbers}")
        pixels = pixels if norm is None else pixels / norm
        pixels = pixels if means is None else pixels - np.array(means, pixels.dtype)
        pixels = pixels if stds is None else pixels / np.array(stds, pixels.dtype)
        axes = (2, 0, 1) if self.model_order == "first" else (0, 1, 2)
        self.data = torch.from_numpy(pixels.transpose(axes).copy())[None].to(self.device)

    # -- as ours -------------------------------------------------------------------------------------------------------

    def ours(self, rows: Tensor) -> Tensor:
        """Rows as the model reads them, as our (N, C, H, W), (N, 1, T) or (N, 1, Z, H, W), whose Z is their depth."""
        if self.mode == "voxel":
            return rows.permute(0, 3, 1, 2)[:, None]
        if self.mode == "RGB":
            return rows if self.model_order == "first" else rows.permute(0, 3, 1, 2)
        return rows.reshape(len(rows), 1, -1)

    def theirs(self, rows: Tensor) -> Tensor:
        """The inverse of `ours`."""
        if self.mode == "voxel":
            return rows[:, 0].permute(0, 2, 3, 1)
        if self.mode == "RGB":
            return rows if self.model_order == "first" else rows.permute(0, 2, 3, 1)
        return rows.reshape(len(rows), *self.data.shape[1:])

    def map_of_theirs(self, map_: Any) -> Any:
        """A map (Z, H, W) of the search as theirs: (H, W), (1, T) or (H, W, D)."""
        return map_.transpose(1, 2, 0) if self.mode == "voxel" else map_[0]

    def map_of_ours(self, map_: Tensor) -> Tensor:
        """The inverse: a map over our grid, (H, W), (T,) or (Z, H, W)."""
        if self.mode == "voxel":
            return map_.permute(2, 0, 1).contiguous()
        return map_ if self.mode == "RGB" else map_[0]

    def picture(self) -> Tensor:
        """What pictures show of the input: its pixels, 0 to 1, where it is an image file's; else `x`."""
        x = self.x()
        if self.mode != "RGB" or not hasattr(self.input, "resize") or not hasattr(self.input, "mode"):
            return x
        pixels = np.array(self.input.convert("RGB").resize((x.shape[3], x.shape[2])), dtype=np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1)[None]

    def x(self) -> Tensor:
        """The input of `rambit.rex.ReX`. Raises ValueError where there is none, or one of another shape."""
        if self.data is None:
            raise ValueError("data must be set to the transformed input, (1, …) as the model reads it")
        x = arrays.whole("data", self.data)
        axes = {"RGB": (4,), "voxel": (4,)}.get(str(self.mode), (2, 3))
        if x.ndim not in axes or len(x) != 1:
            raise ValueError(f"data must be one input of mode {self.mode}, (1, …), got {tuple(x.shape)}")
        return self.ours(x)

    def replacement(self, value: Any) -> Any:
        """The `mask_value` of `rambit.rex.ReX`. Raises ValueError for a context that is not there."""
        value = value if self.mask_value is None else self.mask_value
        if not isinstance(value, str) or value != "context":
            return value
        if self.context is None:
            raise ValueError("mask_value 'context' needs data.context, an input like data")
        from scipy.ndimage import gaussian_filter

        context = arrays.whole("context", self.context)
        if self.context_noise > 0:
            context = torch.from_numpy(gaussian_filter(context.cpu().numpy(), sigma=self.context_noise))
        return self.ours(context.reshape(self.data.shape))

    def predictor(self, prediction_function: Any) -> Predictor:
        """The model behind a prediction function. Raises TypeError for one that gives no probabilities."""
        if isinstance(prediction_function, DefaultPrediction):
            model = prediction_function.model
            if self.mode == "RGB" and self.model_order == "first" and isinstance(model, nn.Module):
                return Predictor.of(model, output="logits")  # as it is, so that what we know of modules holds
            return Predictor.of(lambda rows: model(self.theirs(rows)), output="logits")
        if "raw" not in inspect.signature(prediction_function).parameters:
            raise TypeError("prediction_function must take raw=True, with which it returns probabilities (N, classes)")

        def probabilities(rows: Tensor) -> Tensor:
            found = prediction_function(self.theirs(rows), raw=True)
            if not isinstance(found, Tensor):
                raise TypeError(
                    "prediction_function must return a tensor of probabilities (N, classes) with raw=True, got "
                    f"{type(found).__name__}"
                )
            return found

        return Predictor.of(probabilities, output="probs")


def _guessed(input: Any) -> str:
    """The mode of an input that does not say it."""
    if hasattr(input, "mode"):
        return str(input.mode)
    return "voxel" if len(getattr(input, "shape", ())) == 4 else "spectral"


def _sizes(mode: str, shape: list[Any]) -> tuple[Any, Any, Any, Any, str | None]:
    """Height, width, depth, channels and their place ("first", "last") in a batch of this shape."""
    if mode == "RGB" and len(shape) == 4:
        first = shape[1] in (1, 3, 4)
        channels, height, width = shape[1:] if first else (shape[3], *shape[1:3])
        return height, width, None, channels, "first" if first else "last"
    if mode in ("spectral", "tabular") and len(shape) in (2, 3):
        return 1, shape[-1], None, 1, None
    if mode == "voxel" and len(shape) in (3, 4):
        height, width, depth = shape[-3:]
        return height, width, depth, 1, None
    raise ValueError(f"model_shape {shape} does not fit mode {mode!r}")


def get_device(gpu: bool) -> torch.device:
    """The GPU if there is one and it is wanted."""
    if gpu and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")


def load_and_preprocess_data(model_shape: Sequence[Any], device: Any, args: CausalArgs) -> Data:
    """The input at `args.path`: by `args.script.preprocess`, else an image, or an array of mode spectral or tabular.

    A script reads the context at `args.context_location` too, if there is one. Raises ValueError for a file of another
    kind, and for a context without a script; OSError, and ImportError for images without pillow.
    """
    if args.script is not None:
        data = _by_script(args, args.path, model_shape, device)
        if args.context_location is not None:
            data.context = _by_script(args, args.context_location, model_shape, device).data
        return data
    if args.context_location is not None:
        raise ValueError("context_location needs a script that reads it; without one, set data.context")
    suffix = Path(args.path).suffix.lower()
    if suffix in IMAGES:
        data = Data(open_image(args.path), model_shape, device, mode="RGB")
        data.generic_image_preprocess(means=args.means, stds=args.stds, norm=args.norm)
        return data
    if suffix == ".npy" and args.mode in ("spectral", "tabular"):
        return Data(np.load(args.path), model_shape, device, mode=args.mode, process=True)
    raise ValueError(f"{args.path} must be an image ({' '.join(IMAGES)}) or, of mode spectral or tabular, a .npy file")


def _by_script(args: CausalArgs, path: str, model_shape: Sequence[Any], device: Any) -> Data:
    """What a script's `preprocess(path, shape, device)` makes of a file; it may take the mode as well."""
    more = {"mode": args.mode} if "mode" in inspect.signature(args.script.preprocess).parameters else {}
    loaded: Data = args.script.preprocess(path, model_shape, device, **more)
    return loaded


def open_image(path: str | Path) -> Any:
    """An image file in three channels. Raises OSError, and ImportError without pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("image files need pillow: pip install 'rambit[images]'") from error
    with Image.open(path) as image:
        return image.convert("RGB")


def predict_target(data: Data, args: Any, prediction_func: Any = None) -> Prediction:
    """The prediction for the whole input, which is explained. `args` may be left out, as before 0.4."""
    found = (prediction_func or args)(data.data, None)
    found = found[0] if isinstance(found, list) else found
    if getattr(found, "classification", None) is None or found.confidence is None:
        raise ValueError(f"prediction_func must predict a class for data, got {found!r}")
    target: Prediction = found
    return target
