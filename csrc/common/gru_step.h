// The elementwise part of a recurrent step. In float32, exponentials are polynomials in plain arithmetic: a loop over
// them vectorises, and every machine gives the same bits. In float64, where accuracy counts, they are the library's.
#pragma once

#include <cmath>
#include <cstring>

#include "dtype.h"
#include "portable.h"

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

// e^x = scale * (1 + m): the power of two next to e^x, and what is left, |ln(1 + m)| <= ln(2) / 2.
struct Exponential {
  float scale, m;
};

// For |x| <= 87; NaN stays NaN. m is (e^r - 1) to 1 part in 7e7: a minimax polynomial, fitted by ourselves.
RAMBIT_HD Exponential exponential(float x) {
  constexpr float kRound = 12582912.0f;               // 1.5 * 2^23: adding it rounds to an integer, in the low bits
  const float shifted = x * 0x1.715476p+0f + kRound;  // x / ln(2)
  const float n = shifted - kRound;
  const float r = (x - n * 0x1.62ep-1f) - n * 0x1.0bfbe8p-15f;  // x - n * ln(2), in two exact parts
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127u) << 23;
  Exponential e;
  std::memcpy(&e.scale, &bits, sizeof bits);
  const float s = r * r;
  const float q =
      ((0x1.fffffep-2f + r * 0x1.5554bp-3f) + s * (0x1.555674p-5f + r * 0x1.1227bp-7f)) + (s * s) * 0x1.6bec04p-10f;
  e.m = r + s * q;
  return e;
}

// Beyond 80 it moves no more: products with its smallest value must stay normal numbers.
RAMBIT_HD float sigmoid(float x) {
  const float low = x < -80.0f ? -80.0f : x, y = low > 80.0f ? 80.0f : low;
  const Exponential e = exponential(-y);
  return 1.0f / (1.0f + (e.scale + e.scale * e.m));
}

RAMBIT_HD float hyperbolic_tangent(float x) {
  const float doubled = -2.0f * fabsf(x);
  const Exponential e = exponential(doubled < -40.0f ? -40.0f : doubled);
  const float m = (e.scale - 1.0f) + e.scale * e.m;  // e^(-2 |x|) - 1, which keeps the digits of a small x
  return copysignf(m / (2.0f + m), x);
}

RAMBIT_HD double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
RAMBIT_HD double hyperbolic_tangent(double x) { return tanh(x); }

// The new hidden value from the old one and the sums of each gate, from the input and from the hidden values.
template <typename T>
RAMBIT_HD T gru_value(T input_reset, T input_update, T input_new, T hidden_reset, T hidden_update, T hidden_new,
                      T before) {
  const T reset = sigmoid(input_reset + hidden_reset), update = sigmoid(input_update + hidden_update);
  const T proposed = hyperbolic_tangent(input_new + reset * hidden_new);
  return proposed + update * (before - proposed);
}

// One hidden unit j of row i, strides as they come.
template <typename T>
RAMBIT_HD void gru_unit(const GruStepArgs& a, int64_t i, int64_t j) {
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
