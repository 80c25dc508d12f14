// The CUDA kernels of torch.ops.rambit: the same glue as the CPU ones, with a device guard and the current stream.
#include "../glue.h"

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
  static constexpr auto sample_masks = cuda::sample_masks;
  static constexpr auto shift_windows = cuda::shift_windows;
  static constexpr auto draw = cuda::draw;
  static constexpr auto masked_batch = cuda::masked_batch;
  static constexpr auto boxed_batch = cuda::boxed_batch;
  static constexpr auto distance = cuda::distance;
  static constexpr auto score = cuda::score;
  static constexpr auto accumulate = cuda::accumulate;
  static constexpr auto gru_step = cuda::gru_step;
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(rambit, CUDA, m) { Glue<Cuda>::register_all(m); }

}  // namespace rambit
