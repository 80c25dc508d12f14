// The elementwise part of a step of a plain recurrent network.
#pragma once

#include "dtype.h"
#include "gates.h"

namespace rambit {

enum class Activation : int32_t { kTanh = 0, kRelu = 1, kLast = kRelu };

// Sums are the products with the weights; the biases, one for each hidden unit, are added in the step.
struct RnnStepArgs {
  void* out;                // (n, H)
  const void* input_sums;   // (n, H)
  const void* hidden_sums;  // (n, H)
  const void* input_bias;   // (H,) contiguous
  const void* hidden_bias;  // (H,) contiguous
  int64_t n, H;
  int64_t out_stride[2], input_stride[2], hidden_stride[2];
  Dtype dtype;
  Activation activation;
};

// NaN passes through both.
template <typename T>
inline T rnn_value(T sum, Activation activation) {
  return activation == Activation::kTanh ? hyperbolic_tangent(sum) : sum < T{0} ? T{0} : sum;
}

// One hidden unit j of row i, strides as they come.
template <typename T>
inline void rnn_unit(const RnnStepArgs& a, int64_t i, int64_t j) {
  const T x = static_cast<const T*>(a.input_sums)[i * a.input_stride[0] + j * a.input_stride[1]];
  const T h = static_cast<const T*>(a.hidden_sums)[i * a.hidden_stride[0] + j * a.hidden_stride[1]];
  const T sum = (x + static_cast<const T*>(a.input_bias)[j]) + (h + static_cast<const T*>(a.hidden_bias)[j]);
  static_cast<T*>(a.out)[i * a.out_stride[0] + j * a.out_stride[1]] = rnn_value(sum, a.activation);
}

}  // namespace rambit
