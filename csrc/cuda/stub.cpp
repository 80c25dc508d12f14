// Stands in for libtorch_cuda where torch was built without CUDA, so that the CUDA code is still compiled and linked
// in full there. The library made with it is never loaded: rambit/ops.py loads it only when torch has CUDA.
#include <cstdint>

extern "C" int32_t aoti_torch_get_current_cuda_stream(int32_t, void**) { return 1; }
