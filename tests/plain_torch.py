"""The ops as a device without native ones has them."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from rambit import fallback, ops

#: By name, as in ``torch.ops.rambit``; the recurrent steps are the CPU's, which are called for its tensors alone.
PLAIN_TORCH = SimpleNamespace(**{name: getattr(torch.ops.rambit, name) for name in ops._CPU_OPS}, **fallback.OPS)
