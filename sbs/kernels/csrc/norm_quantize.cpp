// Batch norm, addition, ReLU and quantizer. Forward: one pass for the statistics, one for the rest.
// Backward: two passes.

#include "gates.h"
#include "passes.h"

namespace {

using namespace sbs;

// Mean and biased variance of every channel.
template <typename T>
void moments(
    const T* raw, const Traversal<T>& traversal, std::vector<double>& mean,
    std::vector<double>& variance) {
  const int64_t channels = traversal.channels;
  // Sums of squares lose precision if the mean is large, so subtract a value of the channel first.
  const std::vector<Wide<T>> first(raw, raw + channels);
  const std::vector<Wide<T>> center = traversal.repeated(first);
  const std::vector<double> total =
      traversal.sweep(Moments<T>{raw, center.data(), channels});
  const double rows = static_cast<double>(traversal.elements) / channels;
  for (int64_t c = 0; c < channels; ++c) {
    const double shift = total[c] / rows;
    mean[c] = first[c] + shift;
    variance[c] = std::max(0.0, total[channels + c] / rows - shift * shift);
  }
}

// In training the statistics of the batch, which update the running ones; otherwise the running
// ones.
template <typename T>
void statistics(
    const T* raw, const Traversal<T>& traversal, Wide<T>* running_mean, Wide<T>* running_variance,
    bool training, double momentum, std::vector<double>& mean, std::vector<double>& variance) {
  const int64_t channels = traversal.channels;
  if (!training) {
    std::copy(running_mean, running_mean + channels, mean.begin());
    std::copy(running_variance, running_variance + channels, variance.begin());
    return;
  }
  moments(raw, traversal, mean, variance);
  const double rows = static_cast<double>(traversal.elements) / channels;
  for (int64_t c = 0; c < channels; ++c) {
    const double unbiased = variance[c] * rows / (rows - 1);
    const double kept = 1 - momentum;
    running_mean[c] = static_cast<Wide<T>>(kept * running_mean[c] + momentum * mean[c]);
    running_variance[c] =
        static_cast<Wide<T>>(kept * running_variance[c] + momentum * unbiased);
  }
}

// Batch norm as scale * raw + shift, and the values that its backward pass needs.
template <typename T>
struct Affine {
  std::vector<Wide<T>> scales, scale, shift, center;

  Affine(
      const Traversal<T>& traversal, const Tensor& weight, const Tensor& bias, const Tensor& mean,
      const Tensor& inverse)
      : scales(traversal.channels) {
    std::vector<Wide<T>> shifts(traversal.channels);
    const Wide<T>* means = data<Wide<T>>(mean);
    for (int64_t c = 0; c < traversal.channels; ++c) {
      scales[c] = data<Wide<T>>(weight)[c] * data<Wide<T>>(inverse)[c];
      shifts[c] = data<Wide<T>>(bias)[c] - means[c] * scales[c];
    }
    scale = traversal.repeated(scales);
    shift = traversal.repeated(shifts);
    center = traversal.repeated(std::vector<Wide<T>>(means, means + traversal.channels));
  }
};

// Returns y, the quantizer's input (undefined unless `keep`), gates, metrics, the mean and inverse
// standard deviation of every channel, and the selected bitwidth.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, int64_t> norm_quantize(
    const Tensor& raw, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
    const Tensor& running_variance, bool training, double momentum, double eps,
    const std::optional<Tensor>& residual, bool relu, bool keep, const Tensor& interval,
    const Tensor& thresholds, at::IntArrayRef bitwidths, int64_t guess, bool is_signed) {
  const int64_t channels = weight.numel();
  Tensor y = at::empty_like(raw), kept;
  if (keep) kept = at::empty_like(raw);
  Tensor mean = at::empty_like(weight), inverse = at::empty_like(weight);
  const double v = Interval(interval).v;
  Choice choice;
  dispatch(raw.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const Traversal<T> traversal(raw.numel(), channels);
    std::vector<double> means(channels), variances(channels);
    statistics(
        data<T>(raw), traversal, data<Wide<T>>(running_mean), data<Wide<T>>(running_variance),
        training, momentum, means, variances);
    for (int64_t c = 0; c < channels; ++c) {
      data<Wide<T>>(mean)[c] = static_cast<Wide<T>>(means[c]);
      data<Wide<T>>(inverse)[c] = static_cast<Wide<T>>(1 / std::sqrt(variances[c] + eps));
    }
    const Affine<T> affine(traversal, weight, bias, mean, inverse);
    const Before<T> before{affine.scale.data(), affine.shift.data(), data<T>(residual), relu};
    specialize(is_signed, bitwidths.size(), [&](auto sign, auto count) {
      Forward<T, sign, true, count> kernel{
          data<T>(raw), before, keep ? data<T>(kept) : nullptr, data<T>(y),
          Grids<T>(bitwidths, v), 0, 0, 0, true};
      choice = quantize_as_chosen(kernel, traversal, v, guess, thresholds, bitwidths);
    });
  });
  return {y, kept, choice.gates, choice.metrics, mean, inverse, choice.bits};
}

// `kept` is the quantizer's input; it is needed only with a residual. Returns the gradients of raw,
// weight, bias, residual (undefined without one), interval and thresholds.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> norm_quantize_backward(
    const std::optional<Tensor>& grad_y, const std::optional<Tensor>& grad_kept,
    const Tensor& grad_gates, const Tensor& raw, const std::optional<Tensor>& kept,
    const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& inverse, bool relu,
    const Tensor& interval, const Tensor& thresholds, const Tensor& gates, const Tensor& metrics,
    at::IntArrayRef bitwidths, int64_t bits, bool is_signed, bool clip_only,
    bool thresholds_learn) {
  const int64_t channels = weight.numel();
  std::optional<Tensor> from_y, from_kept;
  if (grad_y) from_y = laid_out_as(*grad_y, raw);
  if (grad_kept) from_kept = laid_out_as(*grad_kept, raw);
  Tensor grad_raw = at::empty_like(raw), grad_residual;
  if (kept) grad_residual = at::empty_like(raw);
  Tensor grad_weight = at::empty_like(weight), grad_bias = at::empty_like(bias);
  const std::vector<int64_t> counted = summed(bitwidths, bits, thresholds_learn);
  std::vector<double> sums;
  dispatch(raw.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using W = Wide<T>;
    const Traversal<T> traversal(raw.numel(), channels);
    const Affine<T> affine(traversal, weight, bias, mean, inverse);
    const Before<T> before{affine.scale.data(), affine.shift.data(), nullptr, relu};
    T* grad_norm = kept ? data<T>(grad_residual) : nullptr;
    specialize(is_signed, counted.size(), [&](auto sign, auto count) {
      const auto kernel = [&](auto kernel_count) {
        return Backward<T, sign, true, kernel_count>{
            data<T>(raw), data<T>(kept), before, affine.center.data(), data<T>(from_y),
            data<T>(from_kept), grad_norm, Grids<T>(counted, Interval(interval).v), channels,
            clip_only};
      };
      const auto first = kernel(count);
      sums = traversal.sweep(first);

      // grad_raw = scale * (dt - mean(dt) - xhat * mean(dt * xhat))
      const double* linear = sums.data() + first.scalars();
      const double* product = linear + channels;
      const double rows = static_cast<double>(raw.numel()) / channels;
      std::vector<W> slopes(channels), offsets(channels);
      for (int64_t c = 0; c < channels; ++c) {
        const double deviation = data<W>(inverse)[c], scale = affine.scales[c] / rows;
        data<W>(grad_weight)[c] = static_cast<W>(product[c] * deviation);
        data<W>(grad_bias)[c] = static_cast<W>(linear[c]);
        slopes[c] = static_cast<W>(-scale * deviation * deviation * product[c]);
        offsets[c] = static_cast<W>(-scale * linear[c]);
      }
      const std::vector<W> slope = traversal.repeated(slopes);
      const std::vector<W> offset = traversal.repeated(offsets);
      traversal.sweep(NormBackward<T, sign>{
          kernel(std::integral_constant<int, 1>{}), grad_norm, slope.data(), offset.data(),
          data<T>(grad_raw)});
    });
  });
  const auto [grad_interval, grad_thresholds] = scalar_gradients(
      sums, counted, bits, is_signed, clip_only, thresholds_learn, interval, grad_gates, gates, metrics,
      thresholds);
  return {grad_raw, grad_weight, grad_bias, grad_residual, grad_interval, grad_thresholds};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(sbs, library) {
  library.def(
      "norm_quantize(Tensor raw, Tensor weight, Tensor bias, Tensor(a!) running_mean, "
      "Tensor(b!) running_variance, bool training, float momentum, float eps, Tensor? residual, "
      "bool relu, bool keep, Tensor interval, Tensor thresholds, int[] bitwidths, int guess, "
      "bool is_signed) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, int)");
  library.def(
      "norm_quantize_backward(Tensor? grad_y, Tensor? grad_kept, Tensor grad_gates, Tensor raw, "
      "Tensor? kept, Tensor weight, Tensor bias, Tensor mean, Tensor inverse, bool relu, "
      "Tensor interval, Tensor thresholds, Tensor gates, Tensor metrics, int[] bitwidths, "
      "int bits, bool is_signed, bool clip_only, bool thresholds_learn) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(sbs, CPU, library) {
  library.impl("norm_quantize", norm_quantize);
  library.impl("norm_quantize_backward", norm_quantize_backward);
}
