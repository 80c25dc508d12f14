// The schemas of torch.ops.rambit, and their CPU kernels. Every op writes into buffers that the caller owns.
#include "glue/all.h"

namespace rambit {
namespace {

struct Cpu {
  static int guard(const Tensor&) { return 0; }
  static void* stream(const Tensor&) { return nullptr; }
#define RAMBIT_KERNEL(name, Args) static constexpr auto name = cpu::name;
  RAMBIT_OPS(RAMBIT_KERNEL)
  RAMBIT_CPU_OPS(RAMBIT_KERNEL)
#undef RAMBIT_KERNEL
};

}  // namespace

STABLE_TORCH_LIBRARY(rambit, m) {
  m.def("sample_masks(Tensor(a!) out, Tensor index, Tensor? target_cells, int family, int wt_min, int wt_max, int wd_min, "
        "int wd_max, float p, int seed) -> ()");
  m.def("shift_windows(Tensor(a!) out, Tensor masks, Tensor room) -> ()");
  m.def("draw(Tensor(a!) out, Tensor? background, Tensor ids, int kind, float low, float high, int first_draw, "
        "int seed) -> ()");
  m.def("masked_batch(Tensor(a!) out, Tensor x, Tensor draws, Tensor masks, Tensor rows, Tensor? observed, "
        "int fill, Tensor? windows=None) -> ()");
  m.def("boxed_batch(Tensor(a!) out, Tensor inside, Tensor outside, Tensor boxes, Tensor offsets, "
        "Tensor? stale_boxes=None, Tensor? stale_offsets=None) -> ()");
  m.def("gather_windows(Tensor(a!) out, Tensor places, Tensor which, Tensor start, Tensor? window, Tensor? window_start, "
        "float outside) -> ()");
  m.def("put_windows(Tensor(a!) out, Tensor window, Tensor start) -> ()");
  m.def("distance(Tensor(a!) out, Tensor outputs, Tensor reference, Tensor series, Tensor target, int metric) -> ()");
  m.def("score(Tensor(a!) contributions, Tensor outputs, Tensor reference, Tensor base, Tensor masks, Tensor rows, "
        "Tensor target, int width, int metric, int reduce) -> ()");
  m.def("accumulate(Tensor(a!) sum, Tensor(b!) squares, Tensor contributions, Tensor unit, Tensor weight, "
        "Tensor unit_weight, Tensor count, Tensor? target_cell) -> ()");
  m.def("gru_step(Tensor(a!) out, Tensor input_gates, Tensor hidden_gates, Tensor input_bias, Tensor hidden_bias, "
        "Tensor state) -> ()");
  m.def("lstm_step(Tensor(a!) out, Tensor(b!) cell_out, Tensor input_gates, Tensor hidden_gates, Tensor input_bias, "
        "Tensor hidden_bias, Tensor cell) -> ()");
  m.def("rnn_step(Tensor(a!) out, Tensor input_sums, Tensor hidden_sums, Tensor input_bias, Tensor hidden_bias, "
        "int activation) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(rambit, CPU, m) {
  register_ops<Cpu>(m);
  register_cpu_ops<Cpu>(m);
}

}  // namespace rambit
