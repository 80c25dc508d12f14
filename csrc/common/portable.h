// What host and device code need to share one source.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define RAMBIT_HD __host__ __device__ __forceinline__
#else
#define RAMBIT_HD inline
#endif
