// Weight normalisation. sbs/quantization/uniform.py defines what it computes.

#include "traversal.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <tuple>

namespace {

using namespace sbs;

// (w - mean) / deviation over the elements where the mask is not zero, and 1 / deviation.
std::tuple<Tensor, Tensor> standardize(
    const Tensor& w, const std::optional<Tensor>& mask) {
  Tensor result = at::empty_like(w), inverse = at::empty({}, w.options());
  std::optional<Tensor> expanded;
  if (mask) expanded = laid_out_as(mask->expand_as(w), w);
  dispatch(w.scalar_type(), [&](auto type) {
    using T = decltype(type);
    if constexpr (!std::is_same_v<T, BFloat16>) {
      const T* values = data<T>(w);
      const T* kept = data<T>(expanded);
      const int64_t n = w.numel();
      double count = 0, sum = 0, square = 0;
      const auto weight = [&](int64_t i) { return kept ? static_cast<double>(kept[i]) : 1.0; };
      for (int64_t i = 0; i < n; ++i) {
        count += weight(i);
        sum += weight(i) * values[i];
      }
      const double mean = sum / count;
      for (int64_t i = 0; i < n; ++i) {
        square += weight(i) * (values[i] - mean) * (values[i] - mean);
      }
      // The floor matters only for a constant tensor, where any finite scale is fine.
      const double scale = 1 / std::max(std::sqrt(square / (count - 1)), 1e-12);
      for (int64_t i = 0; i < n; ++i) {
        data<T>(result)[i] = static_cast<T>((values[i] - mean) * scale);
      }
      *data<T>(inverse) = static_cast<T>(scale);
    }
  });
  return {result, inverse};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(sbs, library) {
  library.def("standardize(Tensor w, Tensor? mask) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(sbs, CPU, library) {
  library.impl("standardize", standardize);
}
