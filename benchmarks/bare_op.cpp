// Operators that do nothing but what every operator must: take softraster's arguments, allocate its
// results, return. bench_calls.py compiles them, to tell torch's share of a call from softraster's.
#include <ATen/Functions.h>
#include <torch/library.h>

#include <tuple>

namespace {

using at::Tensor;

Tensor bare(const Tensor& segments, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
            const Tensor&, int64_t rows, int64_t columns, int64_t, int64_t, double) {
  return at::empty({segments.size(0), rows, columns}, segments.options());
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> bare_backward(
    const Tensor&, const Tensor& segments, const Tensor& softness, const Tensor& width,
    const Tensor& intensity, const Tensor& color, const Tensor& background, int64_t, int64_t,
    int64_t, int64_t, double) {
  return {at::empty_like(segments),  at::empty_like(softness), at::empty_like(width),
          at::empty_like(intensity), at::empty_like(color),    at::empty_like(background)};
}

}  // namespace

TORCH_LIBRARY(softraster_bare, library) {
  library.def(
      "draw(Tensor segments, Tensor softness, Tensor width, Tensor intensity, Tensor color,"
      " Tensor background, int rows, int columns, int coverage, int composite, float tolerance)"
      " -> Tensor");
  library.def(
      "draw_backward(Tensor grad, Tensor segments, Tensor softness, Tensor width,"
      " Tensor intensity, Tensor color, Tensor background, int rows, int columns, int coverage,"
      " int composite, float tolerance) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(softraster_bare, CPU, library) {
  library.impl("draw", &bare);
  library.impl("draw_backward", &bare_backward);
}
