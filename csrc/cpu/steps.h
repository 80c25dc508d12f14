// Steps of K values each, copied or filled: as one run of memory where they are one, as a run a step, or value by value.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace rambit::cpu {

// From one step to the next, and from one value of a step to the next.
struct StepStrides {
  int64_t step, value;

  bool runs(int64_t K) const { return value == 1 || K == 1; }
  bool one_run(int64_t K) const { return runs(K) && step == K; }
};

template <typename Bits>
void copy_steps(Bits* to, StepStrides out, const Bits* from, StepStrides in, int64_t steps, int64_t K) {
  if (steps <= 0) return;
  if (out.one_run(K) && in.one_run(K)) {
    std::memcpy(to, from, static_cast<size_t>(steps * K) * sizeof(Bits));
  } else if (out.runs(K) && in.runs(K)) {
    for (int64_t s = 0; s < steps; ++s)
      std::memcpy(to + s * out.step, from + s * in.step, static_cast<size_t>(K) * sizeof(Bits));
  } else {
    for (int64_t s = 0; s < steps; ++s)
      for (int64_t k = 0; k < K; ++k) to[s * out.step + k * out.value] = from[s * in.step + k * in.value];
  }
}

template <typename Bits>
void fill_steps(Bits* to, StepStrides out, Bits value, int64_t steps, int64_t K) {
  if (steps <= 0) return;
  if (out.one_run(K)) {
    std::fill_n(to, steps * K, value);
  } else {
    for (int64_t s = 0; s < steps; ++s)
      for (int64_t k = 0; k < K; ++k) to[s * out.step + k * out.value] = value;
  }
}

}  // namespace rambit::cpu
