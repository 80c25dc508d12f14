#include "launch.h"

namespace rambit::cuda {

void shift_windows(const ShiftWindowsArgs& a, void* stream) {
  const int64_t cells = a.D * a.T;
  each(a.L * a.W * cells, stream, [a, cells] __device__(int64_t i) {
    const int64_t moved = i / cells, cell = i % cells, shift = shift_of(a, moved);
    a.out[i] = cell % a.T < shift ? 1 : a.masks[moved / a.W * cells + cell - shift];
  });
}

}  // namespace rambit::cuda
