// Threads without torch headers: the kernels see this declaration alone; parallel.cpp hands it to torch.
#pragma once

#include <cstdint>

namespace rambit::cpu {

using RangeBody = void (*)(void* context, int64_t begin, int64_t end);

// Calls body on disjoint ranges that cover 0 … n-1, at least `grain` long. The body must not throw.
void run_parallel(int64_t n, int64_t grain, RangeBody body, void* context);

template <typename F>
void parallel_for(int64_t n, int64_t grain, F f) {
  run_parallel(n, grain, [](void* c, int64_t begin, int64_t end) { (*static_cast<F*>(c))(begin, end); }, &f);
}

// Elements per task below which a second thread costs more than it brings.
constexpr int64_t kGrain = 16384;
constexpr int64_t kGateWork = 8;  // what the exponentials of one hidden unit cost, in elements
inline int64_t grain_for(int64_t work_per_item) { return kGrain / (work_per_item > 0 ? work_per_item : 1) + 1; }

}  // namespace rambit::cpu
