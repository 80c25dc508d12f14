#include "launch.h"

namespace rambit::cuda {

void accumulate(const AccumulateArgs& a, void* stream) {
  each(a.B * a.slots, stream, [a] __device__(int64_t i) { accumulate_slot(a, i / a.slots, i % a.slots); });
}

}  // namespace rambit::cuda
