#include "segment_lanes.h"

namespace softraster {
namespace cpu {
namespace {

// Inputs by lane.
template <class T>
struct InputLanes {
  T ends[4][kLanes], softness[kLanes], width[kLanes];
};

// coverage: p's, as a compile-time constant.
template <Coverage coverage, class T>
SOFTRASTER_INLINE void fill_lanes(const DrawSegmentsParams<T>& p, const InputLanes<T>& inputs,
                                  SegmentLanes<T>& result) {
  const double side = p.side(), log_tolerance = p.log_tolerance;
  const Range rows = {0, p.rows}, columns = {0, p.columns};
  SegmentLanes<T> lanes;  // local: no pointer can reach it, so that its stores become vectors
  for (int i = 0; i < kLanes; ++i) {
    const T ends[4] = {inputs.ends[0][i], inputs.ends[1][i], inputs.ends[2][i], inputs.ends[3][i]};
    Segment<T> s =
        make_segment(ends, inputs.softness[i], inputs.width[i], coverage, side, log_tolerance);
    shape_boxes(s);
    lanes.mid_x[i] = s.mid_x, lanes.mid_y[i] = s.mid_y;
    lanes.dx[i] = s.dx, lanes.dy[i] = s.dy;
    lanes.softness[i] = s.softness;
    lanes.reach[i] = s.reach;
    lanes.kind[i] = static_cast<int32_t>(s.kind);
    lanes.valid[i] = s.valid;
    lanes.window.set(i, s.window);
    if (coverage == Coverage::kCapsule) {
      lanes.along_x[i] = s.along_x, lanes.along_y[i] = s.along_y;
      lanes.half_length[i] = s.half_length, lanes.half_width[i] = s.half_width;
    } else {
      lanes.slope[i] = s.slope;
      lanes.box_x.set(i, s.box_x), lanes.box_y.set(i, s.box_y);
    }
  }
  for (int i = 0; i < kLanes; ++i) {
    Segment<T> s;
    s.mid_x = lanes.mid_x[i], s.mid_y = lanes.mid_y[i];
    s.dx = lanes.dx[i], s.dy = lanes.dy[i];
    s.reach = lanes.reach[i];
    const Range in_rows = row_support(s, rows), in_columns = column_support(s, columns);
    lanes.rows_begin[i] = static_cast<int32_t>(in_rows.begin);
    lanes.rows_end[i] = static_cast<int32_t>(in_rows.end);
    lanes.columns_begin[i] = static_cast<int32_t>(in_columns.begin);
    lanes.columns_end[i] = static_cast<int32_t>(in_columns.end);
  }
  result = lanes;
}

template <class T>
SOFTRASTER_INLINE void make(const DrawSegmentsParams<T>& p, const int64_t* at, int size,
                            SegmentLanes<T>& lanes) {
  InputLanes<T> inputs;
  for (int i = 0; i < kLanes; ++i) {
    const int64_t from = at[i < size ? i : 0];
    for (int end = 0; end < 4; ++end) inputs.ends[end][i] = p.segments[4 * from + end];
    inputs.softness[i] = p.softness[from];
    inputs.width[i] = p.width ? p.width[from] : T(0);
  }
  if (p.coverage == Coverage::kCapsule) {
    fill_lanes<Coverage::kCapsule>(p, inputs, lanes);
  } else {
    fill_lanes<Coverage::kGrid>(p, inputs, lanes);
  }
}

}  // namespace

SOFTRASTER_VECTOR_CLONES void make_lanes(const DrawSegmentsParams<float>& p, const int64_t* at,
                                         int size, SegmentLanes<float>& lanes) {
  make(p, at, size, lanes);
}
SOFTRASTER_VECTOR_CLONES void make_lanes(const DrawSegmentsParams<double>& p, const int64_t* at,
                                         int size, SegmentLanes<double>& lanes) {
  make(p, at, size, lanes);
}

}  // namespace cpu
}  // namespace softraster
