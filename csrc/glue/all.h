// The glue of each op, registered under its name.
#pragma once

#include "../backend.h"
#include "accumulate.h"
#include "boxed_batch.h"
#include "distance.h"
#include "draw.h"
#include "gather_windows.h"
#include "gru_step.h"
#include "lstm_step.h"
#include "masked_batch.h"
#include "put_windows.h"
#include "rnn_step.h"
#include "sample_masks.h"
#include "score.h"
#include "shift_windows.h"

namespace rambit {

#define RAMBIT_REGISTER(name, Args) m.impl(#name, TORCH_BOX(&glue::name<Backend>));
template <typename Backend>
void register_ops(torch::stable::detail::StableLibrary& m) {
  RAMBIT_OPS(RAMBIT_REGISTER)
}

template <typename Backend>
void register_cpu_ops(torch::stable::detail::StableLibrary& m) {
  RAMBIT_CPU_OPS(RAMBIT_REGISTER)
}
#undef RAMBIT_REGISTER

}  // namespace rambit
