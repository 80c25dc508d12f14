#include "launch.h"

namespace rambit::cuda {
namespace {

template <typename T>
void steps(const GruStepArgs& a, void* stream) {
  each(a.n * a.H, stream, [a] __device__(int64_t flat) { gru_unit<T>(a, flat / a.H, flat % a.H); });
}

}  // namespace

void gru_step(const GruStepArgs& a, void* stream) {
  a.dtype == Dtype::kFloat ? steps<float>(a, stream) : steps<double>(a, stream);
}

}  // namespace rambit::cuda
