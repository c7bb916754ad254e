// How the coverages of a chunk of pixels enter a canvas, or what a backward pass wants to know of
// it.
#pragma once
#include "../draw_segments.h"
#include "parallel.h"
#include "support.h"

namespace softraster {
namespace cpu {

// Where a chunk's pixels lie. Planes are `stride` apart, one for each channel.
template <class T>
struct ChunkCanvas {
  T* canvas;
  T* best;         // one plane: the largest coverage so far, for kWinner and for kMax with colors
  int32_t* marks;  // Scratch::marks
  int64_t stride;
  int64_t channels;
};

template <class T>
SOFTRASTER_INLINE void merge_strongest(const T* __restrict coverage, int64_t lanes, int32_t index,
                                       const T* color, const ChunkCanvas<T>& at) {
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const bool wins = coverage[lane] > at.best[lane];
    at.best[lane] = wins ? coverage[lane] : at.best[lane];
    if (at.marks) at.marks[lane] = wins ? index : at.marks[lane];
    for (int64_t c = 0; at.canvas && c < at.channels; ++c) {
      T& pixel = at.canvas[c * at.stride + lane];
      pixel = wins ? coverage[lane] * color[c] : pixel;
    }
  }
}

template <class T>
SOFTRASTER_INLINE void merge_factors(const T* __restrict coverage, int64_t lanes, const T* color,
                                     const ChunkCanvas<T>& at) {
  for (int64_t c = 0; c < at.channels; ++c) {
    T* __restrict rest = at.canvas + c * at.stride;
    int32_t* __restrict zeros = at.marks + c * at.stride;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const T factor = T(1) - coverage[lane] * (color ? color[c] : T(1));
      const bool is_zero = fabs(factor) < zero_factor<T>();
      rest[lane] = is_zero ? rest[lane] : rest[lane] * factor;
      zeros[lane] += is_zero ? 1 : 0;
    }
  }
}

// coverage: times intensity. color: of the segment, or null for one channel of 1.
template <class T>
SOFTRASTER_INLINE void merge_lanes(Merge merge, const T* __restrict coverage, int64_t lanes,
                                   int32_t index, const T* color, const ChunkCanvas<T>& at) {
  if (merge == Merge::kRest) return merge_factors(coverage, lanes, color, at);
  if (merge == Merge::kWinner || (merge == Merge::kMax && color)) {
    return merge_strongest(coverage, lanes, index, color, at);
  }
  for (int64_t c = 0; c < at.channels; ++c) {
    T* __restrict canvas = at.canvas + c * at.stride;
    const T ink = color ? color[c] : T(1);
    if (merge == Merge::kSum) {
      for (int64_t lane = 0; lane < lanes; ++lane) canvas[lane] += coverage[lane] * ink;
    } else if (merge == Merge::kMax) {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        canvas[lane] = coverage[lane] > canvas[lane] ? coverage[lane] : canvas[lane];
      }
    } else if (merge == Merge::kSoftor) {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        canvas[lane] = softor(canvas[lane], coverage[lane] * ink);
      }
    } else {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        canvas[lane] = over(canvas[lane], coverage[lane], ink);
      }
    }
  }
}

// A constant number of lanes makes vector code; fewer are left only at the right edge.
template <class T>
SOFTRASTER_INLINE void merge_chunk(Merge merge, const T* coverage, int64_t lanes, int32_t index,
                                   const T* color, const ChunkCanvas<T>& at) {
  if (lanes >= kLanes) {
    merge_lanes(merge, coverage, kLanes, index, color, at);
  } else {
    merge_lanes(merge, coverage, lanes, index, color, at);
  }
}

}  // namespace cpu
}  // namespace softraster
