#include "launch.h"
#include "pack.h"

namespace rambit::cuda {
namespace {

struct Steps {  // from one line of a row to the next, and from one element of a line to the next
  int64_t line, element;
};

// How the threads share the work. Those of one line stand side by side and take its elements in turn, so that reads
// and writes coalesce wherever the line begins, and what belongs to the row is computed once for several elements.
struct Layout {
  int64_t lines, length;
  int log_threads;  // of one line
  bool features_last;
  Steps out, x, draws, mask, observed;

  // `together`: how many elements a thread takes at once.
  Layout(const MaskedBatchArgs& a, int64_t together) {
    const int64_t one_thread = together == 1 ? 8 : 2 * together;  // elements, in a line that is long enough
    const Axes axes = axes_of(a);
    const auto steps = [&](const int64_t* stride) { return Steps{stride[axes.outer], stride[axes.inner]}; };
    lines = axes.lines;
    length = axes.length;
    features_last = axes.outer == 2;
    for (log_threads = 0; (one_thread << log_threads) < length && (1 << log_threads) < kThreads;) ++log_threads;
    out = steps(a.out_stride);
    x = steps(a.x_stride);
    draws = steps(a.draws_stride + 1);
    mask = steps(a.masks_stride);
    observed = steps(a.observed_stride);
  }

  // Whether out can be written 16 bytes at a time, from operands whose lines have no gaps.
  template <typename Bits>
  bool packs(const MaskedBatchArgs& a) const {
    const bool dense = out.element == 1 && x.element == 1 && draws.element == 1 && mask.element == 1;
    const int64_t starts = a.out_stride[0] | (lines == 1 ? 0 : out.line) | length;
    return dense && a.observed == nullptr && aligned(address(a.out) | starts * sizeof(Bits), 16);
  }
};

// Where in a line the flipped cell stands; outside of 0 … length-1 if it is not there.
__device__ int64_t flipped_in_line(const MaskedBatchArgs& a, const Layout& layout, const Row& r, int64_t line) {
  const int64_t d = r.cell / a.T, t = r.cell % a.T - r.start;
  if (r.cell < 0 || t < 0 || t >= a.w) return -1;
  return (layout.features_last ? t * a.D + d : d * a.w + t) - line * layout.length;
}

// One line of one row, as a thread sees it.
template <typename Bits>
struct Line {
  Bits* out;
  const Bits *x, *draws;
  const uint8_t *mask, *observed;
  int64_t flipped, first, threads;  // of this thread, and from one of its elements to the next

  __device__ Line(const MaskedBatchArgs& a, const Layout& layout, int64_t thread) {
    const int64_t place = thread >> layout.log_threads;
    const int64_t i = layout.lines == 1 ? place : place / layout.lines, line = place - i * layout.lines;
    const RowOperands<Bits> row(a, i);
    out = row.out + line * layout.out.line;
    x = row.x + line * layout.x.line;
    draws = row.draws + line * layout.draws.line;
    mask = row.mask + line * layout.mask.line;
    observed = row.observed == nullptr ? nullptr : row.observed + line * layout.observed.line;
    flipped = flipped_in_line(a, layout, a.rows[i], line);
    threads = int64_t{1} << layout.log_threads;
    first = thread & (threads - 1);
  }
};

template <typename Bits>
void write_elements(const MaskedBatchArgs& a, const Layout& layout, void* stream) {
  each((a.n * layout.lines) << layout.log_threads, stream, [a, layout] __device__(int64_t thread) {
    const Line<Bits> line(a, layout, thread);
    for (int64_t j = line.first; j < layout.length; j += line.threads) {
      const bool keep = (line.mask[j * layout.mask.element] != 0) != (j == line.flipped) ||
                        (line.observed != nullptr && line.observed[j * layout.observed.element] == 0);
      line.out[j * layout.out.element] = keep ? line.x[j * layout.x.element] : line.draws[j * layout.draws.element];
    }
  });
}

template <typename Bits>
void write_packs(const MaskedBatchArgs& a, const Layout& layout, void* stream) {
  constexpr int N = kPack<Bits>;
  each((a.n * layout.lines) << layout.log_threads, stream, [a, layout] __device__(int64_t thread) {
    const Line<Bits> line(a, layout, thread);
    const bool values = aligned(address(line.x) | address(line.draws), 16), masks = aligned(address(line.mask), N);
    for (int64_t j = line.first * N; j < layout.length; j += line.threads * N) {
      const auto kept = load<N>(line.mask + j, masks);
      const auto x = load<N>(line.x + j, values);
      auto out = load<N>(line.draws + j, values);
      for (int k = 0; k < N; ++k)
        if ((kept.element[k] != 0) != (j + k == line.flipped)) out.element[k] = x.element[k];
      store<N>(line.out + j, out);
    }
  });
}

template <typename Bits>
void write_fixed(const MaskedBatchArgs& a, void* stream) {
  const Layout packed(a, kPack<Bits>);
  if (packed.packs<Bits>(a)) {
    write_packs<Bits>(a, packed, stream);
  } else {
    write_elements<Bits>(a, Layout(a, 1), stream);
  }
}

// One thread an element, in the order of out's memory.
template <typename T>
void write_conditional(const MaskedBatchArgs& a, void* stream) {
  const bool features_last = Layout(a, 1).features_last;
  each(a.n * a.D * a.w, stream, [a, features_last] __device__(int64_t flat) {
    const int64_t per_row = a.D * a.w, i = flat / per_row, rest = flat % per_row;
    const int64_t d = features_last ? rest % a.D : rest / a.w, t = features_last ? rest / a.D : rest % a.w;
    const Row& r = a.rows[i];
    static_cast<T*>(a.out)[i * a.out_stride[0] + d * a.out_stride[1] + t * a.out_stride[2]] =
        conditional_element<T>(a, r, d, r.start + t);
  });
}

}  // namespace

void masked_batch(const MaskedBatchArgs& a, void* stream) {
  if (a.fill != Fill::kFixed) {
    a.dtype == Dtype::kDouble ? write_conditional<double>(a, stream) : write_conditional<float>(a, stream);
  } else {
    a.dtype == Dtype::kDouble ? write_fixed<uint64_t>(a, stream) : write_fixed<uint32_t>(a, stream);
  }
}

}  // namespace rambit::cuda
