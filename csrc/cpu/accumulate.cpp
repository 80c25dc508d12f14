#include <stdexcept>

#include "../backend.h"
#include "parallel.h"

namespace rambit::cpu {

// Each (series, slot) adds in one fixed order, whatever the number of threads.
void accumulate(const AccumulateArgs& a, void*) {
  for (int64_t m = 0; a.target_cell != nullptr && m < a.M; ++m)
    if (a.target_cell[m] < 0 || a.target_cell[m] >= a.cells)
      throw std::out_of_range("rambit: accumulate: target_cell is no cell");
  parallel_for(a.B * a.slots, grain_for(a.M * a.S), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) accumulate_slot(a, i / a.slots, i % a.slots);
  });
}

}  // namespace rambit::cpu
