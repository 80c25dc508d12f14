#include "../backend.h"
#include "parallel.h"
#include "wide.h"

namespace rambit::cpu {
namespace {

// One row whose elements lie side by side: a loop that vectorises.
RAMBIT_WIDE void lstm_row(float* __restrict out, float* __restrict cell_out, const float* __restrict x,
                          const float* __restrict h, const float* __restrict input_bias,
                          const float* __restrict hidden_bias, const float* __restrict cell, int64_t H) {
  for (int64_t j = 0; j < H; ++j) {
    const float input = (x[j] + input_bias[j]) + (h[j] + hidden_bias[j]);
    const float forget = (x[H + j] + input_bias[H + j]) + (h[H + j] + hidden_bias[H + j]);
    const float proposed = (x[2 * H + j] + input_bias[2 * H + j]) + (h[2 * H + j] + hidden_bias[2 * H + j]);
    const float output = (x[3 * H + j] + input_bias[3 * H + j]) + (h[3 * H + j] + hidden_bias[3 * H + j]);
    const float after = lstm_cell(input, forget, proposed, cell[j]);
    cell_out[j] = after;
    out[j] = lstm_value(output, after);
  }
}

template <typename T>
void steps(const LstmStepArgs& a) {
  parallel_for(a.n, grain_for(a.H * kGateWork), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < a.H; ++j) lstm_unit<T>(a, i, j);
  });
}

template <typename T>
T* row_of(T* first, const int64_t* stride, int64_t i) {
  return first + i * stride[0];
}

void dense_steps(const LstmStepArgs& a) {
  parallel_for(a.n, grain_for(a.H * kGateWork), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      lstm_row(row_of(static_cast<float*>(a.out), a.out_stride, i), row_of(static_cast<float*>(a.cell_out), a.cell_out_stride, i),
               row_of(static_cast<const float*>(a.input_gates), a.input_stride, i),
               row_of(static_cast<const float*>(a.hidden_gates), a.hidden_stride, i), static_cast<const float*>(a.input_bias),
               static_cast<const float*>(a.hidden_bias), row_of(static_cast<const float*>(a.cell), a.cell_stride, i), a.H);
  });
}

}  // namespace

void lstm_step(const LstmStepArgs& a, void*) {
  const bool dense = a.out_stride[1] == 1 && a.cell_out_stride[1] == 1 && a.input_stride[1] == 1 &&
                     a.hidden_stride[1] == 1 && a.cell_stride[1] == 1;
  if (a.dtype == Dtype::kDouble) {
    steps<double>(a);
  } else {
    dense ? dense_steps(a) : steps<float>(a);
  }
}

}  // namespace rambit::cpu
