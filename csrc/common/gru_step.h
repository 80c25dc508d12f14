// The elementwise part of a step of a GRU.
#pragma once

#include "dtype.h"
#include "gates.h"

namespace rambit {

// Gates are the products with the weights; the biases, one for each column of gates, are added in the step.
struct GruStepArgs {
  void* out;                 // (n, H)
  const void* input_gates;   // (n, 3 H): reset, update, new
  const void* hidden_gates;  // (n, 3 H)
  const void* input_bias;    // (3 H,) contiguous
  const void* hidden_bias;   // (3 H,) contiguous
  const void* state;         // (n, H)
  int64_t n, H;
  int64_t out_stride[2], input_stride[2], hidden_stride[2], state_stride[2];
  Dtype dtype;
};

// The new hidden value from the old one and the sums of each gate, from the input and from the hidden values.
template <typename T>
T gru_value(T input_reset, T input_update, T input_new, T hidden_reset, T hidden_update, T hidden_new,
            T before) {
  const T reset = sigmoid(input_reset + hidden_reset), update = sigmoid(input_update + hidden_update);
  const T proposed = hyperbolic_tangent(input_new + reset * hidden_new);
  return proposed + update * (before - proposed);
}

// One hidden unit j of row i, strides as they come.
template <typename T>
inline void gru_unit(const GruStepArgs& a, int64_t i, int64_t j) {
  const T* x = static_cast<const T*>(a.input_gates) + i * a.input_stride[0] + j * a.input_stride[1];
  const T* h = static_cast<const T*>(a.hidden_gates) + i * a.hidden_stride[0] + j * a.hidden_stride[1];
  const T* input_bias = static_cast<const T*>(a.input_bias) + j;
  const T* hidden_bias = static_cast<const T*>(a.hidden_bias) + j;
  const int64_t dx = a.H * a.input_stride[1], dh = a.H * a.hidden_stride[1];
  static_cast<T*>(a.out)[i * a.out_stride[0] + j * a.out_stride[1]] =
      gru_value(x[0] + input_bias[0], x[dx] + input_bias[a.H], x[2 * dx] + input_bias[2 * a.H], h[0] + hidden_bias[0],
                h[dh] + hidden_bias[a.H], h[2 * dh] + hidden_bias[2 * a.H],
                static_cast<const T*>(a.state)[i * a.state_stride[0] + j * a.state_stride[1]]);
}

}  // namespace rambit
