// Passes that launch_draw_segments_backward puts together.
#pragma once
#include "../draw_segments.h"

namespace softraster {
namespace cpu {

// Fills what Scratch holds for kMax and kSoftor.
void fill_scratch(const DrawSegmentsParams<float>& params, const Scratch<float>& scratch);
void fill_scratch(const DrawSegmentsParams<double>& params, const Scratch<double>& scratch);

// The backward pass of kOver.
void over_backward(const DrawSegmentsParams<float>& params, const DrawSegmentsGrads<float>& grads);
void over_backward(const DrawSegmentsParams<double>& params,
                   const DrawSegmentsGrads<double>& grads);

}  // namespace cpu
}  // namespace softraster
