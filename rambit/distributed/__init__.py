"""Many series: explained a piece at a time, on several devices or a cluster, and resumed after any kill."""

from rambit.distributed.attributions import Attributions
from rambit.distributed.cluster import attribute_on_ray
from rambit.distributed.data_file import DataFile
from rambit.distributed.run import attribute_many

__all__ = ["Attributions", "DataFile", "attribute_many", "attribute_on_ray"]
