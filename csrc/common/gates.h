// The functions of a recurrent step's gates. In float32, exponentials are polynomials in plain arithmetic: a loop over
// them vectorises, and every machine gives the same bits. In float64, where accuracy counts, they are the library's.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace rambit {

// e^x = scale * (1 + m): the power of two next to e^x, and what is left, |ln(1 + m)| <= ln(2) / 2.
struct Exponential {
  float scale, m;
};

// For |x| <= 87; NaN stays NaN. m is (e^r - 1) to 1 part in 7e7: a minimax polynomial, fitted by ourselves.
inline Exponential exponential(float x) {
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
inline float sigmoid(float x) {
  const float low = x < -80.0f ? -80.0f : x, y = low > 80.0f ? 80.0f : low;
  const Exponential e = exponential(-y);
  return 1.0f / (1.0f + (e.scale + e.scale * e.m));
}

inline float hyperbolic_tangent(float x) {
  const float doubled = -2.0f * fabsf(x);
  const Exponential e = exponential(doubled < -40.0f ? -40.0f : doubled);
  const float m = (e.scale - 1.0f) + e.scale * e.m;  // e^(-2 |x|) - 1, which keeps the digits of a small x
  return copysignf(m / (2.0f + m), x);
}

inline double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
inline double hyperbolic_tangent(double x) { return tanh(x); }

}  // namespace rambit
