// How far the outputs of a row are from the original ones.
#pragma once

#include <cmath>

#include "dtype.h"
#include "portable.h"

namespace rambit {

// kDiff and kChange are the signed and the absolute change of one output, the target; kPd sums the latter over all.
enum class Metric : int32_t { kPd = 0, kKl = 1, kJs = 2, kDiff = 3, kL2 = 4, kChange = 5, kLast = kChange };

struct DistanceArgs {
  double* out;             // (n, K)
  const void* outputs;     // (n, C, K)
  const void* reference;   // (B, C, K)
  const int32_t* series;   // (n,)
  const int64_t* target;   // (B,)
  int64_t n, C, K, B;
  int64_t outputs_stride[3], reference_stride[3];
  Dtype dtype;
  Metric metric;
};

// Whether it compares one output, the target, alone.
RAMBIT_HD bool reads_target(Metric metric) { return metric == Metric::kDiff || metric == Metric::kChange; }

constexpr double kTinyProbability = 1e-12;

RAMBIT_HD double clamped(double p) { return p < kTinyProbability ? kTinyProbability : p; }

// `p` is the original output, `q` the masked one; C values each, `step` apart. NaN passes through.
template <typename T>
RAMBIT_HD double distance(Metric metric, const T* p, int64_t p_step, const T* q, int64_t q_step, int64_t C,
                          int64_t target) {
  if (reads_target(metric)) {
    const double change = static_cast<double>(p[target * p_step]) - static_cast<double>(q[target * q_step]);
    return metric == Metric::kDiff ? change : fabs(change);
  }
  double sum = 0.0;
  for (int64_t c = 0; c < C; ++c) {
    const double a = static_cast<double>(p[c * p_step]), b = static_cast<double>(q[c * q_step]);
    switch (metric) {
      case Metric::kPd: sum += fabs(a - b); break;
      case Metric::kL2: sum += (a - b) * (a - b); break;
      case Metric::kKl: sum += clamped(a) * log(clamped(a) / clamped(b)); break;
      case Metric::kJs: {
        const double m = 0.5 * (clamped(a) + clamped(b));
        sum += 0.5 * (clamped(a) * log(clamped(a) / m) + clamped(b) * log(clamped(b) / m));
        break;
      }
      default: break;
    }
  }
  return metric == Metric::kL2 ? sqrt(sum) : sum;
}

// Row i at time k.
template <typename T>
RAMBIT_HD double distance_element(const DistanceArgs& a, int64_t i, int64_t k) {
  const int64_t b = a.series[i];
  const T* p = static_cast<const T*>(a.reference) + b * a.reference_stride[0] + k * a.reference_stride[2];
  const T* q = static_cast<const T*>(a.outputs) + i * a.outputs_stride[0] + k * a.outputs_stride[2];
  return distance(a.metric, p, a.reference_stride[1], q, a.outputs_stride[1], a.C, a.target[b]);
}

}  // namespace rambit
