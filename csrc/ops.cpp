// The operators as torch sees them: schemas, memory checks, allocation, choice of device, launch.
// The only file that includes torch, and of torch only the stable ABI (torch >= 2.10).
#include <Python.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
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
const T* data_or_null(const Tensor& t) {
  return t.numel() == 0 ? nullptr : data<T>(t);
}
template <class T>
T* mutable_data(const Tensor& t) {
  return static_cast<T*>(t.data_ptr());
}

// New memory on the device of another tensor, by the shortest way through the stable ABI; an error
// in the words by which programs know that there is none left, the likeliest reason, for the ABI
// hides it.
Tensor allocate(const Tensor& like, torch::headeronly::IntHeaderOnlyArrayRef shape,
                ScalarType type) {
  std::vector<int64_t> strides(shape.size());
  int64_t numbers = 1;
  for (size_t d = shape.size(); d-- > 0; numbers *= std::max<int64_t>(shape[d], 1))
    strides[d] = numbers;
  int32_t device_type = 0, device_index = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  const int32_t dtype = type == ScalarType::Byte    ? aoti_torch_dtype_uint8()
                        : type == ScalarType::Int   ? aoti_torch_dtype_int32()
                        : type == ScalarType::Float ? aoti_torch_dtype_float32()
                                                    : aoti_torch_dtype_float64();
  AtenTensorHandle made = nullptr;
  if (aoti_torch_empty_strided(int64_t(shape.size()), shape.data(), strides.data(), dtype,
                               device_type, device_index, &made) != AOTI_TORCH_SUCCESS) {
    double bytes = type == ScalarType::Byte ? 1 : (type == ScalarType::Double ? 8 : 4);
    for (const int64_t side : shape) bytes *= double(side);
    STD_TORCH_CHECK(false, "draw_segments: ",
                    like.is_cpu() ? "DefaultCPUAllocator: can't allocate memory: you tried"
                                  : "CUDA out of memory. Tried",
                    " to allocate ", bytes / (1 << 30), " GiB, and torch failed without a reason");
  }
  return Tensor(made);
}

constexpr int64_t kMostPixels = 1 << 30;  // of a side: indices along it fit 32 bits with room

// What both passes are given, checked. Users' mistakes are named by softraster/_arguments.py; this
// guards memory. An absent tensor is empty; an absent color has not the dimensions of segments.
struct Scene {
  Tensor segments, softness, width, intensity, color, background;
  std::vector<int64_t> shape;  // of the canvas
  int64_t batch = 1, count, channels, rows, columns;
  Coverage coverage;
  Composite composite;
  double log_tolerance;

  Scene(const Tensor& segments_, const Tensor& softness_, const Tensor& width_,
        const Tensor& intensity_, const Tensor& color_, const Tensor& background_, int64_t rows_,
        int64_t columns_, int64_t coverage_, int64_t composite_, double tolerance)
      : segments(dense(segments_)),
        softness(dense(softness_)),
        width(dense(width_)),
        intensity(dense(intensity_)),
        color(dense(color_)),
        background(dense(background_)),
        rows(rows_),
        columns(columns_),
        coverage(static_cast<Coverage>(coverage_)),
        composite(static_cast<Composite>(composite_)),
        log_tolerance(-std::log(tolerance)) {
    const int64_t dims = segments.dim();
    STD_TORCH_CHECK(dims >= 2 && segments.size(dims - 1) == 4,
                    "draw_segments: segments must be (..., N, 4)");
    for (int64_t d = 0; d < dims - 2; ++d) {
      shape.push_back(segments.size(d));
      batch *= shape.back();
    }
    count = segments.size(dims - 2);
    channels = has_color() ? color.size(dims - 1) : 1;
    if (has_color()) shape.push_back(channels);
    shape.push_back(rows);
    shape.push_back(columns);
    STD_TORCH_CHECK(rows > 0 && columns > 0 && channels > 0 && count < INT32_MAX,
                    "draw_segments: the canvas needs pixels, and at most 2^31 - 2 segments");
    STD_TORCH_CHECK(rows <= kMostPixels && columns <= kMostPixels,
                    "draw_segments: a side of the canvas has at most ", kMostPixels, " pixels");
    STD_TORCH_CHECK(coverage == Coverage::kGrid || coverage == Coverage::kCapsule,
                    "draw_segments: unknown coverage");
    STD_TORCH_CHECK(composite >= Composite::kSum && composite <= Composite::kOver,
                    "draw_segments: unknown composite");
    STD_TORCH_CHECK(tolerance >= 0 && tolerance < 1, "draw_segments: tolerance must be in [0, 1)");
    const auto dtype = segments.scalar_type();
    STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double,
                    "draw_segments: segments must be float32 or float64");
    check(softness, "softness", batch * count, false);
    check(width, "width", batch * count, coverage == Coverage::kGrid);
    check(intensity, "intensity", batch * count, true);
    check(color, "color", batch * count * channels, !has_color());
    check(background, "background", composite == Composite::kOver ? batch * channels : 0, true);
  }

  bool has_color() const { return color.dim() == segments.dim(); }

  void check(const Tensor& tensor, const char* name, int64_t numbers, bool may_be_absent) const {
    STD_TORCH_CHECK(tensor.numel() == numbers || (may_be_absent && tensor.numel() == 0),
                    "draw_segments: ", name, " must have ", numbers, " numbers");
    STD_TORCH_CHECK(tensor.device() == segments.device(), "draw_segments: ", name,
                    " must be on the device of segments");
    STD_TORCH_CHECK(tensor.scalar_type() == segments.scalar_type(), "draw_segments: ", name,
                    " must have the dtype of segments");
  }

  template <class T>
  DrawSegmentsParams<T> params() const {
    DrawSegmentsParams<T> p;
    p.batch = batch, p.count = count, p.channels = channels;
    p.rows = rows, p.columns = columns;
    p.coverage = coverage, p.composite = composite;
    p.log_tolerance = log_tolerance;
    p.segments = data<T>(segments);
    p.softness = data<T>(softness);
    p.width = coverage == Coverage::kCapsule ? data<T>(width) : nullptr;
    p.intensity = data_or_null<T>(intensity);
    p.color = has_color() ? data<T>(color) : nullptr;
    p.background = data_or_null<T>(background);
    return p;
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

// Where and how a pass is launched.
struct Cpu {
  explicit Cpu(const Tensor&) {}

  template <class T>
  void draw(const DrawSegmentsParams<T>& params, T* canvas) const {
    cpu::launch_draw_segments(params, canvas);
  }
  template <class T>
  void backward(const DrawSegmentsParams<T>& params, const DrawSegmentsGrads<T>& grads,
                const Scratch<T>& scratch) const {
    cpu::launch_draw_segments_backward(params, grads, scratch);
  }
};

#ifdef SOFTRASTER_CUDA
// Only CUDA builds of torch export this; weak, so that this library also loads under the others.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device,
                                                                                   void** stream);

// On the device of a tensor, in torch's current stream there.
class Cuda {
 public:
  explicit Cuda(const Tensor& like) : like_(like), guard_(like.get_device_index()) {
    STD_TORCH_CHECK(&aoti_torch_get_current_cuda_stream != nullptr,
                    "draw_segments: this torch has no CUDA");
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(like.get_device_index(), &stream_));
    check(cuda::set_device(like.get_device_index()));
  }

  template <class T>
  void draw(const DrawSegmentsParams<T>& params, T* canvas) const {
    const Tensor workspace = bytes(cuda::draw_workspace_bytes(params));
    check(cuda::launch_draw_segments(params, canvas, workspace.data_ptr(), stream_));
  }
  template <class T>
  void backward(const DrawSegmentsParams<T>& params, const DrawSegmentsGrads<T>& grads,
                const Scratch<T>& scratch) const {
    const Tensor workspace = bytes(cuda::backward_workspace_bytes(params));
    check(
        cuda::launch_draw_segments_backward(params, grads, scratch, workspace.data_ptr(), stream_));
  }

 private:
  Tensor bytes(int64_t count) const { return allocate(like_, {count}, ScalarType::Byte); }
  static void check(int error) {
    STD_TORCH_CHECK(error == 0, "draw_segments: CUDA error: ", cuda::error_string(error));
  }

  const Tensor& like_;
  torch::stable::accelerator::DeviceGuard guard_;
  void* stream_ = nullptr;
};
#endif

template <class Device>
Tensor draw_segments(Tensor segments, Tensor softness, Tensor width, Tensor intensity, Tensor color,
                     Tensor background, int64_t rows, int64_t columns, int64_t coverage,
                     int64_t composite, double tolerance) {
  const Device device(segments);
  const Scene scene(segments, softness, width, intensity, color, background, rows, columns,
                    coverage, composite, tolerance);
  Tensor canvas = allocate(scene.segments, scene.shape, segments.scalar_type());
  by_dtype(canvas, [&](auto zero) {
    using T = decltype(zero);
    device.draw(scene.params<T>(), mutable_data<T>(canvas));
  });
  return canvas;
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> draw_segments_backward(
    Tensor grad_canvas, Tensor segments, Tensor softness, Tensor width, Tensor intensity,
    Tensor color, Tensor background, int64_t rows, int64_t columns, int64_t coverage,
    int64_t composite, double tolerance) {
  const Device device(segments);
  const Scene scene(segments, softness, width, intensity, color, background, rows, columns,
                    coverage, composite, tolerance);
  grad_canvas = dense(grad_canvas);
  const int64_t pixels = scene.batch * rows * columns;
  scene.check(grad_canvas, "grad_canvas", pixels * scene.channels, false);
  const bool is_max = scene.composite == Composite::kMax;
  const bool is_softor = scene.composite == Composite::kSoftor;
  std::optional<Tensor> marks, rest;
  if (is_max || is_softor) {
    const int64_t size = is_max ? pixels : pixels * scene.channels;
    marks = allocate(grad_canvas, {size}, ScalarType::Int);
    if (is_softor) rest = allocate(grad_canvas, {size}, grad_canvas.scalar_type());
  }
  std::array<Tensor, 6> grads;
  const Tensor* inputs[] = {&scene.segments,  &scene.softness, &scene.width,
                            &scene.intensity, &scene.color,    &scene.background};
  for (size_t at = 0; at < grads.size(); ++at) {
    grads[at] = allocate(*inputs[at], inputs[at]->sizes(), inputs[at]->scalar_type());
  }
  by_dtype(grad_canvas, [&](auto zero) {
    using T = decltype(zero);
    const DrawSegmentsParams<T> params = scene.params<T>();
    DrawSegmentsGrads<T> out;
    out.grad_canvas = data<T>(grad_canvas);
    out.grad_segments = mutable_data<T>(grads[0]);
    out.grad_softness = mutable_data<T>(grads[1]);
    out.grad_width = params.width ? mutable_data<T>(grads[2]) : nullptr;
    out.grad_intensity = params.intensity ? mutable_data<T>(grads[3]) : nullptr;
    out.grad_color = params.color ? mutable_data<T>(grads[4]) : nullptr;
    out.grad_background = params.background ? mutable_data<T>(grads[5]) : nullptr;
    device.backward(params, out,
                    Scratch<T>{marks ? mutable_data<int32_t>(*marks) : nullptr,
                               rest ? mutable_data<T>(*rest) : nullptr});
  });
  return {grads[0], grads[1], grads[2], grads[3], grads[4], grads[5]};
}

}  // namespace

// Schemas keep to Tensor, int and float, whose encodings hold over torch's versions.
STABLE_TORCH_LIBRARY(softraster, m) {
  m.def(
      "draw_segments(Tensor segments, Tensor softness, Tensor width, Tensor intensity, Tensor "
      "color, "
      "Tensor background, int rows, int columns, int coverage, int composite, float tolerance) "
      "-> Tensor");
  m.def(
      "draw_segments_backward(Tensor grad_canvas, Tensor segments, Tensor softness, Tensor width, "
      "Tensor intensity, Tensor color, Tensor background, int rows, int columns, int coverage, "
      "int composite, float tolerance) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(softraster, CPU, m) {
  m.impl("draw_segments", TORCH_BOX(&draw_segments<Cpu>));
  m.impl("draw_segments_backward", TORCH_BOX(&draw_segments_backward<Cpu>));
}

#ifdef SOFTRASTER_CUDA
STABLE_TORCH_LIBRARY_IMPL(softraster, CUDA, m) {
  m.impl("draw_segments", TORCH_BOX(&draw_segments<Cuda>));
  m.impl("draw_segments_backward", TORCH_BOX(&draw_segments_backward<Cuda>));
}
#endif

// Importing softraster._C loads this library, which registers the operators above. CUDA_ARCHS: the
// architectures that kernels were built for, "80;90" or the like; "" without CUDA.
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
#ifndef SOFTRASTER_CUDA_ARCHS
#define SOFTRASTER_CUDA_ARCHS ""
#endif
  PyObject* made = PyModule_Create(&module);
  if (made) PyModule_AddStringConstant(made, "CUDA_ARCHS", SOFTRASTER_CUDA_ARCHS);
  return made;
}
