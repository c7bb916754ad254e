// What ops.cpp hands to the kernels: sizes and raw pointers, no torch. One launcher for each device
// and pass.
#pragma once
#include <cstdint>

namespace softraster {

// In the order of COMPOSITES in softraster/_arguments.py.
enum class Composite : int64_t { kSum = 0, kMax = 1 };

template <class T>
struct DrawSegmentsParams {
  int64_t batch;          // canvases
  int64_t count;          // segments a canvas
  int64_t height, width;  // pixels of a canvas
  Composite composite;
  double log_tolerance;  // -log(tolerance); infinite to visit every pixel
  const T* segments;     // (batch, count, 4): x1, y1, x2, y2
  const T* softness;     // (batch, count)
  const T* intensity;    // (batch, count), or null for all ones

  double side() const { return static_cast<double>(height > width ? height : width); }
};

// What the backward pass of kMax finds in DrawSegmentsGrads::winner beside the index of a segment.
constexpr int32_t kNobody = -1;     // nothing was drawn there
constexpr int32_t kEverybody = -2;  // the canvas is NaN: every segment takes grad_canvas as it is

template <class T>
struct DrawSegmentsGrads {
  const T* grad_canvas;  // (batch, height, width)
  int32_t* winner;       // (batch, height, width) scratch for kMax, else null
  T* grad_segments;      // (batch, count, 4)
  T* grad_softness;      // (batch, count)
  T* grad_intensity;     // (batch, count), or null where intensity is null
};

namespace cpu {

void launch_draw_segments(const DrawSegmentsParams<float>& params, float* canvas);
void launch_draw_segments(const DrawSegmentsParams<double>& params, double* canvas);
void launch_draw_segments_backward(const DrawSegmentsParams<float>& params,
                                   const DrawSegmentsGrads<float>& grads);
void launch_draw_segments_backward(const DrawSegmentsParams<double>& params,
                                   const DrawSegmentsGrads<double>& grads);

// The strongest segment of each pixel under kMax, in the form of DrawSegmentsGrads::winner.
void find_winners(const DrawSegmentsParams<float>& params, int32_t* winner);
void find_winners(const DrawSegmentsParams<double>& params, int32_t* winner);

}  // namespace cpu
}  // namespace softraster
