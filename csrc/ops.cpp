// The operators as torch sees them: schemas, memory checks, allocation, choice of device, launch.
// The only file that includes torch, and of torch only the stable ABI (torch >= 2.10).
#include <Python.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "draw_segments.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using namespace softraster;

Tensor dense(const Tensor& t) { return t.is_contiguous() ? t : torch::stable::contiguous(t); }

template <class T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.data_ptr());
}
template <class T>
T* mutable_data(const Tensor& t) {
  return static_cast<T*>(t.data_ptr());
}

// What both passes are given, checked. Users' mistakes are named by softraster/api.py; this guards
// memory.
struct Scene {
  Tensor segments, softness, intensity;
  int64_t batch = 1, count, height, width;
  Composite composite;
  double log_tolerance;

  Scene(const Tensor& segments_, const Tensor& softness_, const Tensor& intensity_, int64_t height_,
        int64_t width_, int64_t composite_, double tolerance)
      : segments(dense(segments_)),
        softness(dense(softness_)),
        intensity(dense(intensity_)),
        height(height_),
        width(width_),
        composite(static_cast<Composite>(composite_)),
        log_tolerance(-std::log(tolerance)) {
    const int64_t dims = segments.dim();
    STD_TORCH_CHECK(dims >= 2 && segments.size(dims - 1) == 4,
                    "draw_segments: segments must be (..., N, 4)");
    for (int64_t d = 0; d < dims - 2; ++d) batch *= segments.size(d);
    count = segments.size(dims - 2);
    STD_TORCH_CHECK(softness.numel() == batch * count,
                    "draw_segments: softness must have one number a segment");
    STD_TORCH_CHECK(intensity.numel() == 0 || intensity.numel() == batch * count,
                    "draw_segments: intensity must have one number a segment, or none at all");
    const auto dtype = segments.scalar_type();
    STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double,
                    "draw_segments: segments must be float32 or float64");
    STD_TORCH_CHECK(softness.scalar_type() == dtype && intensity.scalar_type() == dtype,
                    "draw_segments: softness and intensity must have the dtype of segments");
    STD_TORCH_CHECK(height > 0 && width > 0 && count < INT32_MAX,
                    "draw_segments: the canvas needs pixels, and at most 2^31 - 2 segments");
    STD_TORCH_CHECK(composite == Composite::kSum || composite == Composite::kMax,
                    "draw_segments: unknown composite");
    STD_TORCH_CHECK(tolerance >= 0 && tolerance < 1, "draw_segments: tolerance must be in [0, 1)");
  }

  std::vector<int64_t> canvas_shape() const {
    std::vector<int64_t> shape;
    for (int64_t d = 0; d < segments.dim() - 2; ++d) shape.push_back(segments.size(d));
    shape.push_back(height);
    shape.push_back(width);
    return shape;
  }

  template <class T>
  DrawSegmentsParams<T> params() const {
    return {batch,
            count,
            height,
            width,
            composite,
            log_tolerance,
            data<T>(segments),
            data<T>(softness),
            intensity.numel() == 0 ? nullptr : data<T>(intensity)};
  }
};

template <class Launch>
void by_dtype(const Tensor& t, const Launch& launch) {
  if (t.scalar_type() == ScalarType::Float) {
    launch(float());
  } else {
    launch(double());
  }
}

Tensor draw_segments_cpu(Tensor segments, Tensor softness, Tensor intensity, int64_t height,
                         int64_t width, int64_t composite, double tolerance) {
  const Scene scene(segments, softness, intensity, height, width, composite, tolerance);
  Tensor canvas = torch::stable::new_empty(scene.segments, scene.canvas_shape());
  by_dtype(canvas, [&](auto zero) {
    using T = decltype(zero);
    cpu::launch_draw_segments(scene.params<T>(), mutable_data<T>(canvas));
  });
  return canvas;
}

std::tuple<Tensor, Tensor, Tensor> draw_segments_backward_cpu(Tensor grad_canvas, Tensor segments,
                                                              Tensor softness, Tensor intensity,
                                                              int64_t height, int64_t width,
                                                              int64_t composite, double tolerance) {
  const Scene scene(segments, softness, intensity, height, width, composite, tolerance);
  grad_canvas = dense(grad_canvas);
  STD_TORCH_CHECK(grad_canvas.numel() == scene.batch * height * width &&
                      grad_canvas.scalar_type() == scene.segments.scalar_type(),
                  "draw_segments: grad_canvas must have the shape and dtype of the canvas");
  Tensor grad_segments = torch::stable::empty_like(scene.segments);
  Tensor grad_softness = torch::stable::empty_like(scene.softness);
  Tensor grad_intensity = torch::stable::empty_like(scene.intensity);
  Tensor winner = torch::stable::new_empty(
      grad_canvas, {scene.composite == Composite::kMax ? grad_canvas.numel() : 0}, ScalarType::Int);
  by_dtype(grad_canvas, [&](auto zero) {
    using T = decltype(zero);
    cpu::launch_draw_segments_backward(
        scene.params<T>(),
        {data<T>(grad_canvas),
         scene.composite == Composite::kMax ? mutable_data<int32_t>(winner) : nullptr,
         mutable_data<T>(grad_segments), mutable_data<T>(grad_softness),
         scene.intensity.numel() == 0 ? nullptr : mutable_data<T>(grad_intensity)});
  });
  return {grad_segments, grad_softness, grad_intensity};
}

}  // namespace

// Schemas keep to Tensor, int and float: an absent intensity is an empty tensor.
STABLE_TORCH_LIBRARY(softraster, m) {
  m.def(
      "draw_segments(Tensor segments, Tensor softness, Tensor intensity, int height, int width, "
      "int composite, float tolerance) -> Tensor");
  m.def(
      "draw_segments_backward(Tensor grad_canvas, Tensor segments, Tensor softness, Tensor "
      "intensity, int height, int width, int composite, float tolerance) -> (Tensor, Tensor, "
      "Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(softraster, CPU, m) {
  m.impl("draw_segments", TORCH_BOX(&draw_segments_cpu));
  m.impl("draw_segments_backward", TORCH_BOX(&draw_segments_backward_cpu));
}

// Importing softraster._C loads this library, which registers the operators above.
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
