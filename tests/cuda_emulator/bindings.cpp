// Python's view of the emulated kernels: the operators of ops.cpp on NumPy arrays, and the probes.
// All memory that a kernel sees is a heap block of its exact size, and starts as NaN where a GPU's
// would hold anything.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_emulator.h"
#include "draw_segments.h"
#include "probes.h"

namespace py = pybind11;
using namespace softraster;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;
template <class T>
using OptionalArray = std::optional<Array<T>>;
using Shape = std::vector<py::ssize_t>;

template <class T>
std::vector<T> garbage(int64_t numbers) {
  std::vector<T> memory(numbers);
  if (numbers > 0) std::memset(memory.data(), 0xff, numbers * sizeof(T));
  return memory;
}

template <class T>
T* or_null(std::vector<T>& memory) {
  return memory.empty() ? nullptr : memory.data();
}

template <class T>
std::vector<T> copy_of(const OptionalArray<T>& array, const char* name, int64_t numbers) {
  if (!array) return {};
  if (array->size() != numbers) {
    throw std::invalid_argument(std::string(name) + " must have " + std::to_string(numbers) +
                                " numbers, got " + std::to_string(array->size()));
  }
  return {array->data(), array->data() + numbers};
}

Shape shape_of(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

void check(int error) {
  if (error != 0) throw std::runtime_error(cuda::error_string(error));
}

// The arguments of both operators; absent ones are None.
template <class T>
struct Scene {
  DrawSegmentsParams<T> params;
  std::vector<T> segments, softness, width, intensity, color, background;
  Shape canvas_shape;

  Scene(const Array<T>& segments_, const Array<T>& softness_, const OptionalArray<T>& width_,
        const OptionalArray<T>& intensity_, const OptionalArray<T>& color_,
        const OptionalArray<T>& background_, int64_t rows, int64_t columns, int64_t coverage,
        int64_t composite, double tolerance) {
    const Shape shape = shape_of(segments_);
    if (shape.size() < 2 || shape.back() != 4) {
      throw std::invalid_argument("segments must be (..., N, 4)");
    }
    canvas_shape.assign(shape.begin(), shape.end() - 2);
    params.batch = 1;
    for (const py::ssize_t size : canvas_shape) params.batch *= size;
    params.count = shape[shape.size() - 2];
    params.channels = color_ ? color_->shape(color_->ndim() - 1) : 1;
    if (color_) canvas_shape.push_back(params.channels);
    canvas_shape.push_back(rows);
    canvas_shape.push_back(columns);
    params.rows = rows, params.columns = columns;
    params.coverage = static_cast<Coverage>(coverage);
    params.composite = static_cast<Composite>(composite);
    params.log_tolerance = -std::log(tolerance);

    const int64_t all = params.batch * params.count;
    segments = copy_of<T>(segments_, "segments", 4 * all);
    softness = copy_of<T>(softness_, "softness", all);
    width = copy_of(width_, "width", all);
    intensity = copy_of(intensity_, "intensity", all);
    color = copy_of(color_, "color", all * params.channels);
    background = copy_of(background_, "background", params.batch * params.channels);
    params.segments = or_null(segments), params.softness = or_null(softness);
    params.width = or_null(width), params.intensity = or_null(intensity);
    params.color = or_null(color), params.background = or_null(background);
  }

  int64_t canvas_size() const { return params.batch * params.channels * params.pixels(); }
};

template <class T>
Array<T> draw_segments(const Array<T>& segments, const Array<T>& softness,
                       const OptionalArray<T>& width, const OptionalArray<T>& intensity,
                       const OptionalArray<T>& color, const OptionalArray<T>& background,
                       int64_t rows, int64_t columns, int64_t coverage, int64_t composite,
                       double tolerance) {
  const Scene<T> scene(segments, softness, width, intensity, color, background, rows, columns,
                       coverage, composite, tolerance);
  std::vector<T> canvas = garbage<T>(scene.canvas_size());
  std::vector<char> workspace = garbage<char>(cuda::draw_workspace_bytes(scene.params));
  check(cuda::launch_draw_segments(scene.params, canvas.data(), workspace.data(), nullptr));
  return Array<T>(scene.canvas_shape, canvas.data());
}

// One of the gradients, or None where the kernel is not asked for it.
template <class T>
class Grad {
 public:
  explicit Grad(const std::vector<T>& input) : memory_(garbage<T>(input.size())) {}
  T* data() { return or_null(memory_); }
  OptionalArray<T> array(const OptionalArray<T>& input) const {
    if (!input) return std::nullopt;
    return Array<T>(shape_of(*input), memory_.data());
  }

 private:
  std::vector<T> memory_;
};

template <class T>
std::array<OptionalArray<T>, 6> draw_segments_backward(
    const Array<T>& grad_canvas, const Array<T>& segments, const Array<T>& softness,
    const OptionalArray<T>& width, const OptionalArray<T>& intensity, const OptionalArray<T>& color,
    const OptionalArray<T>& background, int64_t rows, int64_t columns, int64_t coverage,
    int64_t composite, double tolerance) {
  const Scene<T> scene(segments, softness, width, intensity, color, background, rows, columns,
                       coverage, composite, tolerance);
  const DrawSegmentsParams<T>& params = scene.params;
  const std::vector<T> grad = copy_of<T>(grad_canvas, "grad_canvas", scene.canvas_size());
  const bool is_max = params.composite == Composite::kMax;
  const bool is_softor = params.composite == Composite::kSoftor;
  std::vector<int32_t> marks = garbage<int32_t>(is_max      ? params.batch * params.pixels()
                                                : is_softor ? scene.canvas_size()
                                                            : 0);
  std::vector<T> rest = garbage<T>(is_softor ? scene.canvas_size() : 0);
  std::vector<char> workspace = garbage<char>(cuda::backward_workspace_bytes(params));
  Grad<T> grads[] = {Grad<T>(scene.segments),  Grad<T>(scene.softness), Grad<T>(scene.width),
                     Grad<T>(scene.intensity), Grad<T>(scene.color),    Grad<T>(scene.background)};
  const DrawSegmentsGrads<T> out = {grad.data(),     grads[0].data(), grads[1].data(),
                                    grads[2].data(), grads[3].data(), grads[4].data(),
                                    grads[5].data()};
  check(cuda::launch_draw_segments_backward(params, out, {or_null(marks), or_null(rest)},
                                            workspace.data(), nullptr));
  return {grads[0].array(segments),  grads[1].array(softness), grads[2].array(width),
          grads[3].array(intensity), grads[4].array(color),    grads[5].array(background)};
}

template <class T>
void bind_operators(py::module_& m) {
  // Without conversion, so that the dtype of the arrays chooses the instance.
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  const auto bind = [&](const char* name, auto function, auto... first) {
    m.def(name, function, first..., array("segments"), array("softness"), array("width"),
          array("intensity"), array("color"), array("background"), py::arg("rows"),
          py::arg("columns"), py::arg("coverage"), py::arg("composite"), py::arg("tolerance"));
  };
  bind("draw_segments", &draw_segments<T>);
  bind("draw_segments_backward", &draw_segments_backward<T>, array("grad_canvas"));
}

}  // namespace

PYBIND11_MODULE(cuda_emulator, m) {
  bind_operators<float>(m);
  bind_operators<double>(m);
  m.def("set_order", [](unsigned order) { cuda_emulator::order = order; });
  m.def("set_max_blocks", [](int64_t blocks) { cuda_emulator::max_blocks = blocks; });

  m.attr("probe_threads") = probes::kThreads;
  m.def("compact", &probes::compact);
  m.def("warp_functions", &probes::warp_functions);
  m.def("votes", &probes::votes);
  m.def("atomics", &probes::atomics);
  m.def("turns", &probes::turns);
  m.def("try_launch", &probes::try_launch);
  m.def("return_before_barrier", &probes::return_before_barrier);
  m.def("wait_in_two_functions", &probes::wait_in_two_functions);
  m.def("wait_for_half_a_warp", &probes::wait_for_half_a_warp);
  m.def("shuffle_with_half_a_mask", &probes::shuffle_with_half_a_mask);
  m.def("reverse_without_barrier", &probes::reverse_without_barrier);
  m.def("sum_in_any_order", &probes::sum_in_any_order);
  m.def("write_beyond_shared_memory", &probes::write_beyond_shared_memory);
}
