// Backward on the CPU: parallel over segments. Each gathers its gradient over the pixels it
// reaches, drawing them anew, so nothing is saved by the forward pass and no two threads write one
// place.
#include <algorithm>
#include <limits>
#include <vector>

#include "../draw_segments.h"
#include "support.h"

namespace softraster {
namespace cpu {

namespace {

// Sums in T drift when a segment covers very many pixels: after so many chunks or rows they are
// folded into double.
constexpr int kChunksPerFold = 64;

template <class T>
struct Workspace {
  BoxTable<T> box_x, box_y;
  T* column_ink;  // by column: the ink that box_x's derivatives are weighted with
};

// One sum a lane. A vector type, because compilers take arrays apart that live through a loop.
template <class T>
struct LaneSum {
  typedef T Vector __attribute__((vector_size(kLanes * sizeof(T))));
  Vector lanes = {};

  SOFTRASTER_INLINE void add(const T* values) {
    Vector more;
    std::memcpy(&more, values, sizeof more);
    lanes += more;
  }
  SOFTRASTER_INLINE double take() {
    double sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
    lanes = Vector{};
    return sum;
  }
};

template <class T>
struct LaneSums {
  LaneSum<T> ink, by_offset, by_offset_arm, by_softness, by_mid_y, by_half_y;
};

template <class T>
SOFTRASTER_INLINE void fold_lanes(LaneSums<T>& lanes, SegmentSums& sums) {
  sums.ink += lanes.ink.take();
  sums.by_offset += lanes.by_offset.take();
  sums.by_offset_arm += lanes.by_offset_arm.take();
  sums.by_softness += lanes.by_softness.take();
  sums.by_mid_y += lanes.by_mid_y.take();
  sums.by_half_y += lanes.by_half_y.take();
}

template <class T>
SOFTRASTER_INLINE void fold_columns(const Segment<T>& s, Range columns, const Workspace<T>& work,
                                    SegmentSums& sums) {
  LaneSum<T> mid, half, softness;
  double by_mid = 0, by_half = 0, by_softness = 0;
  int chunks = 0;
  for (int64_t chunk = columns.begin; chunk < columns.end; chunk += kLanes) {
    const T first = T(chunk + 0.5 - s.mid_x);
    T mids[kLanes], halves[kLanes], softnesses[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t column = chunk + lane;
      const T ink = work.column_ink[column], from_mid = first + T(lane);
      const Box<T> box = {work.box_x.value[column], work.box_x.near_tail[column],
                          work.box_x.far_tail[column]};
      const T by_distance = ink * log_box_by_distance(box);
      mids[lane] = from_mid < 0 ? by_distance : -by_distance;
      halves[lane] = ink * log_box_by_half(box);
      softnesses[lane] = ink * log_box_by_softness(box, T(fabs(from_mid)), s.box_x.half);
      work.column_ink[column] = 0;
    }
    mid.add(mids), half.add(halves), softness.add(softnesses);
    if (++chunks == kChunksPerFold || chunk + kLanes >= columns.end) {
      by_mid += mid.take(), by_half += half.take(), by_softness += softness.take();
      chunks = 0;
    }
  }
  sums.by_mid_x += by_mid * s.softness;
  sums.by_half_x += by_half * s.softness;
  sums.by_softness += by_softness;
}

// What a row adds to the sums of the whole segment.
template <class T>
struct RowSums {
  LaneSum<T> ink, by_offset;
};

template <bool masked, Axis axis, class T>
SOFTRASTER_INLINE void gather_chunk(const Segment<T>& s, Offset<T> offset, T from_mid_x, T box_y,
                                    const T* __restrict grad, const int32_t* __restrict winner,
                                    int32_t index, const T* __restrict box_x,
                                    T* __restrict column_ink, RowSums<T>& row, LaneSums<T>& sums) {
  T inks[kLanes], row_inks[kLanes], offsets[kLanes], arms[kLanes], softnesses[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const bool counts = !masked || winner[lane] == index || winner[lane] == kEverybody;
    const T pixel_grad = counts ? grad[lane] : T(0);
    if (axis == Axis::kDot) {
      inks[lane] = pixel_grad * dot_coverage(box_x[lane], box_y);
      column_ink[lane] += inks[lane] * dot_power(box_x[lane], box_y);
      row_inks[lane] = inks[lane] * dot_power(box_y, box_x[lane]);
    } else {
      const CoverageGrad<T> pixel =
          coverage_grad(pixel_grad, offset.first + T(lane) * offset.step, box_x[lane], box_y, s);
      inks[lane] = row_inks[lane] = pixel.ink;
      column_ink[lane] += pixel.ink;
      offsets[lane] = pixel.by_offset;
      arms[lane] = pixel.by_offset * (from_mid_x + T(lane));
      softnesses[lane] = pixel.by_softness;
    }
  }
  row.ink.add(row_inks);
  if (axis == Axis::kDot) {
    sums.ink.add(inks);
  } else {
    row.by_offset.add(offsets);
    sums.by_softness.add(softnesses);
    if (axis == Axis::kX) sums.by_offset_arm.add(arms);
  }
}

template <bool masked, Axis axis, class T>
SOFTRASTER_INLINE void gather_row(const Segment<T>& s, int64_t row, Range columns, int64_t width,
                                  const T* grad, const int32_t* winner, int32_t index,
                                  const Workspace<T>& work, LaneSums<T>& sums) {
  const double from_mid_y = row + 0.5 - s.mid_y;
  const Box<T> box_y = {work.box_y.value[row], work.box_y.near_tail[row], work.box_y.far_tail[row]};
  RowSums<T> row_sums;
  for (int64_t chunk = first_chunk(columns, width); chunk < columns.end; chunk += kLanes) {
    const T* chunk_grad = grad + chunk;
    const int32_t* chunk_winner = masked ? winner + chunk : nullptr;
    T edge_grad[kLanes] = {};
    int32_t edge_winner[kLanes] = {};
    if (chunk + kLanes > width) {  // beyond the right edge there is nothing to read
      std::copy(chunk_grad, grad + width, edge_grad);
      chunk_grad = edge_grad;
      if (masked) {
        std::copy(chunk_winner, winner + width, edge_winner);
        chunk_winner = edge_winner;
      }
    }
    gather_chunk<masked, axis>(s, chunk_offset<axis>(s, row, chunk), T(chunk + 0.5 - s.mid_x),
                               box_y.value, chunk_grad, chunk_winner, index,
                               work.box_x.value + chunk, work.column_ink + chunk, row_sums, sums);
  }
  const T k = s.window.softness, distance = T(fabs(from_mid_y));
  const T by_distance = k * log_box_by_distance(box_y);
  const auto ink = row_sums.ink.lanes;
  if (axis != Axis::kDot) sums.ink.lanes += ink;
  sums.by_mid_y.lanes += ink * (from_mid_y < 0 ? by_distance : -by_distance);
  sums.by_half_y.lanes += ink * (k * log_box_by_half(box_y));
  sums.by_softness.lanes += ink * log_box_by_softness(box_y, distance, s.box_y.half);
  sums.by_offset.lanes += row_sums.by_offset.lanes;
  if (axis == Axis::kY) sums.by_offset_arm.lanes += row_sums.by_offset.lanes * T(from_mid_y);
}

template <bool masked, Axis axis, class T>
SOFTRASTER_INLINE void gather_segment(const Segment<T>& s, Range rows, Range columns, int64_t width,
                                      const T* grad_canvas, const int32_t* winner, int32_t index,
                                      const Workspace<T>& work, SegmentSums& sums) {
  const Range table = chunk_range(columns, width);
  const RowWindow window = row_window(s);
  LaneSums<T> lanes;
  int64_t chunks = 0, rows_since = 0;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const Range visited = visited_columns<axis>(s, window, row, columns);
    if (!visited.empty()) {
      gather_row<masked, axis>(s, row, visited, width, grad_canvas + row * width,
                               masked ? winner + row * width : nullptr, index, work, lanes);
      chunks += (visited.end - visited.begin) / kLanes + 1;
    }
    if (chunks >= kChunksPerFold) {
      fold_lanes(lanes, sums);
      chunks = 0;
    }
    if (++rows_since == kChunksPerFold) {
      fold_columns(s, table, work, sums);
      rows_since = 0;
    }
  }
  fold_lanes(lanes, sums);
  fold_columns(s, table, work, sums);
}

template <bool masked, class T>
SOFTRASTER_INLINE void gather(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                              int64_t at, const Workspace<T>& work) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const double side = p.side();
  const int64_t item = at / p.count, pixels = p.height * p.width;
  Segment<T> s = make_segment(p.segments + 4 * at, p.softness[at], side, p.log_tolerance);
  const T intensity = p.intensity ? p.intensity[at] : T(1);
  SegmentSums sums = {};
  if (s.valid) {
    const Range rows = row_support(s, {0, p.height}), columns = column_support(s, {0, p.width});
    if (!rows.empty() && !columns.empty()) {
      shape_boxes(s);
      fill_table<true>(chunk_range(columns, p.width), s.mid_x, s.box_x, work.box_x);
      fill_table<true>(aligned(rows), s.mid_y, s.box_y, work.box_y);
      const T* grad = g.grad_canvas + item * pixels;
      const int32_t* winner = masked ? g.winner + item * pixels : nullptr;
      const int32_t index = static_cast<int32_t>(at % p.count);
      if (s.axis == Axis::kX) {
        gather_segment<masked, Axis::kX>(s, rows, columns, p.width, grad, winner, index, work,
                                         sums);
      } else if (s.axis == Axis::kY) {
        gather_segment<masked, Axis::kY>(s, rows, columns, p.width, grad, winner, index, work,
                                         sums);
      } else {
        gather_segment<masked, Axis::kDot>(s, rows, columns, p.width, grad, winner, index, work,
                                           sums);
      }
    }
  }
  const SegmentGrad grad = segment_grad(sums, s, side);
  for (int k = 0; k < 4; ++k) {
    g.grad_segments[4 * at + k] = s.valid ? T(intensity * grad.ends[k]) : nan;
  }
  g.grad_softness[at] = s.valid ? T(intensity * grad.softness) : nan;
  if (g.grad_intensity) g.grad_intensity[at] = s.valid ? T(sums.ink) : nan;
}

template <class T>
SOFTRASTER_INLINE void gather_range(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                    Range range, const Workspace<T>& work) {
  for (int64_t at = range.begin; at < range.end; ++at) {
    if (g.winner) {
      gather<true>(p, g, at, work);
    } else {
      gather<false>(p, g, at, work);
    }
  }
}

SOFTRASTER_VECTOR_CLONES void gather_clone(const DrawSegmentsParams<float>& p,
                                           const DrawSegmentsGrads<float>& g, Range range,
                                           const Workspace<float>& work) {
  gather_range(p, g, range, work);
}
SOFTRASTER_VECTOR_CLONES void gather_clone(const DrawSegmentsParams<double>& p,
                                           const DrawSegmentsGrads<double>& g, Range range,
                                           const Workspace<double>& work) {
  gather_range(p, g, range, work);
}

template <class T>
void draw_backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g) {
  if (g.winner) find_winners(p, g.winner);
  constexpr int64_t kGrain = 16;
  parallel_for(p.batch * p.count, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t room_x = table_room(p.width), room_y = table_room(p.height);
    std::vector<T> buffer(4 * room_x + 3 * room_y);
    T* at = buffer.data();
    Workspace<T> work;
    work.box_x = {at, at + room_x, at + 2 * room_x};
    work.column_ink = at + 3 * room_x;
    at += 4 * room_x;
    work.box_y = {at, at + room_y, at + 2 * room_y};
    gather_clone(p, g, {begin, end}, work);
  });
}

}  // namespace

void launch_draw_segments_backward(const DrawSegmentsParams<float>& p,
                                   const DrawSegmentsGrads<float>& g) {
  draw_backward(p, g);
}
void launch_draw_segments_backward(const DrawSegmentsParams<double>& p,
                                   const DrawSegmentsGrads<double>& g) {
  draw_backward(p, g);
}

}  // namespace cpu
}  // namespace softraster
