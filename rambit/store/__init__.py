"""The one place that writes result files: atomic writes, a folder of safetensors shards, and resume keys."""

from rambit.store.atomic_files import (
    StoreError,
    atomic_write,
    decode,
    encode,
    load_record,
    load_tensors,
    make_folder,
    open_file,
    read_file,
    read_header,
)
from rambit.store.folder import Store, json_dict
from rambit.store.keys import resume_key
from rambit.store.lock import Lock, is_lock
from rambit.store.modules import fill, load_module, save_module
from rambit.store.saved import load_result, save_result, save_text

__all__ = [
    "Lock",
    "Store",
    "StoreError",
    "atomic_write",
    "decode",
    "encode",
    "fill",
    "is_lock",
    "json_dict",
    "load_module",
    "load_record",
    "load_result",
    "load_tensors",
    "make_folder",
    "open_file",
    "read_file",
    "read_header",
    "resume_key",
    "save_module",
    "save_result",
    "save_text",
]
