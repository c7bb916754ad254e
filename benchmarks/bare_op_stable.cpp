// bare_op.cpp once more, through torch's stable ABI.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <tuple>

namespace {

using torch::stable::Tensor;

Tensor bare(Tensor segments, Tensor, Tensor, Tensor, Tensor, Tensor, int64_t rows, int64_t columns,
            int64_t, int64_t, double) {
  return torch::stable::new_empty(segments, {segments.size(0), rows, columns});
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> bare_backward(
    Tensor, Tensor segments, Tensor softness, Tensor width, Tensor intensity, Tensor color,
    Tensor background, int64_t, int64_t, int64_t, int64_t, double) {
  return {torch::stable::empty_like(segments), torch::stable::empty_like(softness),
          torch::stable::empty_like(width),    torch::stable::empty_like(intensity),
          torch::stable::empty_like(color),    torch::stable::empty_like(background)};
}

}  // namespace

STABLE_TORCH_LIBRARY(softraster_bare_stable, library) {
  library.def(
      "draw(Tensor segments, Tensor softness, Tensor width, Tensor intensity, Tensor color,"
      " Tensor background, int rows, int columns, int coverage, int composite, float tolerance)"
      " -> Tensor");
  library.def(
      "draw_backward(Tensor grad, Tensor segments, Tensor softness, Tensor width,"
      " Tensor intensity, Tensor color, Tensor background, int rows, int columns, int coverage,"
      " int composite, float tolerance) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(softraster_bare_stable, CPU, library) {
  library.impl("draw", TORCH_BOX(&bare));
  library.impl("draw_backward", TORCH_BOX(&bare_backward));
}
