// What ops.cpp hands to the kernels: sizes and raw pointers, no torch. One launcher for each device
// and pass.
#pragma once
#include <cstdint>

#include "segment_math.h"

namespace softraster {

// In the order of COMPOSITES in softraster/_arguments.py.
enum class Composite : int64_t { kSum = 0, kMax = 1, kSoftor = 2, kOver = 3 };

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

  int64_t pixels() const { return rows * columns; }
  double side() const { return static_cast<double>(rows > columns ? rows : columns); }
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

constexpr int32_t kNobody = -1;     // nothing was drawn there
constexpr int32_t kEverybody = -2;  // the canvas is NaN: every segment takes grad_canvas as it is

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
}  // namespace softraster
