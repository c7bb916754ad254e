// Passes that launch_draw_segments_backward puts together. All return a cudaError_t.
#pragma once
#include "prepare.h"

namespace softraster {
namespace cuda {

// Fills what Scratch holds for kMax and kSoftor.
int fill_scratch(const DrawSegmentsParams<float>& params, const Prepared<float>& prepared,
                 const Scratch<float>& scratch, void* stream);
int fill_scratch(const DrawSegmentsParams<double>& params, const Prepared<double>& prepared,
                 const Scratch<double>& scratch, void* stream);

// The backward pass of kOver.
int64_t over_backward_bytes(const DrawSegmentsParams<float>& params);
int64_t over_backward_bytes(const DrawSegmentsParams<double>& params);
int over_backward(const DrawSegmentsParams<float>& params, const DrawSegmentsGrads<float>& grads,
                  void* workspace, void* stream);
int over_backward(const DrawSegmentsParams<double>& params, const DrawSegmentsGrads<double>& grads,
                  void* workspace, void* stream);

}  // namespace cuda
}  // namespace softraster
