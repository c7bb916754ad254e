// Segments made eight at a time, one a lane: the compiler makes vector code of the loop over them.
#pragma once
#include "../draw_segments.h"
#include "../range.h"
#include "support.h"

namespace softraster {
namespace cpu {

template <class T>
struct BoxLanes {
  T half[kLanes], softness[kLanes], decay[kLanes], range[kLanes];

  SOFTRASTER_INLINE void set(int lane, const BoxShape<T>& shape) {
    half[lane] = shape.half, softness[lane] = shape.softness;
    decay[lane] = shape.decay, range[lane] = shape.range;
  }
  SOFTRASTER_INLINE BoxShape<T> operator[](int lane) const {
    return {half[lane], softness[lane], decay[lane], range[lane]};
  }
};

// Segments with their boxes, and the rows and columns of the canvas that they reach.
template <class T>
struct SegmentLanes {
  // As in Segment.
  double mid_x[kLanes], mid_y[kLanes], dx[kLanes], dy[kLanes];
  double softness[kLanes], reach[kLanes], slope[kLanes], along_x[kLanes], along_y[kLanes];
  T half_length[kLanes], half_width[kLanes];
  BoxLanes<T> window, box_x, box_y;
  int32_t kind[kLanes], valid[kLanes];
  // Of their ranges.
  int32_t rows_begin[kLanes], rows_end[kLanes], columns_begin[kLanes], columns_end[kLanes];

  SOFTRASTER_INLINE Range rows(int lane) const { return {rows_begin[lane], rows_end[lane]}; }
  SOFTRASTER_INLINE Range columns(int lane) const {
    return {columns_begin[lane], columns_end[lane]};
  }

  SOFTRASTER_INLINE Segment<T> segment(int lane) const {
    Segment<T> s;
    s.mid_x = mid_x[lane], s.mid_y = mid_y[lane];
    s.dx = dx[lane], s.dy = dy[lane];
    s.softness = softness[lane];
    s.reach = reach[lane];
    s.kind = static_cast<Kind>(kind[lane]);
    s.valid = valid[lane];
    s.window = window[lane];
    if (s.kind == Kind::kCapsule) {
      s.along_x = along_x[lane], s.along_y = along_y[lane];
      s.half_length = half_length[lane], s.half_width = half_width[lane];
    } else {
      s.slope = slope[lane];
      s.box_x = box_x[lane], s.box_y = box_y[lane];
    }
    return s;
  }
};

// Segments at[0], at[1] and so on of all (batch * count): `size` of them, 1 to kLanes. Not inlined,
// so that all passes have the same bits.
void make_lanes(const DrawSegmentsParams<float>& p, const int64_t* at, int size,
                SegmentLanes<float>& lanes);
void make_lanes(const DrawSegmentsParams<double>& p, const int64_t* at, int size,
                SegmentLanes<double>& lanes);

}  // namespace cpu
}  // namespace softraster
