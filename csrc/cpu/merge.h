// How the coverages of a chunk of pixels enter a canvas, or what a backward pass wants to know of
// it.
#pragma once
#include <type_traits>

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
SOFTRASTER_INLINE void merge_strongest(const T* coverage, int64_t lanes, int32_t index,
                                       const T* color, const ChunkCanvas<T>& at) {
  T found[kLanes], before[kLanes], best[kLanes];
  copy_lanes(coverage, found);
  load_lanes(at.best, lanes, before);
  SOFTRASTER_AS_VECTORS
  for (int lane = 0; lane < kLanes; ++lane) {
    best[lane] = found[lane] > before[lane] ? found[lane] : before[lane];
  }
  store_lanes(best, lanes, at.best);
  if (at.marks) {
    int32_t marks[kLanes];
    load_lanes(at.marks, lanes, marks);
    SOFTRASTER_AS_VECTORS
    for (int lane = 0; lane < kLanes; ++lane) {
      marks[lane] = found[lane] > before[lane] ? index : marks[lane];
    }
    store_lanes(marks, lanes, at.marks);
  }
  for (int64_t c = 0; at.canvas && c < at.channels; ++c) {
    const T ink = color[c];
    T pixels[kLanes];
    load_lanes(at.canvas + c * at.stride, lanes, pixels);
    SOFTRASTER_AS_VECTORS
    for (int lane = 0; lane < kLanes; ++lane) {
      pixels[lane] = found[lane] > before[lane] ? found[lane] * ink : pixels[lane];
    }
    store_lanes(pixels, lanes, at.canvas + c * at.stride);
  }
}

template <bool colored, class T>
SOFTRASTER_INLINE void merge_factors(const T* coverage, int64_t lanes, const T* color,
                                     const ChunkCanvas<T>& at) {
  for (int64_t c = 0; c < at.channels; ++c) {
    const T ink = colored ? color[c] : T(1);
    T found[kLanes], rest[kLanes];
    int32_t zeros[kLanes];
    copy_lanes(coverage, found);
    load_lanes(at.canvas + c * at.stride, lanes, rest);
    load_lanes(at.marks + c * at.stride, lanes, zeros);
    SOFTRASTER_AS_VECTORS
    for (int lane = 0; lane < kLanes; ++lane) {
      const T factor = T(1) - found[lane] * ink;
      const bool is_zero = fabs(factor) < zero_factor<T>();
      rest[lane] = is_zero ? rest[lane] : rest[lane] * factor;
      zeros[lane] += is_zero ? 1 : 0;
    }
    store_lanes(rest, lanes, at.canvas + c * at.stride);
    store_lanes(zeros, lanes, at.marks + c * at.stride);
  }
}

// coverage: times intensity, of kLanes pixels, of which `lanes` lie on the canvas; it may be more.
// color: of the segment, or null for one channel of 1.
template <Merge merge, bool colored, class T>
SOFTRASTER_INLINE void merge_chunk(const T* coverage, int64_t lanes, int32_t index, const T* color,
                                   const ChunkCanvas<T>& at) {
  if (merge == Merge::kRest) return merge_factors<colored>(coverage, lanes, color, at);
  if (merge == Merge::kWinner || (merge == Merge::kMax && colored)) {
    return merge_strongest(coverage, lanes, index, color, at);
  }
  for (int64_t c = 0; c < at.channels; ++c) {
    const T ink = colored ? color[c] : T(1);
    T pixels[kLanes];
    load_lanes(at.canvas + c * at.stride, lanes, pixels);
    if (merge == Merge::kSum) {
      for (int lane = 0; lane < kLanes; ++lane) pixels[lane] += coverage[lane] * ink;
    } else if (merge == Merge::kMax) {
      T found[kLanes];
      copy_lanes(coverage, found);
      SOFTRASTER_AS_VECTORS
      for (int lane = 0; lane < kLanes; ++lane) {
        pixels[lane] = found[lane] > pixels[lane] ? found[lane] : pixels[lane];
      }
    } else if (merge == Merge::kSoftor) {
      for (int lane = 0; lane < kLanes; ++lane) {
        pixels[lane] = softor(pixels[lane], coverage[lane] * ink);
      }
    } else {
      for (int lane = 0; lane < kLanes; ++lane) {
        pixels[lane] = over(pixels[lane], coverage[lane], ink);
      }
    }
    store_lanes(pixels, lanes, at.canvas + c * at.stride);
  }
}

// Calls visit(merge, colored) with both as compile-time constants.
template <bool colored, class Visit>
SOFTRASTER_INLINE void with_merge(Merge merge, const Visit& visit) {
  const std::bool_constant<colored> has_color;
  switch (merge) {
    case Merge::kSum:
      return visit(std::integral_constant<Merge, Merge::kSum>(), has_color);
    case Merge::kMax:
      return visit(std::integral_constant<Merge, Merge::kMax>(), has_color);
    case Merge::kSoftor:
      return visit(std::integral_constant<Merge, Merge::kSoftor>(), has_color);
    case Merge::kOver:
      return visit(std::integral_constant<Merge, Merge::kOver>(), has_color);
    case Merge::kWinner:
      return visit(std::integral_constant<Merge, Merge::kWinner>(), has_color);
    case Merge::kRest:
      return visit(std::integral_constant<Merge, Merge::kRest>(), has_color);
  }
}
template <class Visit>
SOFTRASTER_INLINE void with_merge(Merge merge, bool colored, const Visit& visit) {
  return colored ? with_merge<true>(merge, visit) : with_merge<false>(merge, visit);
}

}  // namespace cpu
}  // namespace softraster
