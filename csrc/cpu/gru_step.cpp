#include "../backend.h"
#include "parallel.h"
#include "wide.h"

namespace rambit::cpu {
namespace {

// One row whose elements lie side by side: a loop that vectorises.
RAMBIT_WIDE void gru_row(float* __restrict out, const float* __restrict x, const float* __restrict h,
                         const float* __restrict input_bias, const float* __restrict hidden_bias,
                         const float* __restrict state, int64_t H) {
  for (int64_t j = 0; j < H; ++j)
    out[j] = gru_value(x[j] + input_bias[j], x[H + j] + input_bias[H + j], x[2 * H + j] + input_bias[2 * H + j],
                       h[j] + hidden_bias[j], h[H + j] + hidden_bias[H + j], h[2 * H + j] + hidden_bias[2 * H + j], state[j]);
}

template <typename T>
void steps(const GruStepArgs& a) {
  parallel_for(a.n, grain_for(a.H * kGateWork), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < a.H; ++j) gru_unit<T>(a, i, j);
  });
}

void dense_steps(const GruStepArgs& a) {
  parallel_for(a.n, grain_for(a.H * kGateWork), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      gru_row(static_cast<float*>(a.out) + i * a.out_stride[0], static_cast<const float*>(a.input_gates) + i * a.input_stride[0],
              static_cast<const float*>(a.hidden_gates) + i * a.hidden_stride[0], static_cast<const float*>(a.input_bias),
              static_cast<const float*>(a.hidden_bias), static_cast<const float*>(a.state) + i * a.state_stride[0], a.H);
  });
}

}  // namespace

void gru_step(const GruStepArgs& a, void*) {
  const bool dense = a.out_stride[1] == 1 && a.input_stride[1] == 1 && a.hidden_stride[1] == 1 && a.state_stride[1] == 1;
  if (a.dtype == Dtype::kDouble) {
    steps<double>(a);
  } else {
    dense ? dense_steps(a) : steps<float>(a);
  }
}

}  // namespace rambit::cpu
