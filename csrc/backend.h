// What a backend offers: one function an op, raw arguments in. The CPU one ignores the stream.
#pragma once

#include "common/args.h"

namespace rambit {

#define RAMBIT_BACKEND_OPS(NAME)                                   \
  namespace NAME {                                                 \
  void sample_masks(const SampleMasksArgs& args, void* stream);    \
  void shift_windows(const ShiftWindowsArgs& args, void* stream);  \
  void draw(const DrawArgs& args, void* stream);                   \
  void masked_batch(const MaskedBatchArgs& args, void* stream);    \
  void boxed_batch(const BoxedBatchArgs& args, void* stream);      \
  void distance(const DistanceArgs& args, void* stream);           \
  void score(const ScoreArgs& args, void* stream);                 \
  void accumulate(const AccumulateArgs& args, void* stream);       \
  void gru_step(const GruStepArgs& args, void* stream);            \
  }

RAMBIT_BACKEND_OPS(cpu)
RAMBIT_BACKEND_OPS(cuda)

}  // namespace rambit
