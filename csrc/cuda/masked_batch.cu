#include "launch.h"

namespace rambit::cuda {
namespace {

// One thread an element, in the order of out's memory so that writes coalesce.
struct Element {
  int64_t i, d, t;
  __device__ Element(const MaskedBatchArgs& a, int64_t flat, bool features_last) {
    const int64_t per_row = a.D * a.w, rest = flat % per_row;
    i = flat / per_row;
    d = features_last ? rest % a.D : rest / a.w;
    t = features_last ? rest / a.D : rest % a.w;
  }
};

template <typename Bits>
void write_fixed(const MaskedBatchArgs& a, bool features_last, void* stream) {
  each(a.n * a.D * a.w, stream, [a, features_last] __device__(int64_t flat) {
    const Element e(a, flat, features_last);
    const Row& r = a.rows[e.i];
    const int64_t t = r.start + e.t;
    bool keep = (a.masks[r.mask * a.masks_stride[0] + e.d * a.masks_stride[1] + t * a.masks_stride[2]] != 0) !=
                (r.cell == e.d * a.T + t);
    if (a.observed != nullptr)
      keep = keep || a.observed[r.series * a.observed_stride[0] + e.d * a.observed_stride[1] + t * a.observed_stride[2]] == 0;
    static_cast<Bits*>(a.out)[e.i * a.out_stride[0] + e.d * a.out_stride[1] + e.t * a.out_stride[2]] =
        keep ? static_cast<const Bits*>(a.x)[r.series * a.x_stride[0] + e.d * a.x_stride[1] + t * a.x_stride[2]]
             : static_cast<const Bits*>(a.draws)[r.draw * a.draws_stride[0] + r.series * a.draws_stride[1] +
                                                 e.d * a.draws_stride[2] + t * a.draws_stride[3]];
  });
}

template <typename T>
void write_conditional(const MaskedBatchArgs& a, bool features_last, void* stream) {
  each(a.n * a.D * a.w, stream, [a, features_last] __device__(int64_t flat) {
    const Element e(a, flat, features_last);
    const Row& r = a.rows[e.i];
    static_cast<T*>(a.out)[e.i * a.out_stride[0] + e.d * a.out_stride[1] + e.t * a.out_stride[2]] =
        conditional_element<T>(a, r, e.d, r.start + e.t);
  });
}

}  // namespace

void masked_batch(const MaskedBatchArgs& a, void* stream) {
  const bool features_last = a.out_stride[1] == 1 && a.D > 1;
  if (a.fill != Fill::kFixed) {
    a.dtype == Dtype::kDouble ? write_conditional<double>(a, features_last, stream)
                              : write_conditional<float>(a, features_last, stream);
  } else if (a.dtype == Dtype::kDouble) {
    write_fixed<uint64_t>(a, features_last, stream);
  } else if (a.dtype == Dtype::kFloat) {
    write_fixed<uint32_t>(a, features_last, stream);
  } else {
    write_fixed<uint16_t>(a, features_last, stream);
  }
}

}  // namespace rambit::cuda
