#include "launch.h"

namespace rambit::cuda {
namespace {

template <typename T>
void distances(const DistanceArgs& a, void* stream) {
  each(a.n * a.K, stream,
       [a] __device__(int64_t flat) { a.out[flat] = distance_element<T>(a, flat / a.K, flat % a.K); });
}

}  // namespace

void distance(const DistanceArgs& a, void* stream) {
  a.dtype == Dtype::kFloat ? distances<float>(a, stream) : distances<double>(a, stream);
}

}  // namespace rambit::cuda
