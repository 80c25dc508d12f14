#include "launch.h"

namespace rambit::cuda {
namespace {

template <typename T>
void distances(const DistanceArgs& a, void* stream) {
  each(a.n * a.K, stream, [a] __device__(int64_t flat) {
    const int64_t i = flat / a.K, k = flat % a.K, b = a.series[i];
    a.out[flat] = distance(a.metric, static_cast<const T*>(a.reference) + b * a.reference_stride[0] + k * a.reference_stride[2],
                           a.reference_stride[1], static_cast<const T*>(a.outputs) + i * a.outputs_stride[0] + k * a.outputs_stride[2],
                           a.outputs_stride[1], a.C, a.target[b]);
  });
}

}  // namespace

void distance(const DistanceArgs& a, void* stream) {
  a.dtype == Dtype::kFloat ? distances<float>(a, stream) : distances<double>(a, stream);
}

}  // namespace rambit::cuda
