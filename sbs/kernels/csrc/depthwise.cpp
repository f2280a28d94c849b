// Gradients of depthwise convolutions in channels-last memory.
//
// oneDNN has no fast code for some of them: those of the weights of 5x5 kernels on small images,
// and in bf16 those of the input of a strided layer.

#include "traversal.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <tuple>

namespace {

using namespace sbs;

struct Shape {
  int64_t images, channels, height, width, out_height, out_width, stride, padding;
};

template <typename T>
struct Tensors {
  const T *x, *g;       // input, and gradient of the output: (images, height, width, channels)
  const Wide<T>* w;     // (kernel elements, channels)
  T* grad_x;
  Wide<T>* grad_w;
};

// One vector of channels of all images. The input is copied into a frame of zeros, so every kernel
// element reads something, and the sums over an image stay in registers.
template <typename T, int K, bool Whole>
class Channels {
  using V = Vec<T>;
  static constexpr int64_t kStep = kLanes<T>;

 public:
  Channels(const Shape& shape, const Tensors<T>& tensors, int64_t first)
      : s_(shape),
        t_(tensors),
        first_(first),
        rows_((shape.out_height - 1) * shape.stride + K),
        columns_((shape.out_width - 1) * shape.stride + K),
        narrow_{shape.channels - first},
        wide_{shape.channels - first},
        inputs_(rows_ * columns_ * kStep, Wide<T>(0)),
        gradients_(inputs_.size()) {}

  void run() {
    V total[K * K];
    std::fill(total, total + K * K, V(0));
    for (int e = 0; e < K * K; ++e) kernel_[e] = wide_.get(t_.w + e * s_.channels + first_);
    for (int64_t n = 0; n < s_.images; ++n) {
      each_pixel(n, [&](Wide<T>* in_frame, int64_t pixel) {
        narrow_.get(t_.x + pixel).store(in_frame);
      }, inputs_.data());
      std::fill(gradients_.begin(), gradients_.end(), Wide<T>(0));
      add_image(n, total);
      each_pixel(n, [&](const Wide<T>* in_frame, int64_t pixel) {
        narrow_.put(V::loadu(in_frame), t_.grad_x + pixel);
      }, gradients_.data());
    }
    for (int e = 0; e < K * K; ++e) wide_.put(total[e], t_.grad_w + e * s_.channels + first_);
  }

 private:
  void add_image(int64_t n, V* total) {
    V sum[K * K];
    std::fill(sum, sum + K * K, V(0));
    const T* g = t_.g + n * s_.out_height * s_.out_width * s_.channels + first_;
    for (int64_t row = 0; row < s_.out_height; ++row) {
      for (int64_t column = 0; column < s_.out_width; ++column, g += s_.channels) {
        const V gradient = narrow_.get(g);
        const int64_t corner = (row * columns_ + column) * s_.stride * kStep;
#pragma GCC unroll 25
        for (int e = 0; e < K * K; ++e) {
          const int64_t at = corner + (e / K * columns_ + e % K) * kStep;
          Wide<T>* reached = gradients_.data() + at;
          sum[e] = at::vec::fmadd(gradient, V::loadu(inputs_.data() + at), sum[e]);
          at::vec::fmadd(gradient, kernel_[e], V::loadu(reached)).store(reached);
        }
      }
    }
    for (int e = 0; e < K * K; ++e) total[e] = total[e] + sum[e];
  }

  // Calls f(place in the frame, index in x) for the pixels of an image that some output reads.
  template <typename F>
  void each_pixel(int64_t n, const F& f, Wide<T>* frame) const {
    for (int64_t h = 0; h < std::min(s_.height, rows_ - s_.padding); ++h) {
      for (int64_t w = 0; w < std::min(s_.width, columns_ - s_.padding); ++w) {
        f(frame + ((h + s_.padding) * columns_ + w + s_.padding) * kStep,
          ((n * s_.height + h) * s_.width + w) * s_.channels + first_);
      }
    }
  }

  const Shape& s_;
  const Tensors<T>& t_;
  int64_t first_, rows_, columns_;
  Access<T, Whole> narrow_;
  Access<Wide<T>, Whole> wide_;
  V kernel_[K * K];
  std::vector<Wide<T>> inputs_, gradients_;
};

template <typename T, int K>
void all_channels(const Shape& shape, const Tensors<T>& tensors) {
  const int64_t vectors = (shape.channels + kLanes<T> - 1) / kLanes<T>;
  at::parallel_for(0, vectors, 1, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      const int64_t first = v * kLanes<T>;
      if (first + kLanes<T> <= shape.channels) Channels<T, K, true>(shape, tensors, first).run();
      else Channels<T, K, false>(shape, tensors, first).run();
    }
  });
}

// Gradients of x (N, C, H, W) and of w (C, 1, K, K), where K is 3 or 5, from that of the output.
std::tuple<Tensor, Tensor> depthwise_backward(
    const Tensor& grad, const Tensor& input, const Tensor& weight, int64_t stride,
    int64_t padding) {
  const auto last = at::MemoryFormat::ChannelsLast;
  const Tensor x = input.contiguous(last), g = grad.to(x.scalar_type()).contiguous(last);
  const int64_t size = weight.size(2), channels = x.size(1);
  const Shape shape{x.size(0), channels, x.size(2), x.size(3), g.size(2), g.size(3), stride,
                    padding};
  Tensor grad_x = at::zeros_like(x, x.options(), last), grad_w;
  dispatch(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto wide = x.options().dtype(c10::CppTypeToScalarType<Wide<T>>::value);
    const Tensor w = weight.reshape({channels, size * size}).t().to(wide.dtype()).contiguous();
    Tensor sums = at::zeros({size * size, channels}, wide);
    const Tensors<T> tensors{
        data<T>(x), data<T>(g), data<Wide<T>>(w), data<T>(grad_x), data<Wide<T>>(sums)};
    if (size == 3) all_channels<T, 3>(shape, tensors);
    else if (size == 5) all_channels<T, 5>(shape, tensors);
    else TORCH_CHECK(false, "sbs: depthwise kernels are 3x3 or 5x5");
    grad_w = sums.t().reshape(weight.sizes()).to(weight.scalar_type());
  });
  return {grad_x, grad_w};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(sbs, library) {
  library.def(
      "depthwise_backward(Tensor grad, Tensor x, Tensor weight, int stride, int padding)"
      " -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(sbs, CPU, library) {
  library.impl("depthwise_backward", depthwise_backward);
}
