// Stands in for libtorch_cuda where torch was built without CUDA, while _ops_cuda is linked; it is not installed. What is
// linked against it finds the real library at run time: rambit/ops.py loads it only when torch has CUDA.
#include <cstdint>

extern "C" int32_t aoti_torch_get_current_cuda_stream(int32_t, void**) { return 1; }
