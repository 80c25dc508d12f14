// What a backend has: one function an op, raw arguments in. The CPU one ignores the stream.
#pragma once

#include "common/accumulate.h"
#include "common/boxed_batch.h"
#include "common/distance.h"
#include "common/draw.h"
#include "common/gather_windows.h"
#include "common/gru_step.h"
#include "common/lstm_step.h"
#include "common/masked_batch.h"
#include "common/put_windows.h"
#include "common/rnn_step.h"
#include "common/sample_masks.h"
#include "common/score.h"
#include "common/shift_windows.h"

// The lists of ops: EACH(name, type of its arguments). What every backend has:
#define RAMBIT_OPS(EACH)                  \
  EACH(sample_masks, SampleMasksArgs)     \
  EACH(shift_windows, ShiftWindowsArgs)   \
  EACH(draw, DrawArgs)                    \
  EACH(masked_batch, MaskedBatchArgs)     \
  EACH(boxed_batch, BoxedBatchArgs)       \
  EACH(gather_windows, GatherWindowsArgs) \
  EACH(put_windows, PutWindowsArgs)       \
  EACH(distance, DistanceArgs)            \
  EACH(score, ScoreArgs)                  \
  EACH(accumulate, AccumulateArgs)
// What the CPU has beside them: on other devices torch's own recurrent layers are called.
#define RAMBIT_CPU_OPS(EACH)    \
  EACH(gru_step, GruStepArgs)   \
  EACH(lstm_step, LstmStepArgs) \
  EACH(rnn_step, RnnStepArgs)

namespace rambit {

#define RAMBIT_DECLARE(name, Args) void name(const Args& args, void* stream);
namespace cpu {
RAMBIT_OPS(RAMBIT_DECLARE)
RAMBIT_CPU_OPS(RAMBIT_DECLARE)
}
namespace cuda {
RAMBIT_OPS(RAMBIT_DECLARE)
}
#undef RAMBIT_DECLARE

}  // namespace rambit
