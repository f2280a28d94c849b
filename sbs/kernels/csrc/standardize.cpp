// Weight normalisation. sbs/quantization/uniform.py defines what it computes.

#include "traversal.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

namespace {

using namespace sbs;

// Mean, and 1 / deviation, of the elements where `kept` is not zero. Sums are in order, in double:
// unlike a sum in blocks they do not depend on the width of a vector.
template <typename T, typename Weight>
std::pair<double, double> moments(const T* values, int64_t n, double count, Weight weight) {
  double sum = 0, square = 0;
  for (int64_t i = 0; i < n; ++i) sum += weight(i) * values[i];
  const double mean = sum / count;
  for (int64_t i = 0; i < n; ++i) {
    square += weight(i) * (values[i] - mean) * (values[i] - mean);
  }
  // The floor matters only for a constant tensor, where any finite scale is fine.
  return {mean, 1 / std::max(std::sqrt(square / (count - 1)), 1e-12)};
}

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
      T* out = data<T>(result);
      const int64_t n = w.numel();
      const auto [mean, scale] = kept
          ? moments(
                values, n, std::accumulate(kept, kept + n, 0.0),
                [kept](int64_t i) { return static_cast<double>(kept[i]); })
          : moments(values, n, static_cast<double>(n), [](int64_t) { return 1.0; });
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>((values[i] - mean) * scale);
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
