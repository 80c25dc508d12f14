// The elementwise part of a step of an LSTM.
#pragma once

#include "dtype.h"
#include "gates.h"

namespace rambit {

// Gates are the products with the weights; the biases, one for each column of gates, are added in the step.
struct LstmStepArgs {
  void* out;                 // (n, H): the hidden values
  void* cell_out;            // (n, H): the cell's
  const void* input_gates;   // (n, 4 H): input, forget, new, output
  const void* hidden_gates;  // (n, 4 H)
  const void* input_bias;    // (4 H,) contiguous
  const void* hidden_bias;   // (4 H,) contiguous
  const void* cell;          // (n, H)
  int64_t n, H;
  int64_t out_stride[2], cell_out_stride[2], input_stride[2], hidden_stride[2], cell_stride[2];
  Dtype dtype;
};

// The cell's new value from its old one and the sums of three gates.
template <typename T>
inline T lstm_cell(T input, T forget, T proposed, T before) {
  return sigmoid(forget) * before + sigmoid(input) * hyperbolic_tangent(proposed);
}

// The hidden value, from the sum of the output gate and the cell's new value.
template <typename T>
inline T lstm_value(T output, T cell) {
  return sigmoid(output) * hyperbolic_tangent(cell);
}

// One hidden unit j of row i, strides as they come.
template <typename T>
inline void lstm_unit(const LstmStepArgs& a, int64_t i, int64_t j) {
  const T* x = static_cast<const T*>(a.input_gates) + i * a.input_stride[0] + j * a.input_stride[1];
  const T* h = static_cast<const T*>(a.hidden_gates) + i * a.hidden_stride[0] + j * a.hidden_stride[1];
  const T* input_bias = static_cast<const T*>(a.input_bias) + j;
  const T* hidden_bias = static_cast<const T*>(a.hidden_bias) + j;
  const int64_t dx = a.H * a.input_stride[1], dh = a.H * a.hidden_stride[1];
  T sums[4];
  for (int64_t k = 0; k < 4; ++k) sums[k] = (x[k * dx] + input_bias[k * a.H]) + (h[k * dh] + hidden_bias[k * a.H]);
  const T before = static_cast<const T*>(a.cell)[i * a.cell_stride[0] + j * a.cell_stride[1]];
  const T after = lstm_cell(sums[0], sums[1], sums[2], before);
  static_cast<T*>(a.cell_out)[i * a.cell_out_stride[0] + j * a.cell_out_stride[1]] = after;
  static_cast<T*>(a.out)[i * a.out_stride[0] + j * a.out_stride[1]] = lstm_value(sums[3], after);
}

}  // namespace rambit
