// The schemas of torch.ops.rambit, and their CPU kernels. Every op writes into buffers that the caller owns.
#include "glue.h"

namespace rambit {
namespace {

struct Cpu {
  static int guard(const Tensor&) { return 0; }
  static void* stream(const Tensor&) { return nullptr; }
  static constexpr auto sample_masks = cpu::sample_masks;
  static constexpr auto shift_windows = cpu::shift_windows;
  static constexpr auto draw = cpu::draw;
  static constexpr auto masked_batch = cpu::masked_batch;
  static constexpr auto boxed_batch = cpu::boxed_batch;
  static constexpr auto distance = cpu::distance;
  static constexpr auto score = cpu::score;
  static constexpr auto accumulate = cpu::accumulate;
  static constexpr auto gru_step = cpu::gru_step;
};

}  // namespace

STABLE_TORCH_LIBRARY(rambit, m) {
  m.def("sample_masks(Tensor(a!) out, Tensor index, Tensor? owners, int family, int wt_min, int wt_max, int wd_min, "
        "int wd_max, float p, int seed) -> ()");
  m.def("shift_windows(Tensor(a!) out, Tensor masks, Tensor room) -> ()");
  m.def("draw(Tensor(a!) out, Tensor? background, Tensor ids, int kind, float low, float high, int first_draw, "
        "int seed) -> ()");
  m.def("masked_batch(Tensor(a!) out, Tensor x, Tensor draws, Tensor masks, Tensor rows, Tensor? observed, "
        "int fill, Tensor? windows=None) -> ()");
  m.def("boxed_batch(Tensor(a!) out, Tensor inside, Tensor outside, Tensor boxes, Tensor offsets, "
        "Tensor? stale_boxes=None, Tensor? stale_offsets=None) -> ()");
  m.def("distance(Tensor(a!) out, Tensor outputs, Tensor reference, Tensor series, Tensor target, int metric) -> ()");
  m.def("score(Tensor(a!) contributions, Tensor outputs, Tensor reference, Tensor base, Tensor masks, Tensor rows, "
        "Tensor target, int width, int metric, int reduce) -> ()");
  m.def("accumulate(Tensor(a!) sum, Tensor(b!) squares, Tensor contributions, Tensor unit, Tensor weight, "
        "Tensor unit_weight, Tensor count, Tensor? own_cell) -> ()");
  m.def("gru_step(Tensor(a!) out, Tensor input_gates, Tensor hidden_gates, Tensor input_bias, Tensor hidden_bias, "
        "Tensor state) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(rambit, CPU, m) { Glue<Cpu>::register_all(m); }

}  // namespace rambit
