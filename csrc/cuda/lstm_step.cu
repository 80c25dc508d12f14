#include "launch.h"

namespace rambit::cuda {
namespace {

template <typename T>
void steps(const LstmStepArgs& a, void* stream) {
  each(a.n * a.H, stream, [a] __device__(int64_t flat) { lstm_unit<T>(a, flat / a.H, flat % a.H); });
}

}  // namespace

void lstm_step(const LstmStepArgs& a, void* stream) {
  a.dtype == Dtype::kFloat ? steps<float>(a, stream) : steps<double>(a, stream);
}

}  // namespace rambit::cuda
