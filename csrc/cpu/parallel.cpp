#include "parallel.h"

#include "../stable.h"

namespace rambit::cpu {

void run_parallel(int64_t n, int64_t grain, RangeBody body, void* context) {
  torch::stable::parallel_for(0, n, grain, [&](int64_t begin, int64_t end) { body(context, begin, end); });
}

}  // namespace rambit::cpu
