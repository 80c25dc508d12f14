#include "../backend.h"
#include "parallel.h"
#include "wide.h"

namespace rambit::cpu {
namespace {

// One row whose elements lie side by side: a loop that vectorises.
RAMBIT_WIDE void rnn_row(float* __restrict out, const float* __restrict x, const float* __restrict h,
                         const float* __restrict input_bias, const float* __restrict hidden_bias, int64_t H,
                         Activation activation) {
  for (int64_t j = 0; j < H; ++j) out[j] = rnn_value((x[j] + input_bias[j]) + (h[j] + hidden_bias[j]), activation);
}

template <typename T>
void steps(const RnnStepArgs& a) {
  parallel_for(a.n, grain_for(a.H * kGateWork), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < a.H; ++j) rnn_unit<T>(a, i, j);
  });
}

void dense_steps(const RnnStepArgs& a) {
  parallel_for(a.n, grain_for(a.H * kGateWork), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      rnn_row(static_cast<float*>(a.out) + i * a.out_stride[0], static_cast<const float*>(a.input_sums) + i * a.input_stride[0],
              static_cast<const float*>(a.hidden_sums) + i * a.hidden_stride[0], static_cast<const float*>(a.input_bias),
              static_cast<const float*>(a.hidden_bias), a.H, a.activation);
  });
}

}  // namespace

void rnn_step(const RnnStepArgs& a, void*) {
  const bool dense = a.out_stride[1] == 1 && a.input_stride[1] == 1 && a.hidden_stride[1] == 1;
  if (a.dtype == Dtype::kDouble) {
    steps<double>(a);
  } else {
    dense ? dense_steps(a) : steps<float>(a);
  }
}

}  // namespace rambit::cpu
