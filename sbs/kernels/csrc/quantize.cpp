// One quantizer, with gates or at a fixed bitwidth: one pass forward, one backward.

#include "gates.h"
#include "passes.h"

namespace {

using namespace sbs;

// The memory of x must have no gaps. Returns y, gates, metrics and the selected bitwidth.
// The first pass quantizes at the bitwidth `guess`; a wrong guess costs a second pass.
std::tuple<Tensor, Tensor, Tensor, int64_t> quantize(
    const Tensor& x, const Tensor& interval, const Tensor& thresholds, at::IntArrayRef bitwidths,
    int64_t guess, bool is_signed) {
  Tensor y = at::empty_like(x);
  const double v = Interval(interval).v;
  Choice choice;
  dispatch(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    specialize(is_signed, bitwidths.size(), [&](auto sign, auto count) {
      Forward<T, sign, false, count> kernel{
          data<T>(x), {}, nullptr, data<T>(y), Grids<T>(bitwidths, v), 0, 0, 0, true};
      choice = quantize_as_chosen(
          kernel, Traversal<T>(x.numel(), 1), v, guess, thresholds, bitwidths);
    });
  });
  return {y, choice.gates, choice.metrics, choice.bits};
}

std::tuple<Tensor, Tensor, Tensor> quantize_backward(
    const Tensor& grad_y, const Tensor& grad_gates, const Tensor& x, const Tensor& interval,
    const Tensor& thresholds, const Tensor& gates, const Tensor& metrics,
    at::IntArrayRef bitwidths, int64_t bits, bool is_signed, bool clip_only,
    bool thresholds_learn) {
  const Tensor g = laid_out_as(grad_y, x);
  Tensor grad_x = at::empty_like(x);
  const std::vector<int64_t> counted = summed(bitwidths, bits, thresholds_learn);
  std::vector<double> sums;
  dispatch(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    specialize(is_signed, counted.size(), [&](auto sign, auto count) {
      const Backward<T, sign, false, count> kernel{
          data<T>(x), nullptr, {}, nullptr, data<T>(g), nullptr, data<T>(grad_x),
          Grids<T>(counted, Interval(interval).v), 1, clip_only};
      sums = Traversal<T>(x.numel(), 1).sweep(kernel);
    });
  });
  const auto [grad_interval, grad_thresholds] = scalar_gradients(
      sums, counted, bits, is_signed, clip_only, thresholds_learn, interval, grad_gates, gates, metrics,
      thresholds);
  return {grad_x, grad_interval, grad_thresholds};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(sbs, library) {
  library.def(
      "quantize(Tensor x, Tensor interval, Tensor thresholds, int[] bitwidths, int guess, "
      "bool is_signed) -> (Tensor, Tensor, Tensor, int)");
  library.def(
      "quantize_backward(Tensor grad_y, Tensor grad_gates, Tensor x, Tensor interval, "
      "Tensor thresholds, Tensor gates, Tensor metrics, int[] bitwidths, int bits, "
      "bool is_signed, bool clip_only, bool thresholds_learn) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(sbs, CPU, library) {
  library.impl("quantize", quantize);
  library.impl("quantize_backward", quantize_backward);
}
