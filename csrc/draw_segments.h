// What ops.cpp hands to the kernels: sizes and raw pointers, no torch. One launcher for each device
// and pass.
#pragma once
#include <cstdint>
#include <limits>

#include "composite_math.h"
#include "segment_math.h"

namespace softraster {

template <class T>
struct DrawSegmentsParams {
  int64_t batch;          // canvases
  int64_t count;          // segments a canvas
  int64_t channels;       // of a canvas
  int64_t rows, columns;  // pixels of a canvas
  Coverage coverage;
  Composite composite;
  double log_tolerance;  // -log(tolerance); infinite to visit every pixel
  const T* segments;     // (batch, count, 4): x1, y1, x2, y2
  const T* softness;     // (batch, count)
  const T* width;        // (batch, count) for kCapsule, else null
  const T* intensity;    // (batch, count), or null for all ones
  const T* color;        // (batch, count, channels), or null for one channel of ones
  const T* background;   // (batch, channels) for kOver, or null for zeros

  SOFTRASTER_HOST_DEVICE int64_t pixels() const { return rows * columns; }
  SOFTRASTER_HOST_DEVICE double side() const {
    return static_cast<double>(rows > columns ? rows : columns);
  }
};

template <class T>
struct DrawSegmentsGrads {
  const T* grad_canvas;  // (batch, channels, rows, columns)
  T* grad_segments;      // (batch, count, 4)
  T* grad_softness;      // (batch, count)
  T* grad_width;         // as the inputs, null where they are
  T* grad_intensity;
  T* grad_color;
  T* grad_background;
};

// What the backward passes find out about a canvas first; allocated by the caller.
template <class T>
struct Scratch {
  int32_t* marks;  // kMax: (batch, rows, columns), the index of the winner or one of the below;
                   // kSoftor: (batch, channels, rows, columns), how many factors are 0
  T* rest;         // kSoftor: (batch, channels, rows, columns), the product of the other factors
};

// Segment `at` of all (batch * count).
template <class T>
SOFTRASTER_HOST_DEVICE Segment<T> segment_at(const DrawSegmentsParams<T>& p, int64_t at) {
  return make_segment(p.segments + 4 * at, p.softness[at], p.width ? p.width[at] : T(0), p.coverage,
                      p.side(), p.log_tolerance);
}

template <class T>
SOFTRASTER_HOST_DEVICE T intensity_at(const DrawSegmentsParams<T>& p, int64_t at) {
  return p.intensity ? p.intensity[at] : T(1);
}

// Writes the gradient of segment `at` but for its color; NaN where valid is false.
template <class T>
SOFTRASTER_HOST_DEVICE void write_grad(const DrawSegmentsParams<T>& p,
                                       const DrawSegmentsGrads<T>& g, int64_t at, bool valid,
                                       const SegmentSums& sums) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const T intensity = intensity_at(p, at);
  const SegmentGrad grad = segment_grad(sums, p.side());
  for (int end = 0; end < 4; ++end) {
    g.grad_segments[4 * at + end] = valid ? T(intensity * grad.ends[end]) : nan;
  }
  g.grad_softness[at] = valid ? T(intensity * grad.softness) : nan;
  if (g.grad_width) g.grad_width[at] = valid ? T(intensity * grad.width) : nan;
  if (g.grad_intensity) g.grad_intensity[at] = valid ? T(sums.ink) : nan;
}

// sum: over the pixels, d loss / d (coverage * intensity * color) * coverage.
template <class T>
SOFTRASTER_HOST_DEVICE void write_color_grad(const DrawSegmentsParams<T>& p,
                                             const DrawSegmentsGrads<T>& g, int64_t at,
                                             int64_t channel, bool valid, double sum) {
  g.grad_color[at * p.channels + channel] =
      valid ? T(intensity_at(p, at) * sum) : std::numeric_limits<T>::quiet_NaN();
}

namespace cpu {

void launch_draw_segments(const DrawSegmentsParams<float>& params, float* canvas);
void launch_draw_segments(const DrawSegmentsParams<double>& params, double* canvas);
void launch_draw_segments_backward(const DrawSegmentsParams<float>& params,
                                   const DrawSegmentsGrads<float>& grads,
                                   const Scratch<float>& scratch);
void launch_draw_segments_backward(const DrawSegmentsParams<double>& params,
                                   const DrawSegmentsGrads<double>& grads,
                                   const Scratch<double>& scratch);

}  // namespace cpu

// Launchers return a cudaError_t, 0 for success; stream is a cudaStream_t of the device that
// set_device has named in this thread. They do not wait for the device. workspace: device memory of
// that many bytes, in use until the stream has come so far.
namespace cuda {

int set_device(int device);
int64_t draw_workspace_bytes(const DrawSegmentsParams<float>& params);
int64_t draw_workspace_bytes(const DrawSegmentsParams<double>& params);
int64_t backward_workspace_bytes(const DrawSegmentsParams<float>& params);
int64_t backward_workspace_bytes(const DrawSegmentsParams<double>& params);
int launch_draw_segments(const DrawSegmentsParams<float>& params, float* canvas, void* workspace,
                         void* stream);
int launch_draw_segments(const DrawSegmentsParams<double>& params, double* canvas, void* workspace,
                         void* stream);
int launch_draw_segments_backward(const DrawSegmentsParams<float>& params,
                                  const DrawSegmentsGrads<float>& grads,
                                  const Scratch<float>& scratch, void* workspace, void* stream);
int launch_draw_segments_backward(const DrawSegmentsParams<double>& params,
                                  const DrawSegmentsGrads<double>& grads,
                                  const Scratch<double>& scratch, void* workspace, void* stream);
const char* error_string(int error);

}  // namespace cuda
}  // namespace softraster
