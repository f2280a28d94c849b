// DQ's fixed-point quantizer: one pass forward, one backward. sbs/quantization/peers.py defines
// what it computes.

#include "traversal.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>

#include <cmath>
#include <tuple>

namespace {

using namespace sbs;

// The step used, the nearest power of two (so dividing by it is exact), and the range.
struct Grid {
  double step, largest;

  Grid(const Tensor& step, const Tensor& largest)
      : step(std::exp2(std::nearbyint(std::log2(step.item<double>())))),
        largest(largest.item<double>()) {}
};

template <typename T, bool Signed>
struct FixedPoint {
  Wide<T> step, inverse, largest;

  explicit FixedPoint(const Grid& grid)
      : step(static_cast<Wide<T>>(grid.step)),
        inverse(static_cast<Wide<T>>(1 / grid.step)),
        largest(static_cast<Wide<T>>(grid.largest)) {}

  Vec<T> quantized(Vec<T> x) const {
    const Vec<T> magnitude = Signed ? x.abs() : at::vec::clamp_min(x, Vec<T>(0));
    const Vec<T> inside = at::vec::minimum(magnitude, Vec<T>(largest));
    const Vec<T> result = (inside * Vec<T>(inverse) + Vec<T>(0.5)).floor() * Vec<T>(step);
    return Signed ? Vec<T>::blendv(result, result.neg(), x < Vec<T>(0)) : result;
  }
};

template <typename T, bool Signed>
struct Forward {
  FixedPoint<T, Signed> grid;
  const T* x;
  T* y;

  int64_t sums() const { return 0; }
  int64_t results() const { return 0; }
  void collect(int64_t, const Wide<T>*, double*) const {}

  template <typename A>
  void run(const Run& run, A access, Wide<T>*) const {
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t at = run.offset + i * run.stride;
      access.put(grid.quantized(access.get(x + at)), y + at);
    }
  }
};

// The gradient of x. Also two sums, with g the gradient of y: g * (y - x) inside the range, and
// g * sign(x) outside.
template <typename T, bool Signed>
struct Backward {
  FixedPoint<T, Signed> grid;
  const T* x;
  const T* grad_y;
  T* grad_x;

  int64_t sums() const { return 2; }
  int64_t results() const { return 2; }

  template <typename A>
  void run(const Run& run, A access, Wide<T>* lanes) const {
    const int64_t step = kLanes<T>;
    const Vec<T> largest(grid.largest), lowest(Signed ? -grid.largest : 0);
    Vec<T> errors = Vec<T>::loadu(lanes), outside = Vec<T>::loadu(lanes + step);
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t at = run.offset + i * run.stride;
      const Vec<T> values = access.get(x + at), g = access.get(grad_y + at);
      const Vec<T> above = values > largest;
      const Vec<T> below = Signed ? values < lowest : values <= lowest;
      const Vec<T> through = Vec<T>::blendv(g, Vec<T>(0), above | below);
      errors = errors + through * (grid.quantized(values) - values);
      outside = outside + (above & g);
      if constexpr (Signed) outside = outside - (below & g);
      access.put(through, grad_x + at);
    }
    errors.store(lanes);
    outside.store(lanes + step);
  }

  void collect(int64_t, const Wide<T>* lanes, double* total) const {
    total[0] += sum_of_lanes(lanes, kLanes<T>);
    total[1] += sum_of_lanes(lanes + kLanes<T>, kLanes<T>);
  }
};

template <typename F>
void with_sign(bool is_signed, const F& f) {
  is_signed ? f(std::true_type{}) : f(std::false_type{});
}

// The memory of x must have no gaps.
Tensor fixed_point(const Tensor& x, const Tensor& step, const Tensor& largest, bool is_signed) {
  Tensor y = at::empty_like(x);
  const Grid grid(step, largest);
  dispatch(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    with_sign(is_signed, [&](auto sign) {
      Traversal<T>(x.numel(), 1).sweep(
          Forward<T, sign>{FixedPoint<T, sign>(grid), data<T>(x), data<T>(y)});
    });
  });
  return y;
}

// Gradients of x, step and range.
std::tuple<Tensor, Tensor, Tensor> fixed_point_backward(
    const Tensor& grad_y, const Tensor& x, const Tensor& step, const Tensor& largest,
    bool is_signed) {
  const Tensor g = laid_out_as(grad_y, x);
  Tensor grad_x = at::empty_like(x);
  const Grid grid(step, largest);
  std::vector<double> sums;
  dispatch(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    with_sign(is_signed, [&](auto sign) {
      sums = Traversal<T>(x.numel(), 1).sweep(Backward<T, sign>{
          FixedPoint<T, sign>(grid), data<T>(x), data<T>(g), data<T>(grad_x)});
    });
  });
  return {
      grad_x, at::full_like(step, sums[0] / grid.step), at::full_like(largest, sums[1])};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(sbs, library) {
  library.def("fixed_point(Tensor x, Tensor step, Tensor largest, bool is_signed) -> Tensor");
  library.def(
      "fixed_point_backward(Tensor grad_y, Tensor x, Tensor step, Tensor largest, bool is_signed)"
      " -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(sbs, CPU, library) {
  library.impl("fixed_point", fixed_point);
  library.impl("fixed_point_backward", fixed_point_backward);
}
