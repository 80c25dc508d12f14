// The CUDA kernels of torch.ops.rambit: the same glue as the CPU ones, with a device guard and the current stream.
#include "../glue/all.h"

namespace rambit {
namespace {

struct Cuda {
  static torch::stable::accelerator::DeviceGuard guard(const Tensor& t) {
    return torch::stable::accelerator::DeviceGuard(t.get_device_index());
  }
  static void* stream(const Tensor& t) {
    void* stream = nullptr;
    check_call(aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream));
    return stream;
  }
#define RAMBIT_KERNEL(name, Args) static constexpr auto name = cuda::name;
  RAMBIT_OPS(RAMBIT_KERNEL)
#undef RAMBIT_KERNEL
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(rambit, CUDA, m) { register_ops<Cuda>(m); }

}  // namespace rambit
