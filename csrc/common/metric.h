// How far a masked answer is from the original one.
#pragma once

#include <cmath>

#include "portable.h"

namespace rambit {

enum class Metric : int32_t { kPd = 0, kKl = 1, kJs = 2, kDiff = 3, kL2 = 4 };  // `abs` is pd on regression values
enum class Reduce : int32_t { kMean = 0, kMax = 1 };

constexpr double kTinyProbability = 1e-12;

RAMBIT_HD double clamped(double p) { return p < kTinyProbability ? kTinyProbability : p; }

// `p` is the original answer, `q` the masked one; C values each, `step` apart. NaN passes through.
template <typename T>
RAMBIT_HD double distance(Metric metric, const T* p, int64_t p_step, const T* q, int64_t q_step, int64_t C,
                          int64_t target) {
  if (metric == Metric::kDiff) return static_cast<double>(p[target * p_step]) - static_cast<double>(q[target * q_step]);
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

}  // namespace rambit
